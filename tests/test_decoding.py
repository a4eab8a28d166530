"""Pictures decoded inside a TensorFlow graph: what `load_image` gives, or why not."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import test_pictures as pictures
from PIL import Image
from test_pictures import CONVERTIBLE, UNREADABLE, chunk, encoded, half, noise, raw_png

import keras_se
from keras_se.pictures import MAX_BYTES, MAX_PIXELS
from keras_se.serving.decoding import Transform, decode
from keras_se.serving.headers import MAX_CHUNKS

SIDE = pictures.SIDE
# Pillow weighs with integers: a sum that is just a half may be rounded to the other side.
STEP, SHARE = 1.0, 0.03


def transform_of(entry: keras_se.Weights, max_pixels: int = MAX_PIXELS) -> Transform:
    _, _, channels = entry.input_shape
    rule = entry.preprocessing
    return Transform(rule.size, rule.size, channels, rule.crop, rule.interpolation, max_pixels)


Decode = Callable[[list[bytes]], tuple[np.ndarray, np.ndarray, np.ndarray]]


def decoder(transform: Transform) -> Decode:
    """`decode` in a graph, traced once."""
    spec = tf.TensorSpec((None,), tf.string)
    function = tf.function(lambda files: decode(files, transform), [spec], autograph=False)
    return lambda files: tuple(x.numpy() for x in function(tf.constant(files, tf.string)))


@pytest.fixture(scope="module")
def rgb() -> Decode:
    return decoder(transform_of(pictures.RGB_ENTRY))


@pytest.fixture(scope="module")
def grey() -> Decode:
    return decoder(transform_of(pictures.GREY_ENTRY))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_and_crop(interpolation: str) -> None:
    entry = pictures.weights_entry(32, 0.875, interpolation=interpolation)
    files = [encoded(Image.fromarray(noise(*size)), "PNG") for size in pictures.SIZES]
    files += [encoded(Image.fromarray(noise(*size)), "PNG") for size in [(640, 427), (301, 299)]]
    fitting = [data for data in files if max(Image.open(io.BytesIO(data)).size) < 5000]
    received, rows, errors = decoder(transform_of(entry))(fitting)
    assert set(errors) == {b""}
    expected = np.concatenate([keras_se.load_image(data, entry) for data in fitting])
    difference = np.abs(received - expected)
    assert difference.max() <= STEP
    assert (difference > 0).mean() <= SHARE
    assert list(rows) == list(range(len(fitting)))


def test_transform_to_a_rectangle() -> None:
    """No set of weights has one: the picture covers it, and the centre is cut out."""
    image = noise(50, 40)
    received, _, _ = decoder(Transform(20, 30, 3, 0.5, "bilinear", MAX_PIXELS))(
        [encoded(Image.fromarray(image), "PNG")]
    )
    # 40 x 60 are to be covered: 48 x 60.
    resized = Image.fromarray(image).resize((60, 48), Image.Resampling.BILINEAR)
    expected = np.asarray(resized, "float32")[14:34, 15:45]
    assert np.abs(received[0] - expected).max() <= STEP


JPEGS = [("JPEG", {"quality": 75, "subsampling": n}) for n in (0, 1, 2)]
KINDS = [
    *JPEGS, ("JPEG", {"progressive": True}), ("PNG", {}), ("PNG", {"optimize": True}), ("BMP", {}),
]  # fmt: skip


def test_formats(rgb: Decode) -> None:
    image = Image.fromarray(noise(61, 47)).resize((SIDE, SIDE))
    files = [encoded(image, kind, **options) for kind, options in KINDS]
    files.append(encoded(image.quantize(64), "PNG"))
    files.append(encoded(image.quantize(64), "GIF"))
    files.append(bmp_32_bits(np.asarray(image)))
    received, _, errors = rgb(files)
    assert set(errors) == {b""}
    for data, picture in zip(files, received, strict=True):
        expected = keras_se.load_image(data, pictures.RGB_ENTRY)[0]
        np.testing.assert_array_equal(picture, expected)


def bmp_32_bits(image: np.ndarray) -> bytes:
    """Rows from the top, as a negative height says; the fourth byte means nothing."""
    height, width, _ = image.shape
    rows = np.dstack([image[..., ::-1], np.zeros((height, width, 1), "uint8")]).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 32, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def test_grey_formats(grey: Decode) -> None:
    image = Image.fromarray(noise(SIDE, SIDE, channels=1))
    ramp = Image.frombytes("L", (256, 1), bytes(range(256))).resize((SIDE, SIDE))
    files = [encoded(image, kind) for kind in ("JPEG", "PNG", "BMP")]
    files.append(encoded(ramp, "GIF", optimize=False))
    received, _, errors = grey(files)
    assert set(errors) == {b""}
    for data, picture in zip(files, received, strict=True):
        np.testing.assert_array_equal(picture, keras_se.load_image(data, pictures.GREY_ENTRY)[0])


CUT = [
    encoded(Image.fromarray(noise(SIDE, SIDE)), kind)[:length]
    for kind in ("JPEG", "PNG", "GIF", "BMP")
    for length in (3, 9, 14, 20, 27, 40, 60, 200, 1500)
]
BAD = {
    **{name: make() for name, make in UNREADABLE.items()},
    **{name: data for name, (data, _, _) in CONVERTIBLE.items()},
    **{f"cut {n}": data for n, data in enumerate(CUT)},
    "no rows": raw_png(SIDE, 0, 8, 2, b""),
    "no columns": raw_png(0, SIDE, 8, 2, b""),
    "no header": b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"\0" * 30),
    "packed bmp": encoded(Image.fromarray(noise(SIDE, SIDE)), "BMP").replace(
        struct.pack("<HHI", 1, 24, 0), struct.pack("<HHI", 1, 24, 1), 1
    ),
}  # fmt: skip
# TensorFlow does not read the text of a picture, nor these formats.
UNREAD = {"comment that explodes"}
OTHER_FORMATS = ("tiff", "webp")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_load_image_refuses_costs_its_own_row(
    channels: int, rgb: Decode, grey: Decode
) -> None:
    entry, run = ((pictures.GREY_ENTRY, grey), (pictures.RGB_ENTRY, rgb))[channels == 3]
    good = encoded(Image.fromarray(noise(SIDE, SIDE, channels)), "PNG")
    named = {name: data for name, data in BAD.items() if name not in UNREAD}
    files = [data for bad in named.values() for data in (bad, good)]
    received, rows, errors = run(files)
    refused = {}
    for name, data in named.items():
        try:
            keras_se.load_image(data, entry)
        except ValueError as error:
            refused[name] = str(error)
    for name, error in zip(named, errors[::2], strict=True):
        text = error.decode()
        assert bool(text) == (name in refused), name
        if not text:
            continue
        assert text.startswith("expected "), name
        assert "\n" not in text
        other = any(word in name for word in OTHER_FORMATS)
        if name in CONVERTIBLE and not other:
            word = "several frames" if "animated" in name else CONVERTIBLE[name][1]
            assert word in text.split("Received")[1], name
    assert set(errors[1::2]) == {b""}
    expected = keras_se.load_image(good, entry)[0]
    for row, picture in zip(rows, received, strict=True):
        if row % 2:
            np.testing.assert_array_equal(picture, expected)
    assert set(range(1, len(files), 2)) <= set(rows)


@pytest.mark.parametrize("run", ["rgb", "grey"])
def test_no_files(run: str, request: pytest.FixtureRequest) -> None:
    received, rows, errors = request.getfixturevalue(run)([])
    assert received.shape[0] == rows.size == errors.size == 0


HUGE = {
    "png": raw_png(20000, 10000, 8, 2, bytes(1000)),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHI", 0, 0, 0, 54, 40, 20000, -10000, 1, 24, 0) + bytes(99),
    "gif": b"GIF89a" + struct.pack("<HH", 20000, 10000)
    + encoded(Image.fromarray(noise(9, 9)), "GIF")[10:],
    "jpeg": encoded(Image.fromarray(noise(9, 9)), "JPEG").replace(
        struct.pack(">HH", 9, 9) + b"\3", struct.pack(">HH", 10000, 20000) + b"\3", 1
    ),
}  # fmt: skip


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_200_megapixels_are_not_decoded(rgb: Decode) -> None:
    rgb([pictures.png()])
    before = resident()
    _, _, errors = rgb(list(HUGE.values()))
    assert resident() - before < 100 * 2**20
    for name, error in zip(HUGE, errors, strict=True):
        assert b"at most 100000000 pixels" in error, name
        assert b"Received: 20000x10000" in error, name


def test_huge_once_resized() -> None:
    run = decoder(transform_of(pictures.weights_entry(224, 0.875)))
    _, _, (error,) = run([encoded(Image.fromarray(noise(1, 5000)), "PNG")])
    assert b"at most 100000000 pixels, also resized. Received: 1x5000" in error


def test_fewer_pixels_if_asked() -> None:
    run = decoder(transform_of(pictures.RGB_ENTRY, max_pixels=SIDE * SIDE))
    data = [encoded(Image.fromarray(noise(SIDE + more, SIDE)), "PNG") for more in (0, 1)]
    _, rows, errors = run(data)
    assert list(rows) == [0]
    assert b"at most 1600 pixels" in errors[1]


def test_too_many_bytes(rgb: Decode) -> None:
    data = pictures.png()
    _, rows, errors = rgb([data.ljust(MAX_BYTES, b"\0"), data.ljust(MAX_BYTES + 1, b"\0")])
    assert list(rows) == [0]
    assert errors[1].decode() == (
        f"expected a picture of 1 to {MAX_BYTES} bytes. Received: {MAX_BYTES + 1}"
    )


def test_many_small_chunks_are_refused(rgb: Decode) -> None:
    """Each would be looked at."""
    data = pictures.png()
    many = data[:33] + chunk(b"teSt", b"") * (MAX_CHUNKS + 1) + data[33:]
    few = data[:33] + chunk(b"teSt", b"") * 20 + data[33:]
    _, rows, errors = rgb([many, few])
    assert list(rows) == [1]
    assert b"damaged" in errors[0]


def test_gif_that_does_not_fill_its_canvas(rgb: Decode) -> None:
    data = encoded(Image.fromarray(noise(SIDE, SIDE)), "GIF")
    larger = data[:6] + struct.pack("<HH", 60, 60) + data[10:]
    smaller = data[:6] + struct.pack("<HH", 9, 9) + data[10:]
    _, _, errors = rgb([larger, smaller, half(data)])
    assert all(b"does not fill its canvas" in error for error in errors[:2])
    assert b"damaged" in errors[2]
