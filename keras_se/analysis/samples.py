"""Labelled pictures, in batches: of arrays, files and data sets."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_se.training.tfds import evaluated_on
from keras_se.weights.entries import Preprocessing

# Pictures of a batch.
BATCH = 64
# The label of a picture that is not to be counted.
LEFT_OUT = -1

Batches = Iterator[tuple[Any, np.ndarray]]


class Source(Protocol):
    """Labelled pictures."""

    @property
    def classes(self) -> int | None:
        """Number of classes, where it is known."""

    def batches(self, per_class: int | None) -> Batches:
        """Pictures and labels, `LEFT_OUT` beyond the first `per_class` of a class."""


@dataclass(frozen=True)
class Samples:
    """Pictures that can be had in any order.

    Attributes:
        labels: int64 from 0 to less than `classes`, `(count,)`.
        load: Gives the pictures of some indices, `(count, ...)`.
        classes: Number of classes.
    """

    labels: np.ndarray
    load: Callable[[np.ndarray], Any]
    classes: int

    def batches(self, per_class: int | None) -> Batches:
        """Only those that count; the last batch is filled up, for nothing is compiled twice."""
        chosen = np.arange(len(self.labels))
        if per_class is not None:
            order = np.argsort(self.labels, kind="stable")
            ordered = self.labels[order]
            rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
            chosen = np.sort(order[rank < per_class])
        size = min(BATCH, len(chosen))
        for first in range(0, len(chosen), size):
            part = chosen[first : first + size]
            labels = np.full(size, LEFT_OUT)
            labels[: len(part)] = self.labels[part]
            yield self.load(np.resize(part, size)), labels


@dataclass(frozen=True)
class Stream:
    """Batches of `(pictures, labels)` that come in an order of their own.

    Attributes:
        data: Gives them.
        classes: Number of classes, or `None` if only the labels tell.
    """

    data: Iterable[Any]
    classes: int | None

    def batches(self, per_class: int | None) -> Batches:
        """All batches that have a picture that counts; no more once every class is full."""
        counts: Counter[int] = Counter()
        for element in self.data:
            if not isinstance(element, tuple | list) or len(element) < 2:
                raise ValueError(
                    "`images` must give batches of (pictures, labels). "
                    f"Received: {type(element).__name__}"
                )
            pictures = keras.tree.map_structure(np.asarray, element[0])
            (first, *_) = keras.tree.flatten(pictures)
            labels, width = class_numbers(element[1], len(first) if first.ndim else None)
            check_range(labels, width or self.classes)
            for n, label in enumerate(labels.tolist()):
                counts[label] += 1
                if per_class is not None and counts[label] > per_class:
                    labels[n] = LEFT_OUT
            if np.any(labels != LEFT_OUT):
                yield pictures, labels
            full = per_class is not None and sum(n >= per_class for n in counts.values())
            if full and full == self.classes:
                return


def class_numbers(labels: Any, pictures: int | None) -> tuple[np.ndarray, int | None]:
    """Labels as int64 `(count,)`, and the width of one-hot ones.

    Args:
        labels: Whole numbers, `(count,)` or `(count, 1)`, or one-hot, `(count, classes)`.
        pictures: How many there must be.

    Raises:
        ValueError: If they are none of these.
    """
    array = np.asarray(labels)
    known = array.dtype.kind in "iuf" and array.ndim in (1, 2)
    width = array.shape[1] if known and array.ndim == 2 and array.shape[1] > 1 else None
    numbers = array.argmax(1) if width else array.reshape(-1)
    if not known or np.any(numbers != np.round(numbers)):
        raise ValueError(
            "`labels` must be whole numbers, (count,), or one-hot, (count, classes). "
            f"Received: labels of shape {array.shape} and type {array.dtype}"
        )
    if len(numbers) != pictures:
        raise ValueError(
            "`labels` must be as many as the pictures. "
            f"Received: {len(numbers)} labels, {pictures} pictures"
        )
    return numbers.astype(np.int64), width


def check_range(labels: np.ndarray, classes: int | None) -> None:
    """Raise a `ValueError` unless all labels are from 0 to `classes - 1`."""
    wrong = labels[(labels < 0) | (labels >= (np.inf if classes is None else classes))]
    if len(wrong):
        upper = "upwards" if classes is None else f"to {classes - 1}"
        raise ValueError(
            f"`labels` must be from 0 {upper}. Received: {wrong[0]} ({len(wrong)} such labels)"
        )


def of_files(
    files: Sequence[tuple[Any, int]], read: Callable[[Any], np.ndarray], classes: int
) -> Samples:
    """Pictures in files, or in what else has a name.

    Args:
        files: Paths, or whatever `read` takes, and classes.
        read: Gives the picture in a file, `(1, H, W, C)`.
        classes: Number of classes.
    """

    def load(indices: np.ndarray) -> np.ndarray:
        # Reading a picture changes the filters of warnings, in several threads at once: afterwards
        # they are as before.
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            pictures = np.concatenate(list(pool.map(read, [files[n][0] for n in indices])))
        first = keras.config.image_data_format() == "channels_first"
        return np.moveaxis(pictures, -1, 1) if first else pictures

    return Samples(np.array([label for _, label in files], np.int64), load, classes)


def of_tfds(
    name: str, folder: str | Path | None, transform: Preprocessing, colours: str
) -> tuple[Samples, list[str]]:
    """The test pictures of a data set that TensorFlow Datasets has prepared, and its classes.

    Args:
        name: `tfds:NAME[/CONFIG][:VERSION]`.
        folder: Folder of the prepared data sets; `None` for TFDS' own.
        transform: Resize and crop.
        colours: The mode `"L"` or `"RGB"`.

    Raises:
        ValueError: If there is no such data set, or it is not prepared or not what it should be.
    """
    records, chosen, names = evaluated_on(name, folder)

    files = [(index, int(records.labels[index])) for index in chosen.tolist()]
    return of_files(files, lambda n: records.picture(n, transform, colours), len(names)), names
