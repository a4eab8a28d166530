"""The tasks of recipes: one class or several labels for a picture, or a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from keras_se.data.labelled import Data
from keras_se.training.figures import figures, logits
from keras_se.training.mask_figures import mask_figures
from keras_se.training.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """How a run measures its network.

    Attributes:
        score: The figure that chooses the best network.
        title: Its name in words.
        training: The metric of the training batches, or `None` if only the loss is measured.
        training_title: Its name in words, or that of the score.
        measure: Figures of a network on some pictures, with so many per step; those that are not
            numbers are only in the results.
    """

    score: str
    title: str
    training: str | None
    training_title: str
    measure: Callable[[keras.Model, Any, int], dict[str, Any]]


def class_figures(scores: str, model: keras.Model, data: Data, batch: int) -> dict[str, Any]:
    """Figures of a network on some pictures; see `figures`."""
    return figures(logits(model, data, batch), data.labels, scores)


PRECISION = "mean average precision"


def task_of(recipe: Recipe) -> Task:
    """The task of a recipe."""
    if recipe.head is not None:
        return Task("mean_iou", "mean IoU", "pixel_accuracy", "pixel accuracy", mask_figures)
    measure = partial(class_figures, recipe.loss)
    if recipe.labels == "one":
        return Task("top1", "top-1", "top1", "top-1", measure)
    return Task("mean_average_precision", PRECISION, None, PRECISION, measure)
