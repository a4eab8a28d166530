"""Encoded pictures, which `tf.data` decodes, crops and resizes on demand.

An `ImageBytes` provides their bytes, from files or from the records of a prepared data set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from keras_se.data.decoding import RATIOS, decoded, jpeg_ratio, opened, scaled_jpeg, whole
from keras_se.data.labelled import streamed
from keras_se.pictures import SKIPPED
from keras_se.views import CENTRE, View

if TYPE_CHECKING:
    import tensorflow as tf

# Weights of red, green and blue in grey (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# Pictures whose mean stands for that of all.
SAMPLE = 1000


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
        labels: int64 from 0 to less than `classes`, `(count,)`, or multi-hot, `(count, classes)`.
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

    @cached_property
    def mean(self) -> np.ndarray:
        """Channel means in 0..255 of at most 1,000 pictures, the fill value of cutout."""
        places = np.linspace(0, len(self) - 1, min(len(self), SAMPLE)).astype(int)
        means = [np.mean(picture, (0, 1, 2)) for picture in streamed(self[places].evaluation(1))]
        return np.mean(means, axis=0).astype("float32")

    def called(self, origin: str) -> EncodedPictures:
        """The same pictures with another `origin`."""
        return replace(self, origin=origin)

    def keys(self) -> Iterator[str]:
        """Paths relative to the data's folder, or names of records."""
        return (self.source.entry(index)[0] for index in self.chosen.tolist())

    def entries(self) -> Iterator[tuple[str, str]]:
        """The key of each picture; its size in bytes and its classes."""
        for index, label in zip(self.chosen.tolist(), self.labels, strict=True):
            key, size = self.source.entry(index)
            own = [label] if self.labels.ndim == 1 else np.flatnonzero(label).tolist()
            yield key, f"{size} {', '.join(self.names[n] for n in own)}"

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
            report(f"{SKIPPED}{self.source.name(self.chosen[n])}")
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

    def evaluation(self, batch: int, view: View = CENTRE) -> tf.data.Dataset:
        """A view of all pictures in order, in batches of one size, padded with the last picture."""
        import tensorflow as tf

        count = math.ceil(len(self) / batch) * batch
        chosen = np.pad(self.chosen, (0, count - len(self)), "edge")
        data = tf.data.Dataset.from_tensor_slices(chosen)
        data = data.map(
            lambda index: central_crop(self.source.data(index), self.shape, self.crop, view),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return data.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def central_crop(
    data: tf.Tensor, size: tuple[int, int, int], crop: float, view: View = CENTRE
) -> tf.Tensor:
    """A view of a picture whose shorter side is resized to `size / crop` pixels.

    Args:
        data: Bytes of a file.
        size: Height, width (the same) and channels of the result.
        crop: Share of the shorter side that is kept.
        view: The view. Defaults to the centre.

    Returns:
        A float32 picture in 0..255.
    """
    import tensorflow as tf

    later, shape, picture = opened(data)
    shorter = math.floor(size[0] / crop)
    resized = shorter * shape // tf.reduce_min(shape)
    index = tf.where(later, jpeg_ratio(shape, resized), 0)
    picture = tf.cond(later, lambda: scaled_jpeg(data, index), lambda: picture)
    # As `tf.image.resize`, but a scaled JPEG's last pixels may lie partly outside.
    exact = tf.cast(shape, tf.float32) / tf.cast(tf.gather(RATIOS, index), tf.float32)
    (picture,) = tf.unstack(
        tf.raw_ops.ScaleAndTranslate(
            images=picture[None],
            size=resized,
            scale=tf.cast(resized, tf.float32) / exact,
            translation=(0.0, 0.0),
            kernel_type="triangle",
            antialias=True,
        )
    )
    margins = tf.cast(resized - size[:2], tf.float32) * (view.top, view.left)
    top, left = tf.unstack(tf.cast(tf.floor(margins), tf.int32))
    picture = picture[top : top + size[0], left : left + size[1]]
    picture = picture[:, :: -1 if view.mirrored else 1]
    return tf.ensure_shape(coloured(tf.clip_by_value(picture, 0, 255), size[2]), size)


def coloured(picture: tf.Tensor, channels: int) -> tf.Tensor:
    """Convert an RGB picture to 1 or 3 channels."""
    import tensorflow as tf

    return picture if channels == 3 else tf.reduce_sum(picture * LUMA, -1, keepdims=True)
