"""Images with which the command line calibrates 8-bit files."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from keras_se.data.datasets import DATASETS, load_pictures

# Number of calibration images from a data set.
PICTURES = 300


def pictures(data: str) -> str | Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first training images of a data set and their labels, or `data` itself if a folder."""
    if data not in DATASETS:
        return data
    train = load_pictures(data)["train"][:PICTURES]
    (images,) = keras.tree.flatten(next(iter(train.evaluation(len(train)))))
    return iter([(np.asarray(images), train.labels)])
