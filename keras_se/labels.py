"""Class names."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from keras_se.checks import unknown_choice

# Class names shown in a line.
SHOWN = 20


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
    """Whether the class names of a data set are known."""
    return resources.files("keras_se").joinpath("class_names", f"{dataset}.txt").is_file()


def class_places(classes: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Index of each class by identifier, and by name where it is unique."""
    shared = {name for name, count in Counter(name for _, name in classes).items() if count > 1}
    return {name: n for n, both in enumerate(classes) for name in both if name not in shared}


def first_names(names: Sequence[str]) -> str:
    """The first class names, for one line."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def probabilities(outputs: Any, scores: str | None) -> np.ndarray:
    """Outputs of a network in float64, after `"softmax"` or `"sigmoid"` if they are logits."""
    values = np.asarray(outputs, "float64")
    if scores == "softmax":
        powers = np.exp(values - values.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    return np.exp(-np.logaddexp(0, -values)) if scores == "sigmoid" else values
