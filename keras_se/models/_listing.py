"""The lists of all builders and of their sets of weights."""

from __future__ import annotations

import re

from keras_se import models
from keras_se.checks import unknown_choice
from keras_se.weights.entries import Weights, known_weights


def list_models() -> list[str]:
    """List the names of all builders.

    Returns:
        Names such as `"SEResNet50"`, by family and depth; each is a function of `keras_se`.

    Example:

    >>> "SEResNet50" in keras_se.list_models()
    True
    """
    builders = [name for name in dir(models) if name.startswith("SE")]
    return sorted(
        builders, key=lambda name: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", name)]
    )


def list_weights(model: str | None = None) -> list[Weights]:
    """List the known sets of weights, in registry order.

    Args:
        model: Builder name such as `"SEResNet50"`, to list only that network's sets. Defaults to
            `None`: all.

    Returns:
        A list of `Weights`.

    Raises:
        ValueError: If there is no builder of that name.

    Example:

    >>> [entry.name for entry in keras_se.list_weights("SEResNet34") if entry.default]
    ['se_resnet34.qubvel_imagenet']
    """
    if model is not None and model not in list_models():
        raise ValueError(unknown_choice("model", model, list_models()))
    return [entry for entry in known_weights() if model in (None, entry.model)]
