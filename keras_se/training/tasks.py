"""What a recipe's network is trained for: the class of a picture, or of every pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
        training: The metric of the training batches.
        training_title: Its name in words.
        measure: Figures of a network on some pictures, with so many per step; those that are not
            numbers are only in the results.
    """

    score: str
    title: str
    training: str
    training_title: str
    measure: Callable[[keras.Model, Any, int], dict[str, Any]]


def class_figures(model: keras.Model, data: Data, batch: int) -> dict[str, Any]:
    """Cross-entropy, top-1 and top-5 of a network on some pictures."""
    return figures(logits(model, data, batch), data.labels)


PICTURES = Task("top1", "top-1", "top1", "top-1", class_figures)
PIXELS = Task("mean_iou", "mean IoU", "pixel_accuracy", "pixel accuracy", mask_figures)


def task_of(recipe: Recipe) -> Task:
    """The task of a recipe."""
    return PICTURES if recipe.head is None else PIXELS
