"""Every network in every format: at three sizes, one picture and several."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
from every_network import NAMES, VARIANTS, smallest
from exported import noise, trained_like

import keras_se
from keras_se.serving.formats import FORMATS

pytestmark = pytest.mark.export

# Relative to the largest output.
TOLERANCE = 1e-4
# Added to the smallest size.
SIZES = ((0, 0), (9, 20), (31, 2))
BATCHES = (1, 3, 8)


@pytest.fixture(autouse=True)
def free_memory():
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize("name", NAMES)
def test_same_answers(tmp_path, name):
    least = max(32, smallest(name))
    model = trained_like(
        getattr(keras_se, name)(
            weights=None, classes=10, input_shape=(None, None, 3), variant=VARIANTS.get(name),
            classifier_activation=None,
        )
    )  # fmt: skip
    pictures = [noise(max(BATCHES), least + high, least + wide, 3) for high, wide in SIZES]
    expected = [np.asarray(model(images, training=False)) for images in pictures]
    for turn, (format, chosen) in enumerate(FORMATS.items()):
        options = {"image_bytes": False} if format == "tf_saved_model" else {}
        path = keras_se.export(model, tmp_path / f"network{chosen.suffix}", format, **options).path
        # Each size with one of the batches, in each format with another.
        for number, batch in enumerate(BATCHES):
            place = (number + turn) % len(SIZES)
            images, right = pictures[place][:batch], expected[place][:batch]
            received = chosen.run(path, images)
            received = received["outputs"] if isinstance(received, dict) else received[0]
            apart = np.abs(received - right).max() / np.abs(right).max()
            assert apart <= TOLERANCE, (format, images.shape)
