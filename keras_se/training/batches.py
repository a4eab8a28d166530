"""Training batches.

A training batch is a pure function of (seed, epoch, step): each epoch is one permutation, and a
picture's augmentation depends only on (seed, epoch, its index, how often it was shown).
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_se.data.labelled import Pictures
from keras_se.data.randomness import (
    CLASSES,
    ERASE,
    ERASE_AT,
    ERASE_SIZE,
    FLIP,
    HOLE,
    HOLE_AT,
    MIX,
    OPERATIONS,
    ORDER,
    SHIFT,
    bits,
    permutation,
    uniform,
)
from keras_se.training import augmentation
from keras_se.training.rand_augment import rand_augmented
from keras_se.training.recipe import Recipe


def one_hot(labels: np.ndarray, classes: int, smoothing: float = 0.0) -> np.ndarray:
    """Targets `(batch, classes)`; the share `smoothing` is spread over all classes."""
    hot = np.eye(classes, dtype="float32")[labels]
    return hot * np.float32(1 - smoothing) + np.float32(smoothing / classes)


def rows(batch: int, part: tuple[int, int]) -> np.ndarray:
    """Rows of a batch in a part, `(index, count)`, preceded by the row to mix the first with."""
    index, count = part
    size = batch // count
    return np.arange(index * size - 1, (index + 1) * size) % batch


def views(recipe: Recipe, epoch: int, labels: np.ndarray) -> np.ndarray:
    """The views shown at each step of an epoch, `(steps, batch)`.

    Args:
        recipe: Provides the seed, the batch size, the repeats and the sampling.
        epoch: The epoch, from 0.
        labels: Classes of the training pictures.

    Returns:
        `picture + count * time`, where a picture is shown for the `time`-th time. Repeats of a
        picture are not adjacent, so that it is mixed with other pictures.
    """
    count = len(labels)
    steps, different = count // recipe.batch, recipe.batch // recipe.repeats
    if recipe.sampling == "balanced":
        order = balanced_order(labels, recipe.seed, epoch, recipe.repeats)[: steps * different]
    else:
        order = permutation(count, recipe.seed, ORDER, epoch)[: steps * different]
    repeats = count * np.arange(recipe.repeats)[:, None]
    return (order.reshape(steps, 1, different) + repeats).reshape(steps, recipe.batch)


def balanced_order(labels: np.ndarray, seed: int, epoch: int, repeats: int) -> np.ndarray:
    """As many views as pictures, with each class equally often.

    Args:
        labels: Classes of the pictures.
        seed: The recipe's seed.
        epoch: The epoch, from 0.
        repeats: Views of a picture in one batch.

    Returns:
        `picture + count * time`, where times are multiples of `repeats`.
    """
    count, classes = len(labels), np.unique(labels)
    rounds = -(-count // len(classes))
    chosen = classes[_permutations(rounds, len(classes), seed, CLASSES, epoch).ravel()[:count]]
    order = np.empty(count, np.int64)
    for label in classes.tolist():
        own, places = np.flatnonzero(labels == label), np.flatnonzero(chosen == label)
        times, rank = np.divmod(np.arange(len(places)), len(own))
        passes = _permutations(-(-len(places) // len(own)), len(own), seed, ORDER, epoch, label)
        order[places] = own[passes[times, rank]] + count * repeats * times
    return order


def _permutations(rows: int, size: int, *counters: int) -> np.ndarray:
    """In each row the numbers from 0 to `size - 1` in a random order."""
    numbers = bits(*counters, np.arange(rows)[:, None], np.arange(size))
    return np.argsort(numbers, axis=1, kind="stable")


def randomly_augmented(picture: np.ndarray, recipe: Recipe, epoch: int, view: int) -> np.ndarray:
    """Apply the recipe's RandAugment to a uint8 picture."""
    key = int(bits(recipe.seed, OPERATIONS, epoch, view))
    return rand_augmented(
        picture, recipe.rand_augment, recipe.rand_augment_magnitude, recipe.rand_augment_deviation,
        recipe.rand_augment_probability, key,
    )  # fmt: skip


def drawn(
    recipe: Recipe, epoch: int, views: np.ndarray, purpose: int, *shape: int
) -> np.ndarray:  # fmt: skip
    """Numbers in 0..1 for a purpose, an array of `shape` per view."""
    counter = np.arange(math.prod(shape)).reshape(shape)
    return uniform(recipe.seed, purpose, epoch, views.reshape(-1, *(1 for _ in shape)), counter)


def holes(
    recipe: Recipe, epoch: int, views: np.ndarray, size: tuple[int, ...]
) -> list[np.ndarray]:  # fmt: skip
    """The windows of some views, `(views, 4)`, of cutout and of Random Erasing, if there are any.

    The pictures have the height and width `size`.
    """
    found = []
    if recipe.cutout:
        which = drawn(recipe, epoch, views, HOLE) < recipe.cutout_probability
        at = drawn(recipe, epoch, views, HOLE_AT, 2)
        found.append(augmentation.cut_out(size, recipe.cutout, at, which))
    if recipe.random_erasing:
        which = drawn(recipe, epoch, views, ERASE) < recipe.random_erasing
        sizes = drawn(recipe, epoch, views, ERASE_SIZE, augmentation.ERASING_TRIES, 2)
        at = drawn(recipe, epoch, views, ERASE_AT, 2)
        found.append(augmentation.randomly_erased(size, sizes, at, which))
    return found


def mix_of(recipe: Recipe, epoch: int, step: int, size: tuple[int, ...]) -> augmentation.Mix:
    """The mix of a step for pictures of height and width `size`."""
    key = int(bits(recipe.seed, MIX, epoch, step))
    return augmentation.draw_mix(recipe.mixup, recipe.cutmix, size[0], size[1], key)


class EpochBatches(keras.utils.PyDataset):
    """The batches of one epoch from step `first`, which subclasses make of `views` and `rows`.

    Args:
        data: The training pictures.
        recipe: Provides the batch size, the seed and the augmentation.
        epoch: The epoch, from 0.
        first: The first step.
        part: Part of each batch to make, `(index, count)`.
    """

    def __init__(
        self, data: Any, recipe: Recipe, epoch: int, first: int, part: tuple[int, int]
    ) -> None:
        super().__init__()
        self.data, self.recipe, self.epoch, self.first = data, recipe, epoch, first
        self.rows = rows(recipe.batch, part)
        self.views = views(recipe, epoch, data.labels)

    def __len__(self) -> int:
        return len(self.views) - self.first


class TrainingBatches(EpochBatches):
    """Batches of pictures in memory: `(pictures in 0..255, targets)`, float32."""

    data: Pictures

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        recipe, step = self.recipe, self.first + index
        shown = self.views[step, self.rows]
        chosen = shown % len(self.data)
        pictures = self.data.pictures[chosen]
        targets = one_hot(self.data.labels[chosen], self.data.classes, recipe.label_smoothing)

        def draw(purpose: int, *shape: int) -> np.ndarray:
            return drawn(recipe, self.epoch, shown, purpose, *shape)

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
        for windows in holes(recipe, self.epoch, shown, self.data.shape):
            pictures = augmentation.filled(pictures, windows, self.data.mean)
        if recipe.mixup or recipe.cutmix:
            mix = mix_of(recipe, self.epoch, step, self.data.shape)
            pictures, targets = augmentation.mixed(pictures, targets, mix)
        return pictures[1:], targets[1:]
