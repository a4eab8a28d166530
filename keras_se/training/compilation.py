"""The loss, the optimizer and the metrics of a recipe."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.training.mask_figures import PixelCrossentropy, pixel_accuracy
from keras_se.training.optimizers import optimizer
from keras_se.training.recipe import Recipe


def compile_for_training(
    model: keras.Model, recipe: Recipe, steps_per_epoch: int, labels: np.ndarray
) -> None:
    """Compile a network with logits as output.

    Args:
        model: The network.
        recipe: Provides the loss and the optimizer.
        steps_per_epoch: Steps of an epoch.
        labels: Classes of the training pictures, `(count,)` or multi-hot `(count, classes)`.
    """
    loss: keras.losses.Loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    metric: keras.metrics.Metric = keras.metrics.CategoricalAccuracy("top1")
    # Keras creates a metric's variables on first use.
    size = [1 if n is None else n for n in model.output_shape]
    outputs = targets = ops.zeros(size)
    if recipe.head is not None:
        loss, metric, targets = PixelCrossentropy(), pixel_accuracy(), outputs[..., 0]
    if recipe.loss == "sigmoid":
        loss = SummedSigmoid(recipe.target_threshold)
    if recipe.class_weights == "balanced":
        weights = balanced_weights(labels, model.output_shape[-1])
        loss = ClassWeighted(recipe.loss, weights, recipe.label_smoothing, recipe.target_threshold)
    model.compile(
        optimizer(recipe, steps_per_epoch),
        loss,
        # A picture with several labels has no top-1.
        metrics=[metric] if labels.ndim == 1 else [],
        weighted_metrics=[],
    )
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(None, targets, outputs)
    model.reset_metrics()


def balanced_weights(labels: np.ndarray, classes: int) -> list[float]:
    """Weights in inverse proportion to the pictures of each class; 1 on average over all pictures.

    A class without pictures has the weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 0)
    return [float(weight) for weight in weights]


@keras.saving.register_keras_serializable(package="keras_se")
class ClassWeighted(keras.losses.Loss):
    """Cross-entropy of logits whose terms count by the weights of their classes.

    A mixed picture counts as its parts: with targets y and weights w, the loss is the sum over the
    classes of w y times the loss of a picture of that class. With the softmax this is the sum of
    -w y log p.

    Args:
        kind: `"softmax"` or `"sigmoid"`.
        weights: The weight of each class.
        label_smoothing: Share of a picture's targets that is spread over all classes; it counts by
            the picture's class, too. Defaults to 0.
        threshold: As for `SummedSigmoid`, with `"sigmoid"`. Defaults to `None`.
        **loss_kwargs: As for `keras.losses.Loss`.
    """

    def __init__(
        self, kind: str, weights: list[float], label_smoothing: float = 0.0,
        threshold: float | None = None, **loss_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**loss_kwargs)
        self.kind, self.weights = kind, weights
        self.label_smoothing, self.threshold = label_smoothing, threshold

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss, `(batch,)`, of two arrays `(batch, classes)`."""
        weights = ops.cast(self.weights, y_true.dtype)
        spread = self.label_smoothing / len(self.weights)
        present = (y_true - spread) * weights
        total = ops.sum(present, axis=-1, keepdims=True) / (1 - self.label_smoothing)
        present = present + spread * total
        if self.kind == "softmax":
            return -ops.sum(present * ops.log_softmax(y_pred, axis=-1), axis=-1)
        absent = total - present
        if self.threshold is not None:
            has = ops.cast(y_true > self.threshold, y_true.dtype)
            present = has * ops.divide_no_nan(present, y_true)
            absent = (1 - has) * ops.divide_no_nan(absent, 1 - y_true)
        return ops.sum(present * ops.softplus(-y_pred) + absent * ops.softplus(y_pred), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "weights": self.weights,
            "label_smoothing": self.label_smoothing,
            "threshold": self.threshold,
        }


@keras.saving.register_keras_serializable(package="keras_se")
class SummedSigmoid(keras.losses.Loss):
    """Binary cross-entropy of logits, summed over the classes.

    Args:
        threshold: Targets above it become one, others zero; `None`: targets are unchanged.
        **loss_kwargs: As for `keras.losses.Loss`.
    """

    def __init__(self, threshold: float | None = None, **loss_kwargs: Any) -> None:
        super().__init__(**loss_kwargs)
        self.threshold = threshold

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss, `(batch,)`, of two arrays `(batch, classes)`."""
        if self.threshold is not None:
            y_true = ops.cast(y_true > self.threshold, y_pred.dtype)
        losses = ops.binary_crossentropy(y_true, y_pred, from_logits=True)
        return ops.sum(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}
