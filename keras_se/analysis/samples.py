"""Batches of labelled pictures from arrays, files and data sets."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_se.data.tfds import evaluated_on
from keras_se.weights.entries import Preprocessing

# Pictures per batch.
BATCH = 64


@dataclass(frozen=True)
class Members:
    """Pairs of pictures and their classes.

    Attributes:
        pictures: Index of a picture, int64 `(pairs,)`, ascending.
        classes: A class of that picture, int64 `(pairs,)`, from 0.
        known: Number of classes, as far as known from the labels.
    """

    pictures: np.ndarray
    classes: np.ndarray
    known: int

    def only(self, chosen: np.ndarray) -> Members:
        """The chosen pairs."""
        return replace(self, pictures=self.pictures[chosen], classes=self.classes[chosen])

    def first(self, count: int) -> np.ndarray:
        """The first class of each of `count` pictures, int64 `(count,)`; -1 where it has none."""
        labels = np.full(count, -1)
        pictures, places = np.unique(self.pictures, return_index=True)
        labels[pictures] = self.classes[places]
        return labels


Batches = Iterator[tuple[Any, Members]]


class LabelledImages(Protocol):
    """Labelled pictures."""

    @property
    def classes(self) -> int | None:
        """Number of classes, if known."""

    def batches(self, per_class: int | None) -> Batches:
        """Pictures and the classes they count for: the first `per_class` of each class."""


@dataclass(frozen=True)
class Samples:
    """Pictures with random access: `load` loads those at some indices, `(count, ...)`.

    `labels` are `(count,)`, integers from 0 to less than `classes`, or `(count, classes)`, zeros
    and ones.
    """

    labels: np.ndarray
    load: Callable[[np.ndarray], Any]
    classes: int

    def batches(self, per_class: int | None) -> Batches:
        """Only pictures that count; the last batch is padded so that nothing is compiled twice."""
        members = class_members(self.labels, len(self.labels))
        if per_class is not None:
            order = np.argsort(members.classes, kind="stable")
            ordered = members.classes[order]
            rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
            members = members.only(np.sort(order[rank < per_class]))
        chosen = np.unique(members.pictures)
        size = min(BATCH, len(chosen))
        for first in range(0, len(chosen), size or 1):
            part = chosen[first : first + size]
            low = np.searchsorted(members.pictures, part[0])
            high = np.searchsorted(members.pictures, part[-1], "right")
            own = members.only(np.arange(low, high))
            places = np.searchsorted(part, own.pictures)
            yield self.load(np.resize(part, size)), replace(own, pictures=places)


@dataclass(frozen=True)
class Stream:
    """Batches of `(pictures, labels)` in a given order; `classes` is `None` if unknown."""

    data: Iterable[Any]
    classes: int | None

    def batches(self, per_class: int | None) -> Batches:
        """All batches with a picture that counts, until every class is full."""
        counts: Counter[int] = Counter()
        for element in self.data:
            if not isinstance(element, tuple | list) or len(element) < 2:
                raise ValueError(
                    "`images` must give batches of (pictures, labels). "
                    f"Received: {type(element).__name__}"
                )
            pictures = keras.tree.map_structure(np.asarray, element[0])
            (first, *_) = keras.tree.flatten(pictures)
            members = class_members(element[1], len(first) if first.ndim else None)
            check_range(members.classes, self.classes)
            counted = np.ones(len(members.classes), bool)
            for n, label in enumerate(members.classes.tolist()):
                counts[label] += 1
                counted[n] = per_class is None or counts[label] <= per_class
            if counted.any():
                yield pictures, members.only(counted)
            full = per_class is not None and sum(n >= per_class for n in counts.values())
            if full and full == self.classes:
                return


def class_members(labels: Any, pictures: int | None) -> Members:
    """The pictures of each class, from integers, `(count,)` or `(count, 1)`, or zeros and ones.

    Zeros and ones are `(count, classes)`: a row has a one for each class of its picture. Other
    labels, or fewer or more than `pictures`, raise a `ValueError`.
    """
    array = np.asarray(labels)
    numeric = array.dtype.kind in "iufb" and array.ndim in (1, 2)
    table = numeric and array.ndim == 2 and array.shape[1] > 1
    allowed: Any = False
    if numeric:
        values = array.astype("float64")
        allowed = np.isin(values, (0, 1)) if table else values == np.floor(values)
    if not np.all(allowed):
        raise ValueError(
            "`labels` must be whole numbers, (count,), or zeros and ones, (count, classes). "
            f"Received: {_what_is_wrong(array, allowed)}"
        )
    if len(array) != pictures:
        raise ValueError(
            "`labels` must have one label per picture. "
            f"Received: {len(array)} labels, {pictures} pictures"
        )
    if table:
        rows, columns = np.nonzero(array)
        return Members(rows, columns, array.shape[1])
    numbers = array.reshape(-1).astype(np.int64)
    return Members(np.arange(len(numbers)), numbers, int(numbers.max(initial=-1)) + 1)


def _what_is_wrong(labels: np.ndarray, allowed: Any) -> str:
    received = f"labels of shape {labels.shape} and type {labels.dtype}"
    return f"{labels[~allowed].flat[0]} in {received}" if np.ndim(allowed) else received


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
    """Pictures in files or elsewhere, with their classes; `read` returns one, `(1, H, W, C)`."""

    def load(indices: np.ndarray) -> np.ndarray:
        # Reading a picture changes the warning filters in several threads; this restores them.
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            pictures = np.concatenate(list(pool.map(read, [files[n][0] for n in indices])))
        first = keras.config.image_data_format() == "channels_first"
        return np.moveaxis(pictures, -1, 1) if first else pictures

    return Samples(np.array([label for _, label in files], np.int64), load, classes)


def of_tfds(
    name: str, folder: str | Path | None, transform: Preprocessing, colours: str
) -> tuple[Samples, list[str]]:
    """The test pictures of a prepared data set, `tfds:NAME[/CONFIG][:VERSION]`, and its classes.

    `folder` holds the prepared data sets; `None` for TFDS' own.
    """
    records, chosen, names = evaluated_on(name, folder)

    files = [(index, int(records.labels[index])) for index in chosen.tolist()]
    return of_files(files, lambda n: records.picture(n, transform, colours), len(names)), names
