"""Images with which the command line calibrates 8-bit files."""

from __future__ import annotations

import keras
import numpy as np

from keras_se.data.datasets import DATASETS, load_pictures

# Number of calibration images from a data set.
PICTURES = 300


def pictures(data: str) -> str | np.ndarray:
    """The first training images of a data set, or `data` itself if it names a folder."""
    if data not in DATASETS:
        return data
    train = load_pictures(data)["train"][:PICTURES]
    return np.asarray(keras.tree.flatten(next(iter(train.evaluation(PICTURES))))[0])
