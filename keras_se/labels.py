"""Class names."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import numpy as np

from keras_se.checks import positive_integer, unknown_choice


@functools.cache
def class_names(dataset: str) -> tuple[tuple[str, str], ...]:
    """(identifier, name) of each class of a data set, in the order of the outputs."""
    folder = resources.files("keras_se") / "class_names"
    dataset = dataset.removesuffix("_backbone")
    known = sorted(file.name.removesuffix(".txt") for file in folder.iterdir())
    if dataset not in known:
        raise ValueError(unknown_choice("dataset", dataset, known))
    lines = (folder / f"{dataset}.txt").read_text("utf-8").splitlines()
    return tuple((identifier, name) for identifier, name in (line.split(" ", 1) for line in lines))


def has_names(dataset: str) -> bool:
    """Whether the classes of a data set have names here."""
    return resources.files("keras_se").joinpath("class_names", f"{dataset}.txt").is_file()


def decode_predictions(
    preds: Any, top: int = 5, *, dataset: str = "imagenet"
) -> list[list[tuple[str, str, float]]]:
    """The best classes of each prediction, by name; opens no connection.

    Args:
        preds: Predictions of a network with its head, `(batch, classes)`.
        top: How many classes to give, at least 1. Defaults to 5.
        dataset: Whose classes they are. Defaults to `"imagenet"` (1000 classes).

    Returns:
        For each prediction a list of `(class identifier, class name, score)`, best first. The
        identifiers of ImageNet's classes are WordNet's.

    Raises:
        ValueError: If the shape is not `(batch, classes)` of that data set.

    Example:

    >>> keras_se.decode_predictions(np.eye(1000)[[254]], top=1)
    [[('n02110958', 'pug', 1.0)]]
    """
    names = class_names(dataset)
    top = positive_integer("top", top)
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != len(names):
        raise ValueError(
            f"`preds` must have the shape (batch, {len(names)}) for {dataset!r}. "
            f"Received: {preds.shape}"
        )
    best = np.argsort(-preds.astype("float64"), axis=1, kind="stable")[:, :top]
    return [
        [(*names[i], float(row[i])) for i in order] for row, order in zip(preds, best, strict=True)
    ]
