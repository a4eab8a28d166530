"""Optimizers and learning rate schedules of the recipes.

They differ from Keras in three ways. SGD adds the decay to the gradient, as Caffe and Torch do and
as the paper's values assume: with momentum 0.9 this is ten times the same decoupled decay. LAMB's
trust ratio includes the decay, as in its paper. The moving average of the weights stays separate
when `fit` ends, since a run calls `fit` once per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_se.training.recipe import Recipe

EPSILON = 1e-6


def decays(variable: Any) -> bool:
    """Whether weight decay applies to a variable: to kernels, not to biases and BatchNorm."""
    return len(variable.shape) > 1


class _ApartMixin:
    """Keep the moving average separate from the weights when `fit` ends."""

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        pass

    def assign_average(self, variables: Sequence[Any]) -> None:
        """Set a model's trainable variables to their moving average."""
        super().finalize_variable_values(variables)  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="keras_se")
class SGD(_ApartMixin, keras.optimizers.SGD):
    """SGD with weight decay added to the gradient.

    Args:
        *args: As for `keras.optimizers.SGD`.
        l2: The decay: `l2 * variable` is added to a kernel's gradient. Defaults to 0.
        **kwargs: As for `keras.optimizers.SGD`.
    """

    def __init__(self, *args: Any, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.l2 and decays(variable):
            gradient = ops.cast(gradient, variable.dtype) + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable(package="keras_se")
class LAMB(_ApartMixin, keras.optimizers.Optimizer):
    """LAMB: Adam with each kernel's step scaled to the kernel's norm.

    Args:
        learning_rate: As for `keras.optimizers.Adam`.
        decay: Decoupled weight decay of kernels, included in the scaled step. Defaults to 0.
        beta_1: Decay of the average gradient. Defaults to 0.9.
        beta_2: Decay of the average squared gradient. Defaults to 0.999.
        **kwargs: As for `keras.optimizers.Optimizer`.

    Reference:
        You et al. (arXiv:1904.00962), Algorithm 2.
    """

    def __init__(
        self, learning_rate: Any = 1e-3, decay: float = 0.0, beta_1: float = 0.9,
        beta_2: float = 0.999, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.decay, self.beta_1, self.beta_2 = decay, beta_1, beta_2

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.averages, self.squares = self.add_optimizer_variables(variables, ["m", "v"])

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # On TensorFlow `variable` is not a Keras variable, so look it up as Keras does.
        place = self._get_variable_index(variable)
        average, square = self.averages[place], self.squares[place]
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        self.assign(average, self.beta_1 * average + (1 - self.beta_1) * gradient)
        self.assign(square, self.beta_2 * square + (1 - self.beta_2) * ops.square(gradient))
        update = (average / (1 - self.beta_1**step)) / (
            ops.sqrt(square / (1 - self.beta_2**step)) + EPSILON
        )
        if decays(variable):
            update += self.decay * variable
            # Without an axis, `ops.norm` supports only vectors and matrices.
            lengths = [ops.norm(ops.reshape(x, (-1,))) for x in (variable, update)]
            both = ops.logical_and(lengths[0] > 0, lengths[1] > 0)
            safe = ops.where(lengths[1] > 0, lengths[1], 1.0)
            update *= ops.where(both, lengths[0] / safe, 1.0)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * update)

    def get_config(self) -> dict[str, Any]:
        own = {"decay": self.decay, "beta_1": self.beta_1, "beta_2": self.beta_2}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="keras_se")
class AdamW(_ApartMixin, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with a separate moving average."""


@keras.saving.register_keras_serializable(package="keras_se")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from zero to `rate`, then half a cosine to zero, or steps down by `factor`.

    The others are numbers of steps: in all, of the warm-up, at each drop (`None` for the cosine).
    """

    def __init__(
        self, rate: float, steps: int, warmup: int, drops: Sequence[int] | None, factor: float
    ) -> None:
        self.rate, self.steps, self.warmup = rate, steps, warmup
        self.drops, self.factor = drops, factor

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        if self.drops is None:
            progress = (step - self.warmup) / max(1, self.steps - self.warmup)
            rate = self.rate * 0.5 * (1 + ops.cos(math.pi * ops.clip(progress, 0.0, 1.0)))
        else:
            rate = ops.full_like(step, self.rate)
            for drop in self.drops:
                rate = ops.where(step >= drop, rate * self.factor, rate)
        if self.warmup:
            rate = ops.where(step < self.warmup, self.rate * (step + 1) / self.warmup, rate)
        return rate

    def get_config(self) -> dict[str, Any]:
        return {
            "rate": self.rate, "steps": self.steps, "warmup": self.warmup,
            "drops": self.drops, "factor": self.factor,
        }  # fmt: skip


def schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """The learning rate of a recipe, by step."""
    drops = None
    if recipe.schedule == "step":
        drops = [round(epoch * steps_per_epoch) for epoch in recipe.drops]
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    steps = recipe.epochs * steps_per_epoch
    return Schedule(recipe.highest_rate(), steps, warmup, drops, recipe.drop_factor)


def optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe."""
    options: dict[str, Any] = {
        "learning_rate": schedule(recipe, steps_per_epoch),
        "global_clipnorm": recipe.clip_norm,
        "use_ema": recipe.ema is not None,
        "ema_momentum": 0.99 if recipe.ema is None else recipe.ema,
    }
    if recipe.optimizer == "sgd":
        return SGD(
            momentum=float(recipe.momentum), nesterov=recipe.nesterov, l2=recipe.weight_decay,
            **options,
        )  # fmt: skip
    if recipe.optimizer == "lamb":
        return LAMB(decay=recipe.weight_decay, **options)
    adamw = AdamW(weight_decay=recipe.weight_decay, **options)
    adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adamw
