"""Pictures: the evaluation transform, bad pictures, conversion, class names.

The transform is stated here a second time, in the words of torchvision's `Resize` and `CenterCrop`.
"""

from __future__ import annotations

import io
import socket
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import (
    ALPHA,
    ANIMATED,
    COLOURS,
    CONVERTIBLE,
    GREY,
    GREY_ENTRY,
    MEGABYTE,
    PALETTE,
    RGB_ENTRY,
    SIDE,
    SIZES,
    UNREADABLE,
    encoded,
    exif_of,
    jpeg,
    noise,
    png,
    raw_png,
    tiff,
    turned,
    weights_entry,
)
from PIL import Image

import keras_se
from keras_se.labels import class_names
from keras_se.weights import entries

# Blending and weighted sums of 8-bit values are rounded, by Pillow once more than here.
ONE_STEP = 1.0


def expected_transform(
    image: Image.Image, size: int, crop: float, resample: Image.Resampling
) -> np.ndarray:
    """Shorter side to `floor(size / crop)`, then the centre, as torchvision does both."""
    width, height = image.size
    shorter = int(size / crop)
    if width <= height:
        width, height = shorter, int(shorter * height / width)
    else:
        width, height = int(shorter * width / height), shorter
    resized = np.asarray(image.resize((width, height), resample), "float32")
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return resized[top : top + size, left : left + size].reshape(1, size, size, -1)


def assert_clear(error: BaseException, *words: str) -> None:
    message = str(error)
    assert "\n" not in message
    for word in ("expected", "Received", *words):
        assert word in message


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
def test_transform(tmp_path: Path, size: tuple[int, int], interpolation: str) -> None:
    image = Image.fromarray(noise(*size))
    path = tmp_path / "picture.png"
    image.save(path)
    received = keras_se.load_image(path, weights_entry(32, 0.875, interpolation=interpolation))
    expected = expected_transform(image, 32, 0.875, Image.Resampling[interpolation.upper()])
    assert received.dtype == "float32"
    np.testing.assert_array_equal(received, expected)


# 299 / 0.875 is 341.7: floor and rounding differ there.
@pytest.mark.parametrize(("size", "crop"), [(224, 0.875), (299, 0.875), (28, 1.0), (32, 0.8)])
@pytest.mark.parametrize("picture", [(640, 427), (427, 641), (301, 299), (100, 80)])
def test_transform_of_other_sets(picture: tuple[int, int], size: int, crop: float) -> None:
    image = Image.fromarray(noise(*picture))
    received = keras_se.load_image(encoded(image, "PNG"), weights_entry(size, crop))
    expected = expected_transform(image, size, crop, Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("size", [(28, 28), (31, 45), (45, 31), (3, 2)])
def test_transform_of_one_channel(size: tuple[int, int]) -> None:
    image = Image.fromarray(noise(*size, channels=1))
    received = keras_se.load_image(encoded(image, "PNG"), weights_entry(28, channels=1))
    assert received.shape == (1, 28, 28, 1)
    np.testing.assert_array_equal(
        received, expected_transform(image, 28, 1.0, Image.Resampling.BILINEAR)
    )


def test_path_string_bytes_and_name_are_the_same_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = weights_entry(32, 0.875)
    monkeypatch.setattr(entries, "_registry", lambda: {entry.name: entry})
    path = tmp_path / "a picture.png"
    Image.fromarray(noise(50, 41)).save(path)
    expected = keras_se.load_image(path, entry)
    for source in (path, str(path), path.read_bytes()):
        for weights in (entry, entry.name):
            np.testing.assert_array_equal(keras_se.load_image(source, weights), expected)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("BMP", {}), ("GIF", {}), ("JPEG", {}), ("PNG", {}), ("TIFF", {}),
        ("WEBP", {"lossless": True}), ("JPEG", {"progressive": True}), ("PNG", {"optimize": True}),
    ],
)  # fmt: skip
def test_formats(file_format: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(noise(SIDE, SIDE)), file_format, **options)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), "float32")
    np.testing.assert_array_equal(keras_se.load_image(data, RGB_ENTRY)[0], pixels)


def test_palette_without_transparency_is_rgb() -> None:
    image = Image.fromarray(noise(SIDE, SIDE)).quantize(64)
    received = keras_se.load_image(encoded(image, "PNG"), RGB_ENTRY)
    np.testing.assert_array_equal(received[0], np.asarray(image.convert("RGB"), "float32"))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(tmp_path: Path, name: str, strict: bool) -> None:
    path = tmp_path / "unreadable.png"
    path.write_bytes(UNREADABLE[name]())
    for source, label in ((path, str(path)), (path.read_bytes(), "bytes")):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            keras_se.load_image(source, RGB_ENTRY, strict=strict)
        assert_clear(caught.value, label)


def test_damaged_second_page() -> None:
    first, second = (Image.fromarray(noise(SIDE, SIDE)) for _ in range(2))
    data = encoded(first, "TIFF", save_all=True, append_images=[second])
    width = data.rindex(b"\x00\x01\x04\x00")
    damaged = data[:width] + b"\xff\x00" + data[width + 2 :]
    with pytest.raises(ValueError, match="expected") as caught:
        keras_se.load_image(damaged, RGB_ENTRY)
    assert_clear(caught.value, "bytes")


@pytest.mark.parametrize("name", ["truncated tiff", "tiff cut in its header"])
def test_unreadable_gives_one_error_and_no_warnings(name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="expected"):
            keras_se.load_image(UNREADABLE[name](), RGB_ENTRY)
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("kind", [str, Path])
def test_missing_file(tmp_path: Path, kind: type) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        keras_se.load_image(kind(tmp_path / "missing.png"), RGB_ENTRY)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "missing.png") in str(caught.value)


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        keras_se.load_image(tmp_path, RGB_ENTRY)
    assert_clear(caught.value, str(tmp_path))


def test_line_break_in_a_file_name(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="expected") as caught:
        keras_se.load_image(path, RGB_ENTRY)
    assert_clear(caught.value, "lines.png")


@pytest.mark.parametrize("weights", [None, 3])
def test_weights_of_another_type(weights: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        keras_se.load_image(png(), weights)
    assert "\n" not in str(caught.value)
    assert "weights" in str(caught.value)
    assert repr(weights) in str(caught.value)


def test_unknown_weights_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_registry", lambda: {RGB_ENTRY.name: RGB_ENTRY})
    with pytest.raises(ValueError, match="weights") as caught:
        keras_se.load_image(png(), "se_resnet20.picture")
    assert f"Did you mean {RGB_ENTRY.name!r}?" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """The most memory that was allocated through Python since, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.fixture
def nothing_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding fails the test; Pillow's pixels are not in Python's own memory."""

    def refuse(*_: object) -> None:
        raise AssertionError("pixels were asked for")

    for name in ("load", "resize", "convert", "crop"):
        monkeypatch.setattr(Image.Image, name, refuse)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)


@pytest.mark.usefixtures("nothing_decoded")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("width", "height"), [(20000, 20000), (12000, 10000), (2**30, 1)])
def test_huge_by_pixels(
    tmp_path: Path, width: int, height: int, strict: bool, traced: Callable[[], int]
) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(raw_png(width, height, 8, 2, bytes(1000)))
    with pytest.raises(ValueError, match="pixels") as caught:
        keras_se.load_image(path, RGB_ENTRY, strict=strict)
    assert traced() < MEGABYTE
    assert_clear(caught.value, str(path))
    expected, received = str(caught.value).split("Received")
    assert "100000000" in expected.replace(",", "").replace("_", "")
    assert str(width) in received or str(width * height) in received


@pytest.mark.usefixtures("nothing_decoded")
@pytest.mark.parametrize(("width", "height"), [(1, 5000), (5000, 1)])
def test_huge_once_resized(width: int, height: int) -> None:
    data = raw_png(width, height, 8, 2, b"\0" * (height * (1 + 3 * width)))
    with pytest.raises(ValueError, match="pixels") as caught:
        keras_se.load_image(data, weights_entry(224, 0.875))
    assert_clear(caught.value, f"{width} x {height}")


def test_huge_by_bytes(tmp_path: Path, traced: Callable[[], int]) -> None:
    path = tmp_path / "huge.png"
    with open(path, "wb") as file:
        file.write(png())
        file.truncate(64 * MEGABYTE + 1)
    with pytest.raises(ValueError, match="bytes") as caught:
        keras_se.load_image(path, RGB_ENTRY)
    assert traced() < MEGABYTE
    assert_clear(caught.value, str(path), str(64 * MEGABYTE), str(64 * MEGABYTE + 1))


def test_as_many_bytes_as_allowed(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with open(path, "wb") as file:
        file.write(png())
        file.truncate(64 * MEGABYTE)
    np.testing.assert_array_equal(
        keras_se.load_image(path, RGB_ENTRY)[0], noise(SIDE, SIDE).astype("float32")
    )


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """Luma of ITU-R 601."""
    return (rgb.astype("float64") @ (0.299, 0.587, 0.114))[..., None]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ANIMATED)
def test_several_frames_are_refused(tmp_path: Path, name: str, strict: bool) -> None:
    path = tmp_path / "picture.bin"
    path.write_bytes(ANIMATED[name])
    with pytest.raises(ValueError, match="expected a picture of one frame") as caught:
        keras_se.load_image(path, RGB_ENTRY, strict=strict)
    assert_clear(caught.value, str(path), "several frames")


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_what_must_be_converted_is_refused_if_strict(tmp_path: Path, name: str) -> None:
    path = tmp_path / "picture.bin"
    path.write_bytes(CONVERTIBLE[name][0])
    with pytest.raises(ValueError, match="strict=False") as caught:
        keras_se.load_image(path, RGB_ENTRY, strict=True)
    assert_clear(caught.value, str(path), "RGB")
    assert CONVERTIBLE[name][1] in str(caught.value).split("Received")[1]


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_conversion_to_rgb(name: str) -> None:
    data, _, colours = CONVERTIBLE[name]
    received = keras_se.load_image(data, RGB_ENTRY)
    assert received.shape == (1, SIDE, SIDE, 3)
    np.testing.assert_allclose(received[0], colours, rtol=0, atol=ONE_STEP)


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_conversion_to_grey(name: str) -> None:
    data, _, colours = CONVERTIBLE[name]
    received = keras_se.load_image(data, GREY_ENTRY)
    assert received.shape == (1, SIDE, SIDE, 1)
    np.testing.assert_allclose(received[0], grey_of(colours), rtol=0, atol=2 * ONE_STEP)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_32_bits_have_no_right_conversion(dtype: str, strict: bool) -> None:
    data = encoded(Image.fromarray(GREY.astype(dtype)), "TIFF")
    with pytest.raises(ValueError, match="expected") as caught:
        keras_se.load_image(data, RGB_ENTRY, strict=strict)
    assert_clear(caught.value, "more than 8 bits" if strict else "32 bits")


@pytest.mark.parametrize("alpha", [0, 255])
def test_whole_transparency_is_exact(alpha: int) -> None:
    data = encoded(Image.fromarray(np.dstack([COLOURS, np.full_like(ALPHA, alpha)])), "PNG")
    received = keras_se.load_image(data, RGB_ENTRY)
    np.testing.assert_array_equal(received[0], COLOURS if alpha else np.full_like(COLOURS, 255))


@pytest.mark.parametrize("name", ["16-bit grey", "16-bit rgb", "grey", "1 bit"])
def test_upper_bits_and_replication_are_exact(name: str) -> None:
    data, _, colours = CONVERTIBLE[name]
    np.testing.assert_array_equal(
        keras_se.load_image(data, RGB_ENTRY)[0], colours.astype("float32")
    )


@pytest.mark.parametrize("name", ["rgb", "palette", *sorted(set(CONVERTIBLE) - {"grey"})])
def test_one_channel_refuses_what_must_be_converted(tmp_path: Path, name: str) -> None:
    others = {
        "rgb": (png(), "RGB"),
        "palette": (encoded(PALETTE, "PNG"), "palette"),
    }
    data, word = (others.get(name) or CONVERTIBLE[name])[:2]
    path = tmp_path / "picture.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="strict=False") as caught:
        keras_se.load_image(path, GREY_ENTRY, strict=True)
    assert_clear(caught.value, str(path), "grey")
    assert word in str(caught.value).split("Received")[1]


def test_colours_become_grey() -> None:
    received = keras_se.load_image(png(), GREY_ENTRY)
    np.testing.assert_allclose(received[0], grey_of(noise(SIDE, SIDE)), rtol=0, atol=ONE_STEP)


@pytest.mark.parametrize("data", [png, jpeg, tiff])
def test_strict_takes_a_good_picture(data: Callable[[], bytes]) -> None:
    np.testing.assert_array_equal(
        keras_se.load_image(data(), RGB_ENTRY, strict=True), keras_se.load_image(data(), RGB_ENTRY)
    )


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_turns_the_picture(file_format: str, orientation: int) -> None:
    entry = weights_entry(32, 0.875)
    data = turned(file_format, exif_of(orientation))
    stored = np.asarray(Image.open(io.BytesIO(turned(file_format, exif_of(1)))))
    # As the standard says: where row 0 and column 0 of the stored picture are to be seen.
    turns: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: x.swapaxes(0, 1)[:, ::-1],
        7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
        8: lambda x: x.swapaxes(0, 1)[::-1],
    }
    upright = turns.get(orientation, lambda x: x)(stored)
    expected = expected_transform(
        Image.fromarray(np.ascontiguousarray(upright)), 32, 0.875, Image.Resampling.BILINEAR
    )
    np.testing.assert_array_equal(keras_se.load_image(data, entry), expected)
    if 2 <= orientation <= 8:
        with pytest.raises(ValueError, match=f"turned .EXIF orientation {orientation}"):
            keras_se.load_image(data, entry, strict=True)
    else:
        np.testing.assert_array_equal(keras_se.load_image(data, entry, strict=True), expected)


@pytest.mark.parametrize("strict", [0, None, "yes"])
def test_strict_is_true_or_false(strict: Any) -> None:
    with pytest.raises(ValueError, match=r"`strict` must be True or False\. Received: strict="):
        keras_se.load_image(png(), RGB_ENTRY, strict=strict)


def test_preprocess_input_is_the_identity() -> None:
    x = noise(4, 5)[None]
    assert keras_se.preprocess_input(x) is x
    assert keras_se.preprocess_input(x, data_format="channels_first") is x
    np.testing.assert_array_equal(x, noise(4, 5)[None])


@pytest.mark.parametrize(("dataset", "count"), [("imagenet", 1000), ("fashion_mnist", 10)])
def test_class_names_are_complete_and_unique(dataset: str, count: int) -> None:
    names = class_names(dataset)
    assert len(names) == count
    assert len({identifier for identifier, _ in names}) == count
    assert all(identifier and name == name.strip() != "" for identifier, name in names)


@pytest.mark.parametrize(
    ("index", "identifier", "name"),
    [
        (1, "n01443537", "goldfish"),
        (254, "n02110958", "pug"),
        (404, "n02690373", "airliner"),
        (972, "n09246464", "cliff"),
    ],
)
def test_imagenet_classes(index: int, identifier: str, name: str) -> None:
    assert class_names("imagenet")[index] == (identifier, name)
    predictions = np.zeros((1, 1000), "float32")
    predictions[0, index] = 0.5
    assert keras_se.decode_predictions(predictions, top=1) == [[(identifier, name, 0.5)]]


def test_imagenet_identifiers_are_sorted_wordnet_ones() -> None:
    identifiers = [identifier for identifier, _ in class_names("imagenet")]
    assert identifiers == sorted(identifiers)
    assert all(i[0] == "n" and len(i) == 9 and i[1:].isdigit() for i in identifiers)


def test_fashion_mnist_classes() -> None:
    assert [name for _, name in class_names("fashion_mnist")] == [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle_boot",
    ]  # fmt: skip


def fashion(predictions: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    return keras_se.decode_predictions(predictions, top, "fashion_mnist")


def test_decoded_best_first_for_each_picture() -> None:
    scores = np.random.default_rng(0).permutation(20).reshape(2, 10) / 32
    decoded = fashion(scores, 3)
    assert [len(rows) for rows in decoded] == [3, 3]
    for row, received in zip(scores, decoded, strict=True):
        best = sorted(range(10), key=lambda index: -row[index])[:3]
        assert received == [(*class_names("fashion_mnist")[i], row[i]) for i in best]
        assert all(type(score) is float for _, _, score in received)


def test_ties_keep_the_order_of_the_classes() -> None:
    predictions = np.zeros((1, 1000))
    predictions[0, [7, 500, 999]] = 0.25
    names = class_names("imagenet")
    expected = [names[i] for i in (7, 500, 999, 0, 1)]
    assert [row[:2] for row in keras_se.decode_predictions(predictions)[0]] == expected


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float64"])
def test_scores_of_any_number_type(dtype: str) -> None:
    lowest = np.iinfo(dtype).min if "int" in dtype else -100
    predictions = np.full((1, 10), lowest + 1, dtype)
    predictions[0, 3], predictions[0, 5], predictions[0, 8] = 90, 100, lowest
    decoded = fashion(predictions, 10)[0]
    assert [name for _, name, _ in decoded[:2]] == ["Sandal", "Dress"]
    assert decoded[-1][1] == "Bag"


def test_top_larger_than_the_classes_gives_all() -> None:
    assert len(fashion(np.zeros((1, 10)), 50)[0]) == 10


def test_no_pictures() -> None:
    assert fashion(np.zeros((0, 10))) == []


@pytest.mark.parametrize("shape", [(10,), (2, 3, 10), (1, 9), (1, 1000), (10, 1), ()])
def test_predictions_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="preds") as caught:
        fashion(np.zeros(shape))
    assert "\n" not in str(caught.value)
    assert "(batch, 10)" in str(caught.value)
    assert f"{shape}" in str(caught.value)


@pytest.mark.parametrize("top", [0, -1, 2.5, "5", None, True])
def test_bad_top(top: Any) -> None:
    with pytest.raises(ValueError, match="top") as caught:
        fashion(np.zeros((1, 10)), top)
    assert "\n" not in str(caught.value)
    assert f"top={top!r}" in str(caught.value)


def test_unknown_dataset() -> None:
    with pytest.raises(ValueError, match="weights_or_model") as caught:
        keras_se.decode_predictions(np.zeros((1, 1000)), weights_or_model="imagnet")
    assert "\n" not in str(caught.value)
    assert "Received: weights_or_model='imagnet'. Did you mean 'imagenet'?" in str(caught.value)


def test_decoding_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    class_names.cache_clear()
    assert keras_se.decode_predictions(np.eye(1000)[[254]], top=1)[0][0][1] == "pug"
    assert fashion(np.eye(10)[[9]], 1)[0][0][1] == "Ankle_boot"
