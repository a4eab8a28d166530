"""Training batches of encoded pictures, in `tf.data`.

A picture's augmentation is a pure function of (seed, epoch, its index, how often it was shown),
whatever the number of threads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_se.data.decoding import RATIOS, jpeg_ratio, opened, scaled_jpeg
from keras_se.data.encoded import EncodedPictures, coloured
from keras_se.data.randomness import CROP, uniform
from keras_se.training.batches import holes, mix_of, randomly_augmented, rows, views
from keras_se.training.recipe import Recipe

if TYPE_CHECKING:
    import tensorflow as tf

# Random crops to try before falling back to the largest centred one.
ATTEMPTS = 10
# Numbers for mirroring and a crop.
NUMBERS = 2 * ATTEMPTS + 3


def encoded_batches(
    pictures: EncodedPictures,
    recipe: Recipe,
    epoch: int,
    first: int = 0,
    part: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """The batches of an epoch from step `first`: `(pictures in 0..255, targets)`, float32."""
    import tensorflow as tf

    chosen = rows(recipe.batch, part)
    mixing = bool(recipe.mixup or recipe.cutmix)
    chosen = chosen if mixing else chosen[1:]
    shown = views(recipe, epoch, pictures.labels)[first:, chosen]
    indices, labels = tf.constant(pictures.chosen), tf.constant(pictures.labels)
    smoothing, classes = recipe.label_smoothing, pictures.classes
    several = pictures.labels.ndim == 2
    hole_count = bool(recipe.cutout) + bool(recipe.random_erasing)
    colour = pictures.mean if hole_count else None

    def augmented(picture: np.ndarray, view: int) -> np.ndarray:
        return randomly_augmented(picture, recipe, epoch, view)

    def drawn(views: np.ndarray) -> np.ndarray:
        numbers = uniform(recipe.seed, CROP, epoch, views[:, None], np.arange(NUMBERS))
        windows = holes(recipe, epoch, views, pictures.shape)
        return np.concatenate([numbers, *windows], axis=1).astype("float32")

    def with_numbers(views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        numbers = tf.numpy_function(drawn, (views,), tf.float32, stateful=False)
        return views, tf.ensure_shape(numbers, (len(chosen), NUMBERS + 4 * hole_count))

    def load(view: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        index = view % len(pictures)
        picture = random_crop(
            pictures.source.data(indices[index]), numbers[1:], pictures.shape, recipe.crop_area
        )
        if recipe.flip:
            picture = tf.cond(
                numbers[0] < 0.5, lambda: tf.image.flip_left_right(picture), lambda: picture
            )
        if recipe.rand_augment:
            rounded = tf.cast(tf.round(picture), tf.uint8)
            done = tf.numpy_function(augmented, (rounded, view), tf.uint8, stateful=False)
            picture = tf.ensure_shape(tf.cast(done, tf.float32), pictures.shape)
        for n in range(hole_count):
            window = numbers[NUMBERS + 4 * n : NUMBERS + 4 * n + 4]
            picture = tf.where(_inside(pictures.shape, window), colour, picture)
        target = labels[index]
        target = tf.cast(target, tf.float32) if several else tf.one_hot(target, classes)
        return picture, target * (1 - smoothing) + smoothing / classes

    data = tf.data.Dataset.from_tensor_slices(shown).map(with_numbers).unbatch()
    data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    data = data.batch(len(chosen), drop_remainder=True)
    if mixing:
        steps = range(first, first + len(shown))
        mixes = [mix_of(recipe, epoch, step, pictures.shape) for step in steps]
        table = np.array([(mix.own, *mix.window, mix.target) for mix in mixes], "float32")
        numbers = tf.data.Dataset.from_tensor_slices(table)
        data = tf.data.Dataset.zip(data, numbers).map(_mixed)
        data = data.map(lambda images, targets: (images[1:], targets[1:]))
    return data.prefetch(tf.data.AUTOTUNE)


def random_crop(
    data: tf.Tensor, numbers: tf.Tensor, size: tuple[int, int, int], area: tuple[float, float]
) -> tf.Tensor:
    """Resize a random crop of a picture: GoogLeNet's augmentation.

    Only the crop of a JPEG is decoded.

    Args:
        data: Bytes of a file.
        numbers: 22 numbers in 0..1, or more: area and aspect ratio of ten attempts, then the
            position.
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
    index = jpeg_ratio(window[2:], size[:2])
    crop = tf.cond(
        later,
        lambda: scaled_jpeg(data, index, window // tf.gather(RATIOS, index)),
        lambda: tf.slice(
            picture, tf.concat([window[:2], [0]], 0), tf.concat([window[2:], [3]], 0)
        ),
    )  # fmt: skip
    return tf.ensure_shape(coloured(tf.image.resize(crop, size[:2]), size[2]), size)


def _mixed(batch: tuple[tf.Tensor, tf.Tensor], numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`augmentation.mixed` in a graph, with the fields of a `Mix` as `numbers`."""
    import tensorflow as tf

    pictures, targets = batch
    own, window, target = numbers[0], numbers[1:5], numbers[5]
    others = tf.roll(pictures, 1, 0)
    inside = _inside(pictures.shape[1:], window)
    pictures = tf.where(inside, others, own * pictures + (1 - own) * others)
    return pictures, target * targets + (1 - target) * tf.roll(targets, 1, 0)


def _inside(size: tuple[int, ...], window: tf.Tensor) -> tf.Tensor:
    """Whether each pixel is in a window: top, bottom, left, right; `(H, W, 1)`."""
    import tensorflow as tf

    top, bottom, left, right = tf.unstack(window)
    rows = tf.range(size[0], dtype=tf.float32)[:, None, None]
    columns = tf.range(size[1], dtype=tf.float32)[:, None]
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
