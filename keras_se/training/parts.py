"""Training, validation and test splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from keras_se.training.batches import PARTS, Data
from keras_se.training.randomness import permutation
from keras_se.training.recipe import Recipe

# One picture in this many is held out for the test if the data set has no test split.
TEST = 5
# Class names shown in a line.
SHOWN = 20

AnyData = TypeVar("AnyData", bound=Data)


def with_test(where: str, parts: Mapping[str, AnyData]) -> dict[str, AnyData]:
    """The parts of a data set, each in a fixed random order, with a test part added if missing.

    Args:
        where: Name of the data set in messages.
        parts: `"train"`, optionally `"validation"` and `"test"`; without the latter a fifth of
            `"train"` is held out for the test.

    Raises:
        ValueError: If there is too little to train on.
    """
    # Shuffled, so that held-out and test pictures cover all classes.
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
    return {
        **parts,
        "train": every[:-count].called(f"four fifths of {every.origin}"),
        "test": every[-count:].called(f"a fifth of {every.origin}"),
    }


def split(parts: Mapping[str, Data], recipe: Recipe) -> tuple[Data, Data, Data]:
    """The training, validation (after each epoch) and test (at the end) data."""
    training, test = parts["train"], parts["test"]
    held_out = recipe.held_out
    if held_out >= len(training):
        raise ValueError(
            f"`held_out` must be less than the {len(training)} training pictures. "
            f"Received: held_out={held_out}"
        )
    count = len(training) - held_out
    if recipe.batch > count:
        raise ValueError(
            f"`batch` must be at most the {count} training pictures. Received: batch={recipe.batch}"
        )
    validation = parts.get("validation", test)
    if held_out:
        validation = training[count:].called(f"held out of {training.origin}")
    return training[:count], validation, test


def described(training: Data, validation: Data, test: Data) -> dict[str, dict[str, Any]]:
    """Number of pictures and origin of each part."""
    origin = validation.origin
    if validation is test:
        origin = f"the test pictures ({origin}): best.keras is chosen on them"
    return {
        "training": {"pictures": len(training), "from": training.origin},
        "validation": {"pictures": len(validation), "from": origin},
        "test": {"pictures": len(test), "from": test.origin},
    }


def first_names(names: Sequence[str]) -> str:
    """The first class names, for one line."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def lines(
    parts: Mapping[str, Data], training: Data, validation: Data, test: Data
) -> Iterator[str]:  # fmt: skip
    """The lines that a run prints about its data before it starts."""
    yield f"{training.classes} classes: {first_names(training.names)}"
    for part, about in described(training, validation, test).items():
        yield f"{part}: {about['pictures']:,} pictures, {about['from']}"
    unused = parts.get("validation", validation)
    if unused.origin != validation.origin:
        yield f"not used, since `held_out` is set: {unused.origin}"
