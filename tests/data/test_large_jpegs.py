"""JPEGs much larger than the network's pictures are decoded at a fraction of their size."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from keras_se.data.decoding import RATIOS, jpeg_ratio
from keras_se.data.encoded import central_crop
from keras_se.pictures import read_picture
from keras_se.training.encoded_batches import ATTEMPTS, random_crop
from keras_se.weights.entries import Preprocessing

# No multiples of 8, so that the last pixels of a scaled picture lie partly outside.
WIDTH, HEIGHT, SIZE = 1203, 907, 96
TRANSFORM = Preprocessing(SIZE, 0.875, "bilinear", (), ())
# Mean difference in grey levels of 255 to a picture that is decoded whole; a picture that is
# shifted by one pixel of the result differs by more than two.
HALF_A_LEVEL = 0.5


def jpeg(orientation: int = 1) -> bytes:
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    large = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype("float32")
    large += random.normal(0, 3, (HEIGHT, WIDTH, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(large.clip(0, 255).astype("uint8")).save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


def whole(data: bytes) -> np.ndarray:
    """The evaluation transform of the whole picture, by Pillow."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
    shorter = int(SIZE / TRANSFORM.crop)
    size = [side * shorter // min(image.size) for side in image.size]
    left, top = (round((side - SIZE) / 2) for side in size)
    image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), "float32")


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_picture(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(orientation)
    loaded: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def noted(image: JpegImageFile) -> object:
        loaded.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", noted)
    (found,) = read_picture(data, TRANSFORM, "RGB")
    assert max(loaded[0]) <= -(-WIDTH // 4)
    assert difference(found, whole(data)) < HALF_A_LEVEL
    assert difference(np.roll(found, 1, axis=0), whole(data)) > 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_central_crop(orientation: int) -> None:
    data = jpeg(orientation)
    found = central_crop(tf.constant(data), (SIZE, SIZE, 3), TRANSFORM.crop).numpy()
    # TensorFlow decodes a picture that is not scaled with a faster, less accurate transform.
    assert difference(found, whole(data)) < 2 * HALF_A_LEVEL
    assert difference(np.roll(found, 1, axis=0), whole(data)) > 2


def test_random_crop() -> None:
    """A crop of known place: its numbers choose the whole height and the middle."""
    data, numbers = jpeg(), np.full(2 * ATTEMPTS + 2, 0.5, "float32")
    numbers[: 2 * ATTEMPTS] = [0.5, 0.5] * ATTEMPTS
    found = random_crop(tf.constant(data), numbers, (SIZE, SIZE, 3), (0.5, 0.5)).numpy()
    side = round((WIDTH * HEIGHT * 0.5) ** 0.5)
    left, top = (WIDTH - side) / 2, (HEIGHT - side) / 2
    with Image.open(io.BytesIO(data)) as image:
        box = (left, top, left + side, top + side)
        expected = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box)
    # Without antialiasing, the noise stays, and the place is a pixel of the file in doubt.
    assert difference(found, np.asarray(expected, "float32")) < 6
    assert difference(found, np.roll(np.asarray(expected, "float32"), 2, axis=1)) > 6


@pytest.mark.parametrize(
    ("wanted", "ratio"),
    [(454, 1), (453, 1), (227, 1), (226, 2), (114, 2), (113, 4), (56, 8), (3, 8)],
)
def test_ratio(wanted: int, ratio: int) -> None:
    assert RATIOS[int(jpeg_ratio(tf.constant([HEIGHT, WIDTH]), wanted))] == ratio
