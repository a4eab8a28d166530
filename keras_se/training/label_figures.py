"""Figures of a network that gives each picture any number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """The average precision of one class: sum over n of (R_n - R_(n-1)) P_n.

    P_n and R_n are precision and recall of the pictures that score at least the n-th highest
    score. There is no interpolation; equal scores count as one threshold.

    Args:
        scores: `(count,)`; only their order matters.
        truth: Whether each picture has the class, `(count,)`.

    Returns:
        A number above 0, at most 1; `None` if no picture has the class.
    """
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits = np.cumsum(truth[order] > 0)[last]
    precision, recall = hits / (last + 1), hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def average_precisions(logits: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """The average precision of each class, `None` for one that no picture has.

    Args:
        logits: `(count, classes)`.
        labels: Multi-hot, `(count, classes)`.
    """
    return [average_precision(*pair) for pair in zip(logits.T, labels.T, strict=True)]


def label_figures(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean average precision, and the mean over the pictures of the summed binary cross-entropy.

    Classes that no picture has are left out of the mean, and counted.
    """
    found = [value for value in average_precisions(logits, labels) if value is not None]
    losses = np.logaddexp(0, logits) - labels * logits
    return {
        "cross_entropy": float(losses.sum(axis=1).mean()),
        "mean_average_precision": float(np.mean(found)) if found else float("nan"),
        "classes_left_out": float(labels.shape[1] - len(found)),
    }


@dataclass(frozen=True)
class LabelEvaluation:
    """The figures of a network that gives each picture any number of labels.

    Attributes:
        what: The run folder.
        pictures: Number of pictures.
        cross_entropy: Binary cross-entropy in nats, summed over the classes; mean over all
            pictures.
        mean_average_precision: Mean of the classes' average precisions.
        classes_left_out: Number of classes that no picture has, which are left out of the mean.
        classes: Names of the classes.
        positives: Number of pictures that have each class.
        average_precisions: The average precision of each class; `None` without pictures.
        skipped: Files that are not pictures.
    """

    what: str
    pictures: int
    cross_entropy: float
    mean_average_precision: float
    classes_left_out: int
    classes: list[str]
    positives: list[int]
    average_precisions: list[float | None]
    skipped: list[str]


def evaluation_of_labels(
    what: str, names: Sequence[str], logits: np.ndarray, labels: np.ndarray, skipped: list[str]
) -> LabelEvaluation:
    """The figures of logits for multi-hot labels, both `(count, classes)`."""
    found = label_figures(logits, labels)
    return LabelEvaluation(
        what=what,
        pictures=len(labels),
        cross_entropy=found["cross_entropy"],
        mean_average_precision=found["mean_average_precision"],
        classes_left_out=int(found["classes_left_out"]),
        classes=list(names),
        positives=labels.sum(axis=0).tolist(),
        average_precisions=average_precisions(logits, labels),
        skipped=skipped,
    )
