"""Encoded pictures in `tf.data`: decoded, cropped and resized while the network trains.

An `ImageBytes` provides their bytes, from files or from the records of a prepared data set.

A picture's augmentation is a pure function of (seed, epoch, its index, how often it was shown),
whatever the number of threads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from keras_se.training.batches import CROP, mix_of, randomly_augmented, rows, views
from keras_se.training.decoding import decoded, opened, whole
from keras_se.training.randomness import uniform
from keras_se.training.recipe import Recipe

if TYPE_CHECKING:
    import tensorflow as tf

# Random crops to try before falling back to the largest centred one.
ATTEMPTS = 10
# Weights of red, green and blue in grey (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


class ImageBytes(Protocol):
    """A source of encoded pictures."""

    def data(self, index: tf.Tensor) -> tf.Tensor:
        """Bytes of the picture at `index`, in a graph: a scalar string."""

    def name(self, index: int) -> str:
        """Its name in messages."""

    def entry(self, index: int) -> tuple[str, int]:
        """Its key, the same in any copy of the data, and its size in bytes."""


@dataclass(frozen=True)
class EncodedPictures:
    """Labelled JPEG, PNG, GIF, BMP, WebP or TIFF pictures of any size.

    Attributes:
        source: Provides their bytes.
        chosen: Indices in `source`, `(count,)`.
        labels: int64 from 0 to less than `classes`, `(count,)`.
        names: Names of the classes.
        shape: Input shape of the network: `(size, size, channels)`, grey or RGB.
        crop: Share of the shorter side kept by the centre crop for evaluation.
        origin: Where the pictures are from, in words. Defaults to an empty string.
    """

    source: ImageBytes
    chosen: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    shape: tuple[int, int, int]
    crop: float
    origin: str = ""

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, chosen: slice | np.ndarray) -> EncodedPictures:
        return replace(self, chosen=self.chosen[chosen], labels=self.labels[chosen])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    def called(self, origin: str) -> EncodedPictures:
        """The same pictures with another `origin`."""
        return replace(self, origin=origin)

    def entries(self) -> Iterator[tuple[str, str]]:
        """The key of each picture; its size in bytes and its class."""
        for index, label in zip(self.chosen.tolist(), self.labels.tolist(), strict=True):
            key, size = self.source.entry(index)
            yield key, f"{size} {self.names[label]}"

    def bad(self) -> Iterator[str]:
        """A line for each bad picture: its name, and what is wrong."""
        for n in self._bad():
            index = self.chosen[n]
            try:
                decoded(self.source.data(index).numpy())
                reason = "data that TensorFlow cannot decode"
            except Exception as error:
                text = re.sub(r"{{.*?}}|\[Op:\w+\].*", "", " ".join(str(error).split())).strip()
                reason = text.rpartition("Received: ")[2][-100:]
            yield (
                f"{self.source.name(index)}: expected an undamaged picture; bad_pictures=skip "
                f"leaves it out. Received: {reason}"
            )

    def sound(self, report: Callable[[str], None]) -> EncodedPictures:
        """The pictures that can be decoded; `report` is called with a line for each other."""
        bad = list(self._bad())
        for n in bad:
            report(f"skipped, not a picture: {self.source.name(self.chosen[n])}")
        return self[np.delete(np.arange(len(self)), bad)]

    def _bad(self) -> Iterator[int]:
        """Positions of the pictures that cannot be decoded."""
        import tensorflow as tf

        def is_sound(index: int) -> bool:
            try:
                whole(self.source.data(tf.constant(index)))
            except (tf.errors.OpError, ValueError, OSError):
                return False
            return True

        with ThreadPoolExecutor() as pool:
            for n, sound in enumerate(pool.map(is_sound, self.chosen)):
                if not sound:
                    yield n

    def training(
        self, recipe: Recipe, epoch: int, first: int = 0, part: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """The batches of an epoch from step `first`: `(pictures in 0..255, targets)`."""
        import tensorflow as tf

        chosen = rows(recipe.batch, part)
        mixing = bool(recipe.mixup or recipe.cutmix)
        chosen = chosen if mixing else chosen[1:]
        shown = views(recipe, epoch, len(self))[first:, chosen]
        indices, labels = tf.constant(self.chosen), tf.constant(self.labels)
        smoothing, classes = recipe.label_smoothing, self.classes

        def augmented(picture: np.ndarray, view: int) -> np.ndarray:
            return randomly_augmented(picture, recipe, epoch, view)

        def drawn(views: np.ndarray) -> np.ndarray:
            draws = np.arange(2 * ATTEMPTS + 3)
            return uniform(recipe.seed, CROP, epoch, views[:, None], draws).astype("float32")

        def with_numbers(views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            numbers = tf.numpy_function(drawn, (views,), tf.float32, stateful=False)
            return views, tf.ensure_shape(numbers, (len(chosen), 2 * ATTEMPTS + 3))

        def load(view: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            index = view % len(self)
            picture = random_crop(
                self.source.data(indices[index]), numbers[1:], self.shape, recipe.crop_area
            )
            if recipe.flip:
                picture = tf.cond(
                    numbers[0] < 0.5, lambda: tf.image.flip_left_right(picture), lambda: picture
                )
            if recipe.rand_augment:
                rounded = tf.cast(tf.round(picture), tf.uint8)
                done = tf.numpy_function(augmented, (rounded, view), tf.uint8, stateful=False)
                picture = tf.ensure_shape(tf.cast(done, tf.float32), self.shape)
            target = tf.one_hot(labels[index], classes)
            return picture, target * (1 - smoothing) + smoothing / classes

        data = tf.data.Dataset.from_tensor_slices(shown).map(with_numbers).unbatch()
        data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        data = data.batch(len(chosen), drop_remainder=True)
        if mixing:
            steps = range(first, first + len(shown))
            mixes = [mix_of(recipe, epoch, step, self.shape) for step in steps]
            table = np.array([(mix.own, *mix.window, mix.target) for mix in mixes], "float32")
            numbers = tf.data.Dataset.from_tensor_slices(table)
            data = tf.data.Dataset.zip(data, numbers).map(_mixed)
            data = data.map(lambda pictures, targets: (pictures[1:], targets[1:]))
        return data.prefetch(tf.data.AUTOTUNE)

    def evaluation(self, batch: int) -> tf.data.Dataset:
        """All pictures in order, in batches of one size, padded with the last picture."""
        import tensorflow as tf

        count = math.ceil(len(self) / batch) * batch
        chosen = np.pad(self.chosen, (0, count - len(self)), "edge")
        data = tf.data.Dataset.from_tensor_slices(chosen)
        data = data.map(
            lambda index: central_crop(self.source.data(index), self.shape, self.crop),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return data.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def random_crop(
    data: tf.Tensor, numbers: tf.Tensor, size: tuple[int, int, int], area: tuple[float, float]
) -> tf.Tensor:
    """Resize a random crop of a picture: GoogLeNet's augmentation.

    Only the crop of a JPEG is decoded.

    Args:
        data: Bytes of a file.
        numbers: 22 numbers in 0..1: area and aspect ratio of ten attempts, then the position.
        size: Height, width and channels of the result.
        area: Least and largest share of the picture's area.

    Returns:
        A float32 picture in 0..255.
    """
    import tensorflow as tf

    later, shape, picture = opened(data)
    height, width = tf.cast(shape[0], tf.float32), tf.cast(shape[1], tf.float32)
    attempts = tf.reshape(numbers[: 2 * ATTEMPTS], (ATTEMPTS, 2))
    surface = height * width * (area[0] + attempts[:, 0] * (area[1] - area[0]))
    # Log-uniform from 3/4 to 4/3.
    aspect = tf.exp((2 * attempts[:, 1] - 1) * math.log(4 / 3))
    heights, widths = tf.round(tf.sqrt(surface / aspect)), tf.round(tf.sqrt(surface * aspect))
    fits = (heights <= height) & (widths <= width) & (heights > 0) & (widths > 0)
    # The largest centre crop within these aspect ratios.
    middle = tf.stack(
        [tf.minimum(height, tf.round(width * 4 / 3)), tf.minimum(width, tf.round(height * 4 / 3))]
    )
    chosen = tf.argmax(tf.cast(fits, tf.int32))
    found = tf.reduce_any(fits)
    part = tf.where(found, tf.stack([heights[chosen], widths[chosen]]), middle)
    at = tf.where(found, numbers[2 * ATTEMPTS : 2 * ATTEMPTS + 2], 0.5)
    corner = tf.floor(at * (tf.stack([height, width]) - part + 1))
    corner = tf.minimum(corner, tf.stack([height, width]) - part)
    window = tf.cast(tf.concat([corner, part], 0), tf.int32)
    crop = tf.cond(
        later,
        lambda: tf.io.decode_and_crop_jpeg(data, window, channels=3),
        lambda: tf.slice(
            picture, tf.concat([window[:2], [0]], 0), tf.concat([window[2:], [3]], 0)
        ),
    )  # fmt: skip
    return tf.ensure_shape(_coloured(tf.image.resize(crop, size[:2]), size[2]), size)


def central_crop(data: tf.Tensor, size: tuple[int, int, int], crop: float) -> tf.Tensor:
    """The centre of a picture whose shorter side is resized to `size / crop` pixels.

    Args:
        data: Bytes of a file.
        size: Height, width (the same) and channels of the result.
        crop: Share of the shorter side that is kept.

    Returns:
        A float32 picture in 0..255.
    """
    import tensorflow as tf

    picture = whole(data)
    shape = tf.shape(picture)[:2]
    shorter = math.floor(size[0] / crop)
    resized = shorter * shape // tf.reduce_min(shape)
    picture = tf.image.resize(picture, resized, antialias=True)
    top, left = tf.unstack((resized - size[:2]) // 2)
    picture = picture[top : top + size[0], left : left + size[1]]
    return tf.ensure_shape(_coloured(tf.clip_by_value(picture, 0, 255), size[2]), size)


def _coloured(picture: tf.Tensor, channels: int) -> tf.Tensor:
    """Convert an RGB picture to 1 or 3 channels."""
    import tensorflow as tf

    return picture if channels == 3 else tf.reduce_sum(picture * LUMA, -1, keepdims=True)


def _mixed(batch: tuple[tf.Tensor, tf.Tensor], numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`augmentation.mixed` in a graph, with the fields of a `Mix` as `numbers`."""
    import tensorflow as tf

    pictures, targets = batch
    own, top, bottom, left, right, target = tf.unstack(numbers)
    others = tf.roll(pictures, 1, 0)
    rows = tf.range(pictures.shape[1], dtype=tf.float32)[:, None, None]
    columns = tf.range(pictures.shape[2], dtype=tf.float32)[:, None]
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    pictures = tf.where(inside, others, own * pictures + (1 - own) * others)
    return pictures, target * targets + (1 - target) * tf.roll(targets, 1, 0)
