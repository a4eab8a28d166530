"""`keras-se evaluate` for networks that answer for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_se.data.masked import MaskedPictures
from keras_se.resolve import get_model
from keras_se.training.mask_figures import mask_figures
from keras_se.training.recipe import Recipe


@dataclass(frozen=True)
class MaskEvaluation:
    """The accuracy of a network over all pixels of some pictures, in the network's size.

    Attributes:
        what: The run folder.
        pictures: Number of pictures.
        cross_entropy: Mean over all pixels that count, in nats.
        mean_iou: Mean intersection over union of the classes that are in a mask or an answer.
        pixel_accuracy: Share of right pixels.
        iou: Intersection over union of each class by name; `None` if it is in neither.
    """

    what: str
    pictures: int
    cross_entropy: float
    mean_iou: float
    pixel_accuracy: float
    iou: dict[str, float | None]


def evaluate_masks(folder: Path, recipe: Recipe, test: MaskedPictures) -> MaskEvaluation:
    """Evaluate a run's last network on its test pictures."""
    figures = mask_figures(get_model(folder), test, recipe.batch)
    return MaskEvaluation(str(folder), len(test), **figures)
