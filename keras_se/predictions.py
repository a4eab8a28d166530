"""`decode_predictions`: scores as class names."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_se.checks import positive_integer
from keras_se.labels import class_names, has_names


def decode_predictions(
    preds: Any, top: int = 5, weights_or_model: Any = None
) -> list[list[tuple[str, str, float]]]:
    """The top classes of each prediction, by name; needs no connection.

    Args:
        preds: Predictions of a network with its head, `(batch, classes)`.
        top: Number of classes to return, at least 1. Defaults to 5.
        weights_or_model: Source of the class names: a model, a set of weights or its name, a run
            folder, a `.keras` file, or a data set such as `"fashion_mnist"`. Defaults to
            `None`, for ImageNet's 1000 classes.

    Returns:
        For each prediction a list of `(class identifier, class name, score)`, best first.
        Identifiers of ImageNet classes are WordNet's.

    Raises:
        ValueError: If the shape is not `(batch, classes)`, or the names are not known.

    Example:

    >>> keras_se.decode_predictions(np.eye(1000)[[254]], top=1)
    [[('n02110958', 'pug', 1.0)]]
    """
    names = _classes(weights_or_model)
    top = positive_integer("top", top)
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != len(names):
        raise ValueError(
            f"`preds` must have the shape (batch, {len(names)}), one value per class. "
            f"Received: {preds.shape}"
        )
    best = np.argsort(-preds.astype("float64"), axis=1, kind="stable")[:, :top]
    return [
        [(*names[i], float(row[i])) for i in order] for row, order in zip(preds, best, strict=True)
    ]


def _classes(weights_or_model: Any) -> tuple[tuple[str, str], ...]:
    """Identifier and name of each class of a data set, a set of weights or a model."""
    if weights_or_model is None:
        return class_names("imagenet")
    if isinstance(weights_or_model, str) and has_names(weights_or_model.removesuffix("_backbone")):
        return class_names(weights_or_model)
    # Only models import Keras.
    from keras_se.resolve import describe_named

    found = describe_named(weights_or_model).classes
    if found is None:
        raise ValueError(
            "`weights_or_model` must have class names. "
            f"Received: weights_or_model={weights_or_model!r}"
        )
    return found
