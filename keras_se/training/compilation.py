"""The loss, the optimizer and the metrics of a recipe."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

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
    outputs = targets = keras.ops.zeros(size)
    if recipe.head is not None:
        loss, metric, targets = PixelCrossentropy(), pixel_accuracy(), outputs[..., 0]
    if recipe.loss == "sigmoid":
        loss = SummedSigmoid(recipe.target_threshold)
    if recipe.class_weights == "balanced":
        weights = balanced_weights(labels, model.output_shape[-1])
        loss = ClassWeighted(loss, weights, recipe.label_smoothing)
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
    """A loss whose pictures count by the weights of their classes; a mixed picture by its shares.

    Args:
        loss: A loss of `(batch, classes)` targets.
        weights: The weight of each class.
        label_smoothing: Share of the targets that is spread over all classes, which does not count
            for the weights. Defaults to 0.
        **loss_kwargs: As for `keras.losses.Loss`.
    """

    def __init__(
        self, loss: keras.losses.Loss, weights: list[float], label_smoothing: float = 0.0,
        **loss_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**loss_kwargs)
        self.loss, self.weights, self.label_smoothing = loss, weights, label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss, `(batch,)`, of two arrays `(batch, classes)`."""
        weights = keras.ops.cast(self.weights, y_true.dtype)
        smoothing = self.label_smoothing
        shares = (y_true - smoothing / len(self.weights)) / (1 - smoothing)
        return self.loss.call(y_true, y_pred) * keras.ops.sum(shares * weights, axis=-1)

    def get_config(self) -> dict[str, Any]:
        loss = keras.saving.serialize_keras_object(self.loss)
        return {
            **super().get_config(),
            "loss": loss,
            "weights": self.weights,
            "label_smoothing": self.label_smoothing,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ClassWeighted:
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


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
            y_true = keras.ops.cast(y_true > self.threshold, y_pred.dtype)
        losses = keras.ops.binary_crossentropy(y_true, y_pred, from_logits=True)
        return keras.ops.sum(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}
