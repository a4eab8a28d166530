"""Loss and figures of networks that answer for every pixel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.data.mask_files import IGNORED
from keras_se.data.masked import MaskedPictures


def _counted(y_true: Any) -> tuple[Any, Any]:
    """Class numbers as integers, 0 for ignored pixels, and whether each pixel counts."""
    labels = ops.cast(y_true, "int32")
    counts = labels != IGNORED
    return ops.where(counts, labels, 0), counts


def _mean(values: Any, counts: Any) -> Any:
    """The mean over the pixels of each picture that count; zero if there are none."""
    weights = ops.cast(counts, values.dtype)
    total = ops.sum(values * weights, axis=(1, 2))
    return total / ops.maximum(ops.sum(weights, axis=(1, 2)), 1)


@keras.saving.register_keras_serializable(package="keras_se")
class PixelCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits, the mean over the pixels of a picture; those of 255 do not count."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss, `(batch,)`, of `(batch, H, W)` and `(batch, H, W, classes)`."""
        labels, counts = _counted(y_true)
        losses = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        return _mean(losses, counts)


def _right(y_true: Any, y_pred: Any) -> Any:
    labels, counts = _counted(y_true)
    right = ops.cast(ops.argmax(y_pred, axis=-1), "int32") == labels
    return _mean(ops.cast(right, "float32"), counts)


def pixel_accuracy() -> keras.metrics.Metric:
    """The share of right pixels, averaged over pictures; those of 255 do not count."""
    return keras.metrics.MeanMetricWrapper(_right, name="pixel_accuracy")


def mask_figures(model: keras.Model, data: MaskedPictures, batch: int) -> dict[str, Any]:
    """Figures of a network over all pixels of some pictures, in the network's size.

    Args:
        model: A network with logits `(batch, H, W, classes)`.
        data: The pictures.
        batch: Pictures per step.

    Returns:
        `cross_entropy` in nats; `mean_iou`, over the classes that are in a mask or an answer;
        `pixel_accuracy`; and `iou`, of each class by name, `None` if it is in neither.
    """
    confusion, loss = np.zeros((data.classes,) * 2, np.int64), 0.0
    batches = data.evaluation(batch)
    for n in range(len(batches)):
        (pictures,) = batches[n]
        logits = np.asarray(ops.convert_to_numpy(model.predict_on_batch(pictures)), "float64")
        truth = data.masks(n * batch, batch)
        logits = logits[: len(truth)]
        counts = truth != IGNORED
        labels, logits = truth[counts].astype(np.int64), logits[counts]
        shifted = logits - logits.max(axis=-1, keepdims=True)
        rows = np.arange(len(labels))
        loss += float((np.log(np.exp(shifted).sum(-1)) - shifted[rows, labels]).sum())
        numbers = data.classes * labels + logits.argmax(-1)
        confusion += np.bincount(numbers, minlength=data.classes**2).reshape(confusion.shape)
    return {"cross_entropy": loss / max(int(confusion.sum()), 1), **overlaps(confusion, data.names)}


def overlaps(confusion: np.ndarray, names: Any) -> dict[str, Any]:
    """Mean IoU, pixel accuracy and the IoU of each class, from counts `[true][predicted]`."""
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    iou = right / np.maximum(union, 1)
    return {
        "mean_iou": float(iou[union > 0].mean()) if union.any() else 0.0,
        "pixel_accuracy": float(right.sum() / max(confusion.sum(), 1)),
        "iou": {
            name: float(value) if pixels else None
            for name, value, pixels in zip(names, iou, union, strict=True)
        },
    }
