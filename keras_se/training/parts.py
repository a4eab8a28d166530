"""Which pictures are trained on and tested on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from keras_se.training.batches import PARTS, Data
from keras_se.training.randomness import permutation

# One of this many pictures is for the test where the data set does not say which.
TEST = 5

AnyData = TypeVar("AnyData", bound=Data)


def with_test(where: str, parts: Mapping[str, AnyData]) -> dict[str, AnyData]:
    """The parts of a data set, each in a random order, the same each time, and with a test part.

    Args:
        where: What to call the data set in a message.
        parts: `"train"`, and maybe `"validation"` and `"test"`; without the latter a fifth of
            `"train"` is for the test.

    Raises:
        ValueError: If there is too little to train on.
    """
    # What is held out, and tested, is of all classes.
    parts = {name: data[permutation(len(data), PARTS)] for name, data in parts.items()}
    every = parts["train"]
    present = np.unique(every.labels)
    if len(present) < 2:
        raise ValueError(
            f"{where}: expected training pictures of at least two classes. "
            f"Received: {len(every)} picture(s) of {len(present)}"
        )
    if "test" in parts:
        return parts
    count = len(every) // TEST
    if not count:
        raise ValueError(f"{where}: expected at least {TEST} pictures. Received: {len(every)}")
    return {**parts, "train": every[:-count], "test": every[-count:]}
