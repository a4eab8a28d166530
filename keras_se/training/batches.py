"""Batches of in-memory pictures for `fit` and `evaluate`.

A training batch is a pure function of (seed, epoch, step): each epoch is one permutation, and a
picture's augmentation depends only on (seed, epoch, its index, how often it was shown).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import keras
import numpy as np

from keras_se.training import augmentation
from keras_se.training.rand_augment import rand_augmented
from keras_se.training.randomness import bits, permutation, uniform
from keras_se.training.recipe import Recipe

# Purposes of random numbers, part of their counters.
ORDER, SHIFT, FLIP, HOLE, HOLE_AT, MIX, CROP, PARTS, OPERATIONS = range(9)
ERASE, ERASE_SIZE, ERASE_AT = range(9, 12)


def check_channels_last() -> None:
    """Raise a `ValueError` unless Keras expects channels last, as the batches here are."""
    received = keras.config.image_data_format()
    if received != "channels_last":
        raise ValueError(
            "training and evaluation need image_data_format='channels_last'. "
            f"Received: {received!r}"
        )


class Data(Protocol):
    """Labelled pictures, in memory or encoded."""

    @property
    def labels(self) -> np.ndarray:
        """Labels, int64 from 0 to less than `classes`."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the classes."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: slice | np.ndarray) -> Self: ...

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one picture: `(height, width, channels)`."""

    @property
    def origin(self) -> str:
        """Where the pictures are from, in words."""

    def called(self, origin: str) -> Self:
        """The same pictures with another `origin`."""

    def entries(self) -> Iterator[tuple[str, str]]:
        """Key of each picture, and the content that must not change; see `contents`."""

    def bad(self) -> Iterator[str]:
        """A line for each picture that cannot be decoded."""

    def training(
        self, recipe: Recipe, epoch: int, first: int = 0, part: tuple[int, int] = (0, 1)
    ) -> Any:
        """The batches of an epoch from step `first`: `(pictures in 0..255, targets)`, float32.

        Each batch is only the given `part`, `(index, count)`.
        """

    def evaluation(self, batch: int) -> Any:
        """All pictures in order, float32, in batches of one size; the last is padded."""


def one_hot(labels: np.ndarray, classes: int, smoothing: float = 0.0) -> np.ndarray:
    """Targets `(batch, classes)`; the share `smoothing` is spread over all classes."""
    hot = np.eye(classes, dtype="float32")[labels]
    return hot * np.float32(1 - smoothing) + np.float32(smoothing / classes)


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures in memory.

    Attributes:
        pictures: uint8 in 0..255, `(count, height, width, channels)`.
        labels: int64 from 0 to less than `classes`, `(count,)`.
        names: Names of the classes.
        origin: Where the pictures are from, in words. Defaults to an empty string.
    """

    pictures: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    origin: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | np.ndarray) -> Pictures:
        return replace(self, pictures=self.pictures[chosen], labels=self.labels[chosen])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one picture: `(height, width, channels)`."""
        return self.pictures.shape[1:]

    @cached_property
    def mean(self) -> np.ndarray:
        """Channel means in 0..255, the fill value of cutout."""
        return self.pictures.mean((0, 1, 2)).astype("float32")

    def called(self, origin: str) -> Pictures:
        """The same pictures with another `origin`."""
        return replace(self, origin=origin)

    def entries(self) -> Iterator[tuple[str, str]]:
        """One entry: the hash of all pixels and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pictures).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        yield f"the pictures of {self.origin}", digest.hexdigest()

    def bad(self) -> Iterator[str]:
        """Nothing: pictures in memory are already decoded."""
        return iter(())

    def training(
        self, recipe: Recipe, epoch: int, first: int = 0, part: tuple[int, int] = (0, 1)
    ) -> TrainingBatches:
        """The batches of an epoch from step `first`."""
        return TrainingBatches(self, recipe, epoch, first, part)

    def evaluation(self, batch: int) -> EvaluationBatches:
        """All pictures in order, in batches of one size."""
        return EvaluationBatches(self, batch)


def rows(batch: int, part: tuple[int, int]) -> np.ndarray:
    """Rows of a batch in a part, `(index, count)`, preceded by the row to mix the first with."""
    index, count = part
    size = batch // count
    return np.arange(index * size - 1, (index + 1) * size) % batch


def views(recipe: Recipe, epoch: int, count: int) -> np.ndarray:
    """The views shown at each step of an epoch, `(steps, batch)`.

    Args:
        recipe: Provides the seed, the batch size and the repeats.
        epoch: The epoch, from 0.
        count: Number of training pictures.

    Returns:
        `picture + count * repeat`. Repeats of a picture are not adjacent, so that it is mixed with
        other pictures.
    """
    steps, different = count // recipe.batch, recipe.batch // recipe.repeats
    order = permutation(count, recipe.seed, ORDER, epoch)[: steps * different]
    repeats = count * np.arange(recipe.repeats)[:, None]
    return (order.reshape(steps, 1, different) + repeats).reshape(steps, recipe.batch)


def randomly_augmented(picture: np.ndarray, recipe: Recipe, epoch: int, view: int) -> np.ndarray:
    """Apply the recipe's RandAugment to a uint8 picture."""
    key = int(bits(recipe.seed, OPERATIONS, epoch, view))
    return rand_augmented(
        picture, recipe.rand_augment, recipe.rand_augment_magnitude, recipe.rand_augment_deviation,
        recipe.rand_augment_probability, key,
    )  # fmt: skip


def mix_of(recipe: Recipe, epoch: int, step: int, size: tuple[int, ...]) -> augmentation.Mix:
    """The mix of a step for pictures of height and width `size`."""
    key = int(bits(recipe.seed, MIX, epoch, step))
    return augmentation.draw_mix(recipe.mixup, recipe.cutmix, size[0], size[1], key)


class TrainingBatches(keras.utils.PyDataset):
    """The batches of one epoch from step `first`: `(pictures in 0..255, targets)`, float32.

    Args:
        data: The training pictures.
        recipe: Provides the batch size, the seed and the augmentation.
        epoch: The epoch, from 0.
        first: The first step.
        part: Part of each batch to make, `(index, count)`.
    """

    def __init__(
        self, data: Pictures, recipe: Recipe, epoch: int, first: int, part: tuple[int, int]
    ) -> None:
        super().__init__()
        self.data, self.recipe, self.epoch, self.first = data, recipe, epoch, first
        self.rows = rows(recipe.batch, part)
        self.views = views(recipe, epoch, len(data))

    def __len__(self) -> int:
        return len(self.views) - self.first

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        recipe, step = self.recipe, self.first + index
        shown = self.views[step, self.rows]
        chosen = shown % len(self.data)
        pictures = self.data.pictures[chosen]
        targets = one_hot(self.data.labels[chosen], self.data.classes, recipe.label_smoothing)

        def draw(purpose: int, *shape: int) -> np.ndarray:
            """Numbers in 0..1, an array of `shape` per picture."""
            counter = np.arange(math.prod(shape)).reshape(shape)
            index = shown.reshape(-1, *(1 for _ in shape))
            return uniform(recipe.seed, purpose, self.epoch, index, counter)

        if recipe.shift:
            pictures = augmentation.shifted(pictures, recipe.shift, draw(SHIFT, 2))
        if recipe.flip:
            pictures = augmentation.flipped(pictures, draw(FLIP) < 0.5)
        if recipe.rand_augment:
            pairs = zip(pictures, shown, strict=True)
            pictures = np.stack(
                [randomly_augmented(picture, recipe, self.epoch, view) for picture, view in pairs]
            )
        pictures = pictures.astype("float32")
        if recipe.cutout:
            which = draw(HOLE) < recipe.cutout_probability
            pictures = augmentation.cut_out(
                pictures, recipe.cutout, draw(HOLE_AT, 2), which, self.data.mean
            )
        if recipe.random_erasing:
            which = draw(ERASE) < recipe.random_erasing
            sizes = draw(ERASE_SIZE, augmentation.ERASING_TRIES, 2)
            pictures = augmentation.randomly_erased(
                pictures, sizes, draw(ERASE_AT, 2), which, self.data.mean
            )
        if recipe.mixup or recipe.cutmix:
            mix = mix_of(recipe, self.epoch, step, self.data.shape)
            pictures, targets = augmentation.mixed(pictures, targets, mix)
        return pictures[1:], targets[1:]


class EvaluationBatches(keras.utils.PyDataset):
    """All pictures in order, float32, the last batch padded with the last picture.

    The padding keeps any replica from an empty batch and avoids compiling for another size.

    Args:
        data: The pictures.
        batch: Pictures per batch.
    """

    def __init__(self, data: Pictures, batch: int) -> None:
        super().__init__()
        self.data, self.batch = data, batch

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray]:
        wanted = np.arange(index * self.batch, (index + 1) * self.batch)
        chosen = np.minimum(wanted, len(self.data) - 1)
        return (self.data.pictures[chosen].astype("float32"),)


def streamed(batches: Any) -> Any:
    """Convert batches to the form that suits the backend best.

    Autotuning is off: its thread may sleep for up to a minute, and `fit` and `predict` would wait
    for it after their last batch.

    Args:
        batches: A `PyDataset` or a `tf.data.Dataset`.

    Returns:
        A `tf.data.Dataset` on TensorFlow, the same object elsewhere.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    data = batches
    if isinstance(batches, keras.utils.PyDataset):
        signature = tuple(tf.TensorSpec(array.shape, array.dtype) for array in batches[0])
        data = tf.data.Dataset.from_generator(
            lambda: (batches[n] for n in range(len(batches))), output_signature=signature
        )
        data = data.apply(tf.data.experimental.assert_cardinality(len(batches)))
        data = data.prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
