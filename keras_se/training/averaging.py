"""The averages of the weights that are validated and saved in place of the weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_se.data.labelled import streamed
from keras_se.training.checkpoints import assign, values_of
from keras_se.training.recipe import Recipe
from keras_se.training.strategies import within

# Pictures that BatchNorm's statistics are recomputed on, rounded up to whole batches.
PICTURES = 10_000


class WeightAverage:
    """The moving average of the weights (`ema`), or their mean over the last epochs (`swa`).

    It is on the host after each epoch: one array for each of the network's weights, with
    BatchNorm's moving statistics recomputed, since the mean of several networks' statistics is not
    the statistics of their mean (Izmailov et al., arXiv:1803.05407, section 3.2).

    Args:
        recipe: The recipe.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.epochs = 0
        self.values: list[np.ndarray] = []
        self.training: InTraining | None = None

    def update(self, model: keras.Model, epoch: int, batches: Callable[[], Any]) -> None:
        """Take the average after an epoch, if the recipe says so.

        Args:
            model: The compiled network; it is unchanged.
            epoch: The epoch, from 0.
            batches: Makes the training batches that BatchNorm's statistics are recomputed on.
        """
        first = 0 if self.recipe.ema is not None else first_averaged(self.recipe)
        if first is None or epoch < first:
            return
        self.epochs += 1
        # Once: another model would be compiled again.
        self.training = self.training or InTraining(model)
        with _restored(model):
            self._assign_trainable(model)
            recompute_statistics(self.training, batches(), -(-PICTURES // self.recipe.batch))
            self.values = values_of(model.weights)

    def _assign_trainable(self, model: keras.Model) -> None:
        """Set the network's trainable weights to their average."""
        if self.recipe.ema is not None:
            # With mixed_float16 it is within the one that scales the loss.
            optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            optimizer.assign_average(model.trainable_variables)
            # JAX would share the arrays with the optimizer, whose own a step gives away.
            assign(model.trainable_variables, values_of(model.trainable_variables))
        elif self.values:
            means = {id(v): mean for v, mean in zip(model.weights, self.values, strict=True)}
            trained = model.trainable_variables
            pairs = zip([means[id(v)] for v in trained], values_of(trained), strict=True)
            assign(trained, [_mean(old, new, self.epochs) for old, new in pairs])

    @contextmanager
    def swapped_in(self, model: keras.Model) -> Iterator[None]:
        """Replace the network's weights by their average, if there is one."""
        if not self.values:
            yield
            return
        with _restored(model):
            assign(model.weights, self.values)
            yield

    def state(self) -> dict[str, int]:
        """The state that a checkpoint stores beside `values`."""
        return {"averaged_epochs": self.epochs}

    def restore(
        self, values: Sequence[np.ndarray], state: Mapping[str, Any], count: int
    ) -> list[np.ndarray]:
        """Take the mean, which is last, out of a checkpoint's values, and return the others.

        Args:
            values: The checkpoint's values.
            state: Its state.
            count: Number of the network's weights.

        Raises:
            ValueError: If an earlier version wrote it, which did not keep the moving average.
        """
        self.epochs = state.get("averaged_epochs", 0)
        if self.recipe.ema is not None and state["epoch"] and not self.epochs:
            raise ValueError(
                "This run with `ema` was started by an earlier version, which validated it with "
                "the BatchNorm statistics of the raw weights; only that version can resume it"
            )
        others = len(values) - (count if self.epochs else 0)
        self.values = list(values[others:])
        return list(values[:others])


@contextmanager
def _restored(model: keras.Model) -> Iterator[None]:
    """Put the values of all variables back at the end, also the states of random layers."""
    before = values_of(model.variables)
    try:
        yield
    finally:
        assign(model.variables, before)


def first_averaged(recipe: Recipe) -> int | None:
    """The first epoch, from 0, whose weights are in the mean; `None` without one."""
    if recipe.swa is None:
        return None
    # Rounded, since 0.29 * 100 is below 29.
    return math.floor(round(recipe.swa * recipe.epochs, 6))


def in_words(recipe: Recipe) -> str:
    """Which average of the weights is saved, for the model card."""
    first = first_averaged(recipe)
    if first is not None:
        return f" (their mean over the ends of the last {recipe.epochs - first} epochs)"
    return "" if recipe.ema is None else " (their moving average)"


class InTraining(keras.Model):
    """A network whose `predict` runs in training mode."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network

    def call(self, pictures: Any) -> Any:
        """The network's outputs for pictures, `(batch, H, W, C)`."""
        return self.network(pictures, training=True)


def recompute_statistics(training: InTraining, batches: Any, count: int) -> None:
    """Set BatchNorm's moving statistics to the mean of those of some batches.

    Args:
        training: The network; its random layers draw numbers.
        batches: Training batches, `(pictures, targets)`.
        count: Number of batches to use, if there are so many.
    """
    layers = [
        layer
        for layer in within(training.network)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    moving = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    if not moving:
        return
    momenta = [layer.momentum for layer in layers]
    sums: list[Any] = [0.0] * len(moving)
    used = 0
    try:
        for layer in layers:
            # Then the moving statistics are those of the last batch.
            layer.momentum = 0.0
        for pictures, _ in itertools.islice(_each(batches), count):
            training.predict_on_batch(pictures)
            found = values_of(moving)
            sums = [total + np.float64(value) for total, value in zip(sums, found, strict=True)]
            used += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    assign(moving, [(total / used).astype(v.dtype) for total, v in zip(sums, moving, strict=True)])


def _each(batches: Any) -> Iterator[Any]:
    data = streamed(batches)
    if isinstance(data, keras.utils.PyDataset):
        return (data[n] for n in range(len(data)))
    return iter(data)


def _mean(mean: np.ndarray, value: np.ndarray, count: int) -> np.ndarray:
    """The mean of `count` values, from that of the ones before."""
    wide = mean.astype("float64")
    return (wide + (value - wide) / count).astype(value.dtype)
