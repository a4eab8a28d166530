"""Figures of a network: accuracy and cross-entropy, or those of several labels."""

from __future__ import annotations

import keras
import numpy as np

from keras_se.data.labelled import Data, streamed
from keras_se.labels import probabilities
from keras_se.training.label_figures import label_figures
from keras_se.views import CENTRE, View

# Stands for a probability of zero.
TINY = np.finfo("float32").tiny


def logits(model: keras.Model, data: Data, batch: int, view: View = CENTRE) -> np.ndarray:
    """The network's output for each picture: `(count, classes)`, float64."""
    outputs = model.predict(streamed(data.evaluation(batch, view)), verbose=0)
    return np.asarray(outputs[: len(data)], "float64")


def averaged(logits: np.ndarray, scores: str) -> np.ndarray:
    """Logits `(count, classes)` of the mean probabilities of views, `(views, count, classes)`.

    `scores`, `"softmax"` or `"sigmoid"`, gives the probabilities. One view's logits are unchanged.
    """
    if len(logits) == 1:
        return logits[0]
    mean = probabilities(logits, scores).mean(axis=0)
    return np.log(np.maximum(mean, TINY)) - (
        np.log(np.maximum(1 - mean, TINY)) if scores == "sigmoid" else 0
    )


def figures(logits: np.ndarray, labels: np.ndarray, scores: str) -> dict[str, float]:
    """Cross-entropy, top-1 and top-5 of logits `(count, classes)`; see also `label_figures`.

    Args:
        logits: `(count, classes)`.
        labels: The class of each picture, `(count,)`, or multi-hot, `(count, classes)`.
        scores: The probabilities of which it is the cross-entropy: `"softmax"`, or `"sigmoid"` for
            the sum of the classes' binary cross-entropies.
    """
    if labels.ndim == 2:
        return label_figures(logits, labels)
    rows = np.arange(len(labels))
    if scores == "sigmoid":
        losses = np.logaddexp(0, logits).sum(axis=1) - logits[rows, labels]
    else:
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
