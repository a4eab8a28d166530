"""Labelled pictures, and their evaluation batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import keras
import numpy as np

from keras_se.views import CENTRE, View


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
        """Labels, int64 from 0 to less than `classes`, or multi-hot, `(count, classes)`."""

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

    def keys(self) -> Iterator[str]:
        """Key of each picture, the same in any part and copy of the data."""

    def entries(self) -> Iterator[tuple[str, str]]:
        """Key of each picture, and the content that must not change; see `contents`."""

    def bad(self) -> Iterator[str]:
        """A line for each picture that cannot be decoded."""

    def evaluation(self, batch: int, view: View = CENTRE) -> Any:
        """A view of all pictures in order, float32, in batches of one size; the last is padded."""


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures in memory.

    Attributes:
        pictures: uint8 in 0..255, `(count, height, width, channels)`.
        labels: int64 from 0 to less than `classes`, `(count,)`.
        names: Names of the classes.
        origin: Where the pictures are from, in words. Defaults to an empty string.
        numbers: Number of each picture in its split, `(count,)`. Defaults to their order.
    """

    pictures: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    origin: str = ""
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | np.ndarray) -> Pictures:
        return replace(
            self, pictures=self.pictures[chosen], labels=self.labels[chosen],
            numbers=self._numbers[chosen],
        )  # fmt: skip

    @property
    def _numbers(self) -> np.ndarray:
        return np.arange(len(self)) if self.numbers is None else self.numbers

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

    def keys(self) -> Iterator[str]:
        """The numbers of the pictures."""
        return map(str, self._numbers.tolist())

    def entries(self) -> Iterator[tuple[str, str]]:
        """One entry: the hash of all pixels and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pictures).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        yield f"the pictures of {self.origin}", digest.hexdigest()

    def bad(self) -> Iterator[str]:
        """Nothing: pictures in memory are already decoded."""
        return iter(())

    def evaluation(self, batch: int, view: View = CENTRE) -> EvaluationBatches:
        """All pictures in order, maybe mirrored, in batches of one size; there is no margin."""
        return EvaluationBatches(self.pictures.__getitem__, len(self), batch, view.mirrored)


class EvaluationBatches(keras.utils.PyDataset):
    """All pictures in order, float32, the last batch padded with the last picture.

    The padding keeps any replica from an empty batch and avoids compiling for another size.

    Args:
        pictures: Gives the pictures at some indices, `(count, H, W, C)`.
        count: Number of pictures.
        batch: Pictures per batch.
        mirrored: Whether they are mirrored left to right.
    """

    def __init__(
        self, pictures: Callable[[np.ndarray], np.ndarray], count: int, batch: int, mirrored: bool
    ) -> None:
        super().__init__()
        self.pictures, self.count, self.batch = pictures, count, batch
        self.columns = slice(None, None, -1 if mirrored else 1)

    def __len__(self) -> int:
        return math.ceil(self.count / self.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray]:
        wanted = np.arange(index * self.batch, (index + 1) * self.batch)
        chosen = np.minimum(wanted, self.count - 1)
        return (self.pictures(chosen)[:, :, self.columns].astype("float32"),)


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
