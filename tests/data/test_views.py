"""Views of pictures for test-time augmentation: where they lie, and their average."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_se.data.encoded import central_crop
from keras_se.data.labelled import Pictures
from keras_se.pictures import read_picture
from keras_se.training.figures import averaged
from keras_se.views import (
    CENTRE,
    CENTRE_AND_CORNERS,
    TEST_TIME_AUGMENTATIONS,
    View,
    check_margin,
    views_of,
)
from keras_se.weights.entries import Preprocessing

SIZE, CROP = 24, 0.75
HEIGHT, WIDTH = 40, 61
# After the resize: 32 by 48, so margins of 8 and 24.
PLACES = [(4, 12), (0, 0), (0, 24), (8, 0), (8, 24)]


@pytest.fixture(scope="module")
def data() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_places_in_a_file(data: bytes) -> None:
    transform = Preprocessing(SIZE, CROP, "bicubic", (), ())
    views = TEST_TIME_AUGMENTATIONS["ten"]
    found = read_picture(data, transform, "RGB", views=views)
    with Image.open(io.BytesIO(data)) as image:
        whole = np.asarray(image.resize((48, 32), Image.Resampling.BICUBIC), "float32")
    expected = [whole[top : top + SIZE, left : left + SIZE] for top, left in PLACES]
    np.testing.assert_array_equal(found, [*expected, *(part[:, ::-1] for part in expected)])
    np.testing.assert_array_equal(found[:1], read_picture(data, transform, "RGB"))


def test_places_in_a_graph(data: bytes) -> None:
    def view(view: View) -> np.ndarray:
        return central_crop(tf.constant(data), (SIZE, SIZE, 3), CROP, view).numpy()

    whole = tf.image.resize(tf.io.decode_png(data), (32, 48), antialias=True).numpy().clip(0, 255)
    for place, (top, left) in zip(CENTRE_AND_CORNERS, PLACES, strict=True):
        np.testing.assert_allclose(view(place), whole[top : top + SIZE, left : left + SIZE])
    mirrored = view(View(0.0, 1.0, mirrored=True))
    np.testing.assert_array_equal(mirrored, view(View(0.0, 1.0))[:, ::-1])


def test_pictures_in_memory() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    pictures = Pictures(pixels, np.zeros(5, int), ["a"])
    (found,) = pictures.evaluation(5, View(mirrored=True))[0]
    np.testing.assert_array_equal(found, pixels[:, :, ::-1])
    check_margin("flip", "pictures")
    with pytest.raises(ValueError, match=r"`tta` must be None or 'flip' for pictures.*tta='ten'"):
        check_margin("ten", "pictures")


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_mean_of_probabilities(scores: str) -> None:
    def probabilities(z: np.ndarray) -> np.ndarray:
        powers = np.exp(z)
        return (
            powers / powers.sum(-1, keepdims=True) if scores == "softmax" else powers / (1 + powers)
        )

    logits = np.random.default_rng(0).normal(0, 3, (4, 6, 5))
    mean = probabilities(logits).mean(0)
    # Float64 logarithms and back.
    np.testing.assert_allclose(probabilities(averaged(logits, scores)), mean, rtol=1e-9)
    np.testing.assert_array_equal(averaged(logits[:1], scores), logits[0])
    # A view that is certain leaves finite logits.
    assert np.isfinite(averaged(np.array([[[9e2, -9e2]], [[9e2, -9e2]]]), scores)).all()


def test_names() -> None:
    assert views_of(None) == (CENTRE,)
    assert {name: len(views_of(name)) for name in ("flip", "five", "ten")} == {
        "flip": 2, "five": 5, "ten": 10,
    }  # fmt: skip
    with pytest.raises(ValueError, match="`tta` must be one of: None, 'flip', 'five', 'ten'"):
        views_of("twelve")
    with pytest.raises(ValueError, match="`tta` must be one of"):
        views_of(["flip"])
