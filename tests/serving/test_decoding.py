"""Pictures decoded inside a TensorFlow graph: what `load_image` gives, or why not."""

from __future__ import annotations

import io
import struct

import numpy as np
import picture_files as pictures
import pytest
from graph_decoding import Decode, decoder, transform_of
from picture_files import ANIMATED, CONVERTIBLE, UNREADABLE, chunk, encoded, half, noise, raw_png
from PIL import Image
from processes import resident

import keras_se
from keras_se.essentials import MAX_CHUNKS, MAX_PARTS
from keras_se.pictures import MAX_BYTES, MAX_PIXELS
from keras_se.serving.decoding import Transform

SIDE = pictures.SIDE
# Pillow weighs with integers: a sum that is just a half may be rounded to the other side.
STEP, SHARE = 1.0, 0.03


def assert_close(received: np.ndarray, expected: np.ndarray, share: float = SHARE) -> None:
    """But for rounding."""
    difference = np.abs(received - expected)
    assert difference.max() <= STEP
    assert (difference > 0).mean() <= share


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
    assert_close(received, expected)
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
    **ANIMATED,
    **{f"cut {n}": data for n, data in enumerate(CUT)},
    "no rows": raw_png(SIDE, 0, 8, 2, b""),
    "no columns": raw_png(0, SIDE, 8, 2, b""),
    "no header": b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"\0" * 30),
    "packed bmp": encoded(Image.fromarray(noise(SIDE, SIDE)), "BMP").replace(
        struct.pack("<HHI", 1, 24, 0), struct.pack("<HHI", 1, 24, 1), 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_what_load_image_refuses_costs_its_own_row(
    channels: int, rgb: Decode, grey: Decode
) -> None:
    entry, run = ((pictures.GREY_ENTRY, grey), (pictures.RGB_ENTRY, rgb))[channels == 3]
    good = encoded(Image.fromarray(noise(SIDE, SIDE, channels)), "PNG")
    files = [data for bad in BAD.values() for data in (bad, good)]
    received, rows, errors = run(files)
    for (name, data), error in zip(BAD.items(), errors[::2], strict=True):
        with pytest.raises(ValueError, match="expected"):
            keras_se.load_image(data, entry)
        text = error.decode()
        assert text.startswith("expected "), name
        assert "\n" not in text
        if name in ("animated gif", "animated png"):
            assert "several frames" in text.split("Received")[1], name
    assert set(errors[1::2]) == {b""}
    expected = keras_se.load_image(good, entry)[0]
    for row, picture in zip(rows, received, strict=True):
        if row % 2:
            np.testing.assert_array_equal(picture, expected)
    assert set(range(1, len(files), 2)) == set(rows)


# The graph decodes four formats.
CONVERTED = {name: data for name, (data, _, _) in CONVERTIBLE.items() if name != "rgba webp"}
CONVERTED |= {
    "rgb": pictures.png(),
    "transparent gif": encoded(pictures.PALETTE, "GIF", transparency=3),
    "bmp with a palette": encoded(pictures.PALETTE, "BMP"),
    "bmp of 4 bits": pictures.bmp_4_bits(),
    "bmp of 1 bit": encoded(Image.fromarray(pictures.GREY > 127), "BMP"),
    "cmyk without a marker": pictures.without_adobe(pictures.CMYK),
    "4-bit grey with a transparent level": pictures.png_4_bits(),
    "text that explodes": pictures.text_bomb(),
}


@pytest.mark.parametrize("channels", [1, 3])
def test_conversion(channels: int, rgb: Decode, grey: Decode) -> None:
    entry, run = ((pictures.GREY_ENTRY, grey), (pictures.RGB_ENTRY, rgb))[channels == 3]
    received, _, errors = run(list(CONVERTED.values()))
    assert dict(zip(CONVERTED, errors, strict=True)) == dict.fromkeys(CONVERTED, b"")
    for (name, data), picture in zip(CONVERTED.items(), received, strict=True):
        # Inks are multiplied, and rounded in another way.
        step = STEP if "cmyk" in name else 0
        expected = keras_se.load_image(data, entry)[0]
        np.testing.assert_allclose(picture, expected, rtol=0, atol=step, err_msg=name)


@pytest.mark.parametrize("channels", [1, 3])
def test_strict_refuses_what_load_image_refuses(channels: int) -> None:
    entry = pictures.RGB_ENTRY if channels == 3 else pictures.GREY_ENTRY
    named = CONVERTED | {"turned": pictures.turned("JPEG", 6)}
    _, rows, errors = decoder(transform_of(entry, strict=True))(list(named.values()))
    for number, (name, data) in enumerate(named.items()):
        try:
            keras_se.load_image(data, entry, strict=True)
        except ValueError as error:
            assert number not in rows, name
            if name in CONVERTIBLE:
                words = str(error).split("Received: ")[1].split(" (mode")[0]
                assert words in errors[number].decode(), name
        else:
            assert number in rows, name
    assert 0 < len(rows) < len(named)


def test_exif(rgb: Decode) -> None:
    files = [pictures.turned("JPEG", exif) for exif in pictures.ODD_EXIF]
    files += [pictures.turned(kind, number) for kind in ("JPEG", "PNG") for number in range(10)]
    received, _, errors = rgb(files)
    assert set(errors) == {b""}
    for data, picture in zip(files, received, strict=True):
        assert_close(picture, keras_se.load_image(data, pictures.RGB_ENTRY)[0], 2 * SHARE)


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
    two = chunk(b"teSt", b"") + chunk(b"teSt", b"a")
    many, few, equal = (
        data[:33] + chunks + data[33:]
        for chunks in (two * (MAX_CHUNKS // 2), two * 20, chunk(b"teSt", b"") * MAX_PARTS)
    )
    _, rows, errors = rgb([many, few, equal])
    assert list(rows) == [1]
    assert b"damaged" in errors[0]
    for slow in (many, equal):
        with pytest.raises(ValueError, match="made to be slow"):
            keras_se.load_image(slow, pictures.RGB_ENTRY)
    keras_se.load_image(few, pictures.RGB_ENTRY)


def test_pixels_in_many_chunks(rgb: Decode) -> None:
    """As encoders write a large picture: they follow each other in one length."""
    data = pictures.png()
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    body = data[start + 8 : end - 4]
    parts = [body[n : n + 2] for n in range(0, len(body), 2)]
    split = data[:start] + b"".join(chunk(b"IDAT", part) for part in parts) + data[end:]
    assert len(parts) > 2 * MAX_CHUNKS
    received, _, (error,) = rgb([split])
    assert error == b""
    np.testing.assert_array_equal(received[0], noise(SIDE, SIDE))
    np.testing.assert_array_equal(
        keras_se.load_image(split, pictures.RGB_ENTRY)[0], noise(SIDE, SIDE)
    )


def test_gif_that_does_not_fill_its_canvas(rgb: Decode) -> None:
    data = encoded(Image.fromarray(noise(SIDE, SIDE)), "GIF")
    larger = data[:6] + struct.pack("<HH", 60, 60) + data[10:]
    smaller = data[:6] + struct.pack("<HH", 9, 9) + data[10:]
    _, _, errors = rgb([larger, smaller, half(data)])
    assert all(b"does not fill its canvas" in error for error in errors[:2])
    assert b"damaged" in errors[2]
