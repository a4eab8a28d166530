"""Training sees what `keras_se.load_image` sees, in every format and mode."""

import io
import threading

import numpy as np
import pytest
import tensorflow as tf
from picture_folders import recipe, write
from PIL import Image

from keras_se.data.decoding import decoded, opened, whole
from keras_se.data.encoded import central_crop
from keras_se.training.encoded_batches import random_crop
from keras_se.training.recipe_data import load_data, training_batches

# Inverse transforms of JPEG differ by rounding, and so does the way back from CMYK.
JPEG_TOLERANCE = 8


def gradient(height=40, width=30):
    y, x = np.mgrid[:height, :width]
    return np.stack([6 * y, 8 * x, 255 - 3 * (x + y)], -1).astype("uint8")


def saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def transparent():
    alpha = np.zeros((40, 30), "uint8")
    alpha[:20] = 255
    picture = Image.fromarray(gradient())
    picture.putalpha(Image.fromarray(alpha))
    return picture


RGB = Image.fromarray(gradient())
GREY = RGB.convert("L")
WIDE = Image.fromarray(np.asarray(GREY).astype("uint16") * 256 + 77)
ON_WHITE = np.where(np.arange(40)[:, None, None] < 20, gradient(), 255)
THREE_GREYS = np.repeat(np.asarray(GREY)[..., None], 3, -1)

# Bytes, and what is to be seen.
CASES = {
    **{kind: (saved(RGB, kind), gradient()) for kind in ("PNG", "BMP", "TIFF")},
    "WEBP": (saved(RGB, "WEBP", lossless=True), gradient()),
    "JPEG": (saved(RGB, "JPEG", quality=100, subsampling=0), gradient()),
    "grey PNG": (saved(GREY, "PNG"), THREE_GREYS),
    "grey JPEG": (saved(GREY, "JPEG", quality=100), THREE_GREYS),
    "CMYK JPEG": (saved(RGB.convert("CMYK"), "JPEG", quality=100, subsampling=0), gradient()),
    "CMYK TIFF": (saved(RGB.convert("CMYK"), "TIFF"), gradient()),
    "palette PNG": (
        saved(RGB.convert("P"), "PNG"), np.asarray(RGB.convert("P").convert("RGB"))
    ),
    "palette GIF": (
        saved(RGB.convert("P"), "GIF"), np.asarray(RGB.convert("P").convert("RGB"))
    ),
    "transparent PNG": (saved(transparent(), "PNG"), ON_WHITE),
    "transparent WEBP": (saved(transparent(), "WEBP", lossless=True), ON_WHITE),
    "transparent colour": (
        saved(GREY, "PNG", transparency=0), np.where(THREE_GREYS == 0, 255, THREE_GREYS)
    ),
    "16 bits": (saved(WIDE, "PNG"), THREE_GREYS),
    "black and white": (
        saved(RGB.convert("1"), "PNG"), np.asarray(RGB.convert("1").convert("RGB"))
    ),
    "turned PNG": (saved(RGB, "PNG", exif=turned(6)), np.rot90(gradient(), -1)),
    "turned 16 bits": (saved(WIDE, "PNG", exif=turned(3)), np.rot90(THREE_GREYS, 2)),
    "turned WEBP": (saved(RGB, "WEBP", lossless=True, exif=turned(8)), np.rot90(gradient())),
    **{
        f"JPEG {orientation}": (
            saved(RGB, "JPEG", quality=100, subsampling=0, exif=turned(orientation)), expected
        )
        for orientation, expected in {
            1: gradient(),
            2: gradient()[:, ::-1],
            3: gradient()[::-1, ::-1],
            4: gradient()[::-1],
            5: gradient().transpose(1, 0, 2),
            6: np.rot90(gradient(), -1),
            7: np.rot90(gradient(), 2).transpose(1, 0, 2),
            8: np.rot90(gradient()),
            9: gradient(),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_decoded(name):
    data, expected = CASES[name]
    tolerance = JPEG_TOLERANCE if "JPEG" in name or "CMYK" in name else 0
    for got in (decoded(data), whole(tf.constant(data)).numpy()):
        assert got.dtype == np.uint8
        np.testing.assert_allclose(got.astype(int), expected, atol=tolerance)
    later, shape, picture = opened(tf.constant(data))
    # Time is saved where a part of a JPEG is decoded alone.
    plain = name in ("JPEG", "grey JPEG", "JPEG 1", "JPEG 9")
    assert bool(later) == plain
    assert shape.numpy().tolist() == list(expected.shape[:2])
    assert picture.shape == ((0, 0, 3) if plain else expected.shape)
    # In the graph of `tf.data`, and for a grey network.
    for crop in (
        lambda data: random_crop(data, tf.fill([22], 0.3), (16, 16, 3), (0.3, 1.0)),
        lambda data: central_crop(data, (16, 16, 1), 0.9),
    ):
        reference = crop(tf.constant(saved(Image.fromarray(expected.astype("uint8")), "PNG")))
        dataset = tf.data.Dataset.from_tensors(data).map(crop)
        np.testing.assert_allclose(next(iter(dataset)), reference, atol=tolerance + 1e-3)


def frames(kind):
    others = [Image.fromarray(gradient() // 2)]
    return saved(RGB, kind, save_all=True, append_images=others)


REFUSED = {
    "GIF of two frames": (frames("GIF"), "a file of several frames"),
    "TIFF of two frames": (frames("TIFF"), "a file of several frames"),
    "TIFF of floats": (saved(Image.fromarray(np.full((9, 9), np.nan, "float32")), "TIFF"), "32 b"),
    "ICO": (saved(RGB, "ICO"), "unknown format"),
    "nothing": (b"", "unknown format"),
    "half a PNG": (CASES["PNG"][0][:80], ""),
    "half a JPEG": (CASES["JPEG"][0][:900], ""),
    "half a turned JPEG": (CASES["JPEG 6"][0][:900], ""),
    "half a WEBP": (CASES["WEBP"][0][:40], ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    """In one line with the file and the reason, or left out."""
    data, reason = REFUSED[name]
    path = write(tmp_path) / "a" / "bad.png"
    path.write_bytes(data)
    parts = load_data(recipe(tmp_path), pytest.fail)
    (line,) = [line for part in parts.values() for line in part.bad()]
    assert line.startswith(f"{path}: expected an undamaged picture; bad_pictures=skip leaves it")
    assert f"Received: {reason}" in line
    assert "\n" not in line
    assert len(line.removeprefix(str(path))) < 220
    said = []
    load_data(recipe(tmp_path, "bad_pictures=skip"), said.append)
    assert said == [f"skipped, not a picture: {path}"]


def test_huge_ones_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr("keras_se.pictures.MAX_PIXELS", 40 * 30 - 1)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"1199 pixels\. Received: 30 x 40"):
        decoded(CASES["BMP"][0])


def test_pictures_that_vanish(tmp_path):
    """Files that are gone when they are read are named."""
    path = write(tmp_path) / "a" / "0.png"
    parts = load_data(recipe(tmp_path), pytest.fail)
    path.unlink()
    (line,) = [line for part in parts.values() for line in part.bad()]
    assert line.startswith(f"{path}: ")
    assert "No such file" in line


def test_mixed_formats_are_all_trained_on(tmp_path):
    """Nobody waits for another: the same batches in several threads."""
    write(tmp_path)
    for n in range(5):
        for kind in ("webp", "tiff", "JPG", "gif", "bmp"):
            name = tmp_path / "b" / f"{kind}{n}.{kind}"
            Image.fromarray(gradient() + n).convert("RGB").save(name)
    parts = load_data(recipe(tmp_path, "flip=true"), pytest.fail)
    assert sum(map(len, parts.values())) == 40
    train, chosen = parts["train"], recipe(tmp_path, "flip=true")
    found = [[], []]

    def read(place):
        found[place] = [batch[0].numpy().tobytes() for batch in training_batches(train, chosen, 0)]

    threads = [threading.Thread(target=read, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found[0]) == 8
    assert found[0] == found[1]
