"""The loss, the optimizer and the metrics of a recipe."""

from __future__ import annotations

from typing import Any

import keras

from keras_se.training.optimizers import optimizer
from keras_se.training.recipe import Recipe


def compile_for_training(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Compile a network with logits as output."""
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    if recipe.loss == "sigmoid":
        loss = SummedSigmoid(recipe.target_threshold)
    model.compile(
        optimizer(recipe, steps_per_epoch),
        loss,
        metrics=[keras.metrics.CategoricalAccuracy("top1")],
        weighted_metrics=[],
    )
    model.optimizer.build(model.trainable_variables)
    # Keras creates a metric's variables on first use.
    nothing = keras.ops.zeros((1, model.output_shape[-1]))
    model.compute_metrics(None, nothing, nothing)
    model.reset_metrics()


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
