"""The parts of a data set: their names, and a test split if it has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from keras_se.data.label_format import classes_of
from keras_se.data.labelled import Data
from keras_se.data.randomness import PARTS, permutation

# Folder names of each part; upper or lower case.
SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
PART_OF = {word: part for part, words in SPELLINGS.items() for word in words}
WORDS = "train, val, test (or training, valid, validation, dev, testing)"
# One picture in this many is held out for the test if the data set has no test split.
TEST = 5

AnyData = TypeVar("AnyData", bound=Data)


def with_test(where: str, parts: Mapping[str, AnyData]) -> dict[str, AnyData]:
    """The parts of a data set, each in a fixed random order, with a test part added if missing.

    Without `"test"`, a fifth of `"train"` is held out for it. If too little is left to train on, a
    `ValueError` names the data set, `where`.
    """
    parts = shuffled(parts)
    every = parts["train"]
    present = classes_of(every.labels)
    if len(present) < 2:
        raise ValueError(
            f"{where}: expected training pictures of at least two classes. "
            f"Received: {len(every)} picture(s) of {len(present)}"
        )
    return with_held_out_test(where, parts)


def shuffled(parts: Mapping[str, AnyData]) -> dict[str, AnyData]:
    """The parts, each in a fixed random order: held-out and test pictures cover all classes."""
    return {name: data[permutation(len(data), PARTS)] for name, data in parts.items()}


def with_held_out_test(where: str, parts: Mapping[str, AnyData]) -> dict[str, AnyData]:
    """`with_test` for shuffled parts of any classes."""
    if "test" in parts:
        return dict(parts)
    every = parts["train"]
    count = len(every) // TEST
    if not count:
        raise ValueError(f"{where}: expected at least {TEST} pictures. Received: {len(every)}")
    return {
        **parts,
        "train": every[:-count].called(f"four fifths of {every.origin}"),
        "test": every[-count:].called(f"a fifth of {every.origin}"),
    }
