"""Pictures that the command line measures the ranges of 8-bit files by."""

from __future__ import annotations

import keras
import numpy as np

from keras_se.training.datasets import DATASETS, load_pictures

# Of a data set, to measure ranges by.
PICTURES = 300


def pictures(data: str) -> str | np.ndarray:
    """The first training pictures of a data set, or the folder that `data` names instead."""
    if data not in DATASETS:
        return data
    train = load_pictures(data)["train"][:PICTURES]
    return np.asarray(keras.tree.flatten(next(iter(train.evaluation(PICTURES))))[0])
