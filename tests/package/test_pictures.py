"""Pictures: the evaluation transform, bad pictures, conversion, class names.

The transform is stated here a second time, in the words of torchvision's `Resize` and `CenterCrop`.
"""

from __future__ import annotations

import io
import random
import socket
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import keras_se
from keras_se.labels import class_names
from keras_se.weights import entries

SIDE = 40
MEGABYTE = 2**20
# Blending and weighted sums of 8-bit values are rounded, by Pillow once more than here.
ONE_STEP = 1.0


def weights_entry(
    size: int, crop: float = 1.0, channels: int = 3, interpolation: str = "bilinear"
) -> keras_se.Weights:
    statistics = (0.5,) * channels, (0.25,) * channels
    return replace(
        entries.get_weights("se_resnet20.fashion_mnist"),
        input_shape=(size, size, channels),
        preprocessing=entries.Preprocessing(size, crop, interpolation, *statistics),
    )


RGB_ENTRY, GREY_ENTRY = weights_entry(SIDE), weights_entry(SIDE, channels=1)


def noise(width: int, height: int, channels: int = 3, high: int = 256) -> np.ndarray:
    generator = np.random.default_rng((width, height, channels))
    shape = (height, width, channels) if channels > 1 else (height, width)
    return generator.integers(0, high, shape, "uint16" if high > 256 else "uint8")


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: bytes
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def png_16_bits(pixels: np.ndarray, *extra: bytes) -> bytes:
    colour_type = 2 if pixels.ndim == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return raw_png(pixels.shape[1], pixels.shape[0], 16, colour_type, rows, *extra)


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


SIZES = [
    (50, 40), (40, 50), (51, 37), (37, 51), (33, 33), (36, 36), (20, 24), (7, 300), (300, 7),
    (1, 1), (2, 1), (1, 5000), (5000, 1),
]  # fmt: skip


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


def jpeg() -> bytes:
    return encoded(Image.fromarray(noise(SIDE, SIDE)), "JPEG")


def png() -> bytes:
    return encoded(Image.fromarray(noise(SIDE, SIDE)), "PNG")


def tiff() -> bytes:
    return encoded(Image.fromarray(noise(SIDE, SIDE)), "TIFF")


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def half_the_rows() -> bytes:
    """Sound but for the rows that are missing."""
    return raw_png(SIDE, SIDE, 8, 2, b"\0" * (SIDE // 2 * (1 + 3 * SIDE)))


def text_bomb() -> bytes:
    """A good picture with a comment of two megabytes in two kilobytes."""
    rows = b"\0" * (SIDE * (1 + 3 * SIDE))
    comment = b"Comment\0\0" + zlib.compress(bytes(2 * MEGABYTE))
    return raw_png(SIDE, SIDE, 8, 2, rows, chunk(b"zTXt", comment))


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\xff",
    "random bytes": lambda: random.Random(0).randbytes(1000),
    "text": lambda: b"<!DOCTYPE html>\n<p>Not found\n",
    "truncated jpeg": lambda: half(jpeg()),
    "truncated png": lambda: half(png()),
    "truncated tiff": lambda: half(tiff()),
    "truncated webp": lambda: half(encoded(Image.fromarray(noise(SIDE, SIDE)), "WEBP")),
    "truncated gif": lambda: half(encoded(Image.fromarray(noise(SIDE, SIDE)), "GIF")),
    "truncated bmp": lambda: half(encoded(Image.fromarray(noise(SIDE, SIDE)), "BMP")),
    "signature alone": lambda: png()[:8],
    "broken checksum": lambda: png()[:29] + bytes(4) + png()[33:],
    "broken pixels": lambda: raw_png(SIDE, SIDE, 8, 2, b"\7" * (SIDE * (1 + 3 * SIDE))),
    "too few pixels": lambda: raw_png(SIDE, SIDE, 8, 2, b"\0" * 100),
    "short header": lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0"),
    "tiff without a width": lambda: tiff().replace(b"\x00\x01\x04\x00", b"\xff\x00\x04\x00", 1),
    "tiff cut in its header": lambda: tiff()[:40],
    "half its rows": lambda: half_the_rows(),
    "unknown critical chunk": lambda: png()[:33] + chunk(b"CRIT", b"") + png()[33:],
    "another format": lambda: encoded(Image.fromarray(noise(SIDE, SIDE)), "PPM"),
}


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


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return colours * share + 255.0 * (1.0 - share)


def frames(count: int = 2) -> list[Image.Image]:
    """Frames of few colours, so that a GIF holds them exactly."""
    return [
        Image.fromarray(np.roll(noise(SIDE, SIDE, high=4) * 80, index)) for index in range(count)
    ]


def animation(file_format: str, **options: Any) -> bytes:
    first, *others = frames(3)
    return encoded(first, file_format, save_all=True, append_images=others, **options)


ALPHA = np.random.default_rng(3).choice(np.array([0, 1, 127, 128, 254, 255], "uint8"), (SIDE, SIDE))
COLOURS = noise(SIDE, SIDE)
GREY = noise(SIDE, SIDE, channels=1)
GREY_16_BITS = noise(SIDE, SIDE, channels=1, high=65536)
COLOURS_16_BITS = noise(SIDE, SIDE, high=65536)
PALETTE = Image.fromarray(COLOURS).quantize(16)
CMYK = encoded(Image.fromarray(noise(SIDE, SIDE, channels=4), "CMYK"), "JPEG")
KEY_16_BITS = int(GREY_16_BITS[0, 0])
KEYED = noise(SIDE, SIDE, high=2) * 255


def cmyk_colours() -> np.ndarray:
    inks = np.asarray(Image.open(io.BytesIO(CMYK)), "float64") / 255.0
    return 255.0 * (1.0 - inks[..., :3]) * (1.0 - inks[..., 3:])


def palette_colours() -> np.ndarray:
    colours = np.array(PALETTE.getpalette()).reshape(-1, 3)
    indices = np.asarray(PALETTE)
    return np.where((indices == 0)[..., None], 255, colours[indices])


# What the picture is, its bytes, what the message calls it, and its right colours.
CONVERTIBLE: dict[str, tuple[bytes, str, np.ndarray]] = {
    "grey": (encoded(Image.fromarray(GREY), "PNG"), "grey", GREY[..., None].repeat(3, 2)),
    "1 bit": (
        encoded(Image.fromarray(GREY > 127), "PNG"),
        "black-and-white",
        255 * (GREY > 127)[..., None].repeat(3, 2),
    ),
    "16-bit grey": (
        png_16_bits(GREY_16_BITS),
        "more than 8 bits",
        (GREY_16_BITS >> 8)[..., None].repeat(3, 2),
    ),
    "16-bit rgb": (png_16_bits(COLOURS_16_BITS), "more than 8 bits", COLOURS_16_BITS >> 8),
    "cmyk": (CMYK, "CMYK", cmyk_colours()),
    "rgba": (
        encoded(Image.fromarray(np.dstack([COLOURS, ALPHA])), "PNG"),
        "transparent",
        on_white(COLOURS, ALPHA),
    ),
    "rgba webp": (
        encoded(Image.fromarray(np.dstack([COLOURS, ALPHA])), "WEBP", lossless=True, exact=True),
        "transparent",
        on_white(COLOURS, ALPHA),
    ),
    "grey with alpha": (
        encoded(Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), "PNG"),
        "transparent",
        on_white(GREY[..., None].repeat(3, 2), ALPHA),
    ),
    "transparent palette": (
        encoded(PALETTE, "PNG", transparency=0),
        "transparent",
        palette_colours(),
    ),
    "transparent colour": (
        encoded(Image.fromarray(KEYED), "PNG", transparency=(255, 0, 0)),
        "transparent",
        np.where((KEYED == (255, 0, 0)).all(2)[..., None], 255, KEYED),
    ),
    "transparent 16-bit grey": (
        png_16_bits(GREY_16_BITS, chunk(b"tRNS", struct.pack(">H", KEY_16_BITS))),
        "transparent",
        np.where(GREY_16_BITS == KEY_16_BITS, 255, GREY_16_BITS >> 8)[..., None].repeat(3, 2),
    ),
}


ANIMATED = {
    "animated gif": animation("GIF"),
    "animated png": animation("PNG"),
    "animated webp": animation("WEBP", lossless=True),
    "tiff of three pages": animation("TIFF"),
}


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


def bmp_4_bits() -> bytes:
    """Sixteen colours, rows filled up to four bytes; Pillow writes none."""
    indices = noise(SIDE + 3, SIDE, channels=1, high=16)
    rows = np.pad(indices, [(0, 0), (0, 5)])
    packed = (rows[:, ::2] << 4 | rows[:, 1::2])[::-1].tobytes()
    palette = noise(16, 1, channels=4).tobytes()
    sizes = struct.pack("<IiiHHIIiiII", 40, SIDE + 3, SIDE, 1, 4, 0, len(packed), 0, 0, 16, 0)
    start = 54 + len(palette)
    header = b"BM" + struct.pack("<IHHI", start + len(packed), 0, 0, start)
    return header + sizes + palette + packed


def without_adobe(data: bytes) -> bytes:
    at = data.index(b"\xff\xee\0\x0eAdobe")
    return data[:at] + data[at + 16 :]


def png_4_bits() -> bytes:
    pixels = noise(SIDE // 2, SIDE, channels=1)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return raw_png(SIDE, SIDE, 4, 0, rows, chunk(b"tRNS", b"\0\7"))


def exif_of(orientation: int, order: str = ">", kind: int = 3, count: int = 1) -> bytes:
    start = b"MM\0*" if order == ">" else b"II*\0"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), orientation, *[0] * (kind == 3))
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + value
    return start + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


ODD_EXIF = [
    exif_of(6, "<"), exif_of(8, "<", 4), exif_of(8, ">", 4), exif_of(6, count=2),
    exif_of(6, kind=7),
    exif_of(6)[:20], exif_of(6)[:9], exif_of(6)[:5], b"", b"MM\0*" + bytes([255] * 40),
    exif_of(6).replace(b"\0\0\0\x08", b"\0\0\xff\xff"),
    exif_of(6).replace(b"\0\0\0\x08\0\1", b"\0\0\0\x08\xff\xff"), exif_of(2**20, kind=4),
]  # fmt: skip


def turned(file_format: str, exif: int | bytes) -> bytes:
    """A picture that is not square, with EXIF data, or such an orientation in it."""
    exif = exif if isinstance(exif, bytes) else exif_of(exif)
    exif = b"Exif\0\0" + exif if file_format == "JPEG" else exif
    options = {"exif": exif} if file_format != "TIFF" else {"tiffinfo": {274: exif[-7]}}
    options |= {"lossless": True} if file_format == "WEBP" else {}
    return encoded(Image.fromarray(noise(50, 41)), file_format, **options)


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
