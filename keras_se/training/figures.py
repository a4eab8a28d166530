"""Figures of a network: accuracy and cross-entropy, or those of several labels."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from keras_se.data.labelled import Data, streamed
from keras_se.labels import probabilities
from keras_se.training.label_figures import label_figures
from keras_se.views import CENTRE, View

# Stands for a probability of zero.
TINY = np.finfo("float32").tiny
# Each figure's name in a sentence, and its form.
IN_WORDS = {
    "top1": ("top-1", "{:.2%}"),
    "top5": ("top-5", "{:.2%}"),
    "mean_average_precision": ("mean average precision", "{:.2%}"),
    "classes_left_out": ("classes without pictures, which are left out", "{:.0f}"),
    "cross_entropy": ("cross-entropy", "{:.4f}"),
}
# The figure that chooses the best epoch, by which there is.
CHOOSING = ("top1", "mean_average_precision")


def logits(model: keras.Model, data: Data, batch: int, view: View = CENTRE) -> np.ndarray:
    """The network's output for each picture: `(count, classes)`, float64."""
    outputs = model.predict(streamed(data.evaluation(batch, view)), verbose=0)
    return np.asarray(outputs[: len(data)], "float64")


def averaged(logits: np.ndarray, scores: str) -> np.ndarray:
    """Logits of the mean probabilities over several views of each picture.

    Args:
        logits: `(views, count, classes)`.
        scores: `"softmax"` or `"sigmoid"`, the function from logits to probabilities.

    Returns:
        `(count, classes)`; one view's logits are unchanged.
    """
    if len(logits) == 1:
        return logits[0]
    mean = probabilities(logits, scores).mean(axis=0)
    return np.log(np.maximum(mean, TINY)) - (
        np.log(np.maximum(1 - mean, TINY)) if scores == "sigmoid" else 0
    )


def figures(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Cross-entropy, top-1 and top-5 of logits `(count, classes)`; see also `label_figures`.

    Args:
        logits: `(count, classes)`.
        labels: The class of each picture, `(count,)`, or multi-hot, `(count, classes)`.
    """
    if labels.ndim == 2:
        return label_figures(logits, labels)
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, labels]
    # Ties rank the first class first.
    ranks = np.argsort(np.argsort(-logits, axis=1, kind="stable"), axis=1, kind="stable")
    rank = ranks[rows, labels]
    return {
        "cross_entropy": float(losses.mean()),
        "top1": float((rank == 0).mean()),
        "top5": float((rank < 5).mean()),
    }


def choosing(found: Mapping[str, float], prefix: str = "") -> str:
    """Name of the figure that chooses the best epoch, among those with a prefix."""
    return next(name for name in CHOOSING if prefix + name in found)


def in_words(found: Mapping[str, float]) -> str:
    """Figures as part of a sentence."""
    known = {name: IN_WORDS[name] for name in IN_WORDS if name in found}
    return ", ".join(f"{word} {form.format(found[n])}" for n, (word, form) in known.items())
