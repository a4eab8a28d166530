"""Training, validation and test splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_se.data.labelled import Data
from keras_se.training.recipe import Recipe

# Class names shown in a line.
SHOWN = 20


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
