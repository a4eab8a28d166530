"""Random access to the pictures in the records of a prepared data set.

By default TensorFlow Datasets writes TFRecord files, which TensorFlow reads only sequentially. Each
record is a `tf.train.Example` between its length and a checksum, so one pass over the headers
locates every picture; then each can be read like a file of its own, in any order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_se.pictures import read_picture
from keras_se.views import CENTRE, View
from keras_se.weights.entries import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

# Bytes of a TFRecord's header (length and its checksum) and footer (checksum of the data).
HEADER, FOOTER = 12, 4
# Wire types of protocol buffers, and the largest size of a varint.
VARINT, LENGTH = 0, 2
VARINT_BYTES = 10
# Reads a number of bytes from a position: `read(at, count)`.
Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Records:
    """Pictures in records: `read` gives the bytes of one, `sizes` how many; errors say `title`."""

    title: str
    read: Callable[[int], bytes]
    labels: np.ndarray
    sizes: np.ndarray

    def data(self, index: tf.Tensor) -> tf.Tensor:
        """Bytes of the picture at `index`."""
        import tensorflow as tf

        data = tf.numpy_function(self.read, [index], tf.string, stateful=False)
        return tf.ensure_shape(data, ())

    def name(self, index: int) -> str:
        """The data set and the index."""
        return f"{self.title}: picture {index}"

    def entry(self, index: int) -> tuple[str, int]:
        """Its name and its size in bytes."""
        return self.name(index), int(self.sizes[index])

    def picture(
        self, index: int, preprocessing: Preprocessing, colours: str,
        views: Sequence[View] = (CENTRE,),
    ) -> np.ndarray:  # fmt: skip
        """`read_picture` at `index`; errors name the picture."""
        try:
            return read_picture(self.read(index), preprocessing, colours, views=views)
        except ValueError as error:
            reason = str(error).removeprefix("the bytes: ")
            raise ValueError(f"{self.name(index)}: {reason}") from None


def tfrecords(
    title: str, shards: Sequence[tuple[Path, int]], image: str, label: str
) -> Records:  # fmt: skip
    """The pictures in TFRecord files, given with the number of records in each.

    `image` and `label` name the features with the picture and its class. A malformed file raises a
    `ValueError`.
    """

    def look(shard: tuple[Path, int]) -> list[tuple[int, int, int]]:
        path, count = shard
        found = list(_places(path, image, label))
        if len(found) != count:
            raise ValueError(f"{path}: expected {count} TFRecords. Received: {len(found)}")
        return found

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(look, shards))
    number = np.repeat(np.arange(len(shards)), [len(places) for places in found])
    table = np.array([place for places in found for place in places], np.int64).reshape(-1, 3)

    def read(index: int) -> bytes:
        start, length, _ = table[index]
        # Opened for each read: a large data set has more files than a process may have open.
        with open(shards[number[index]][0], "rb", buffering=0) as file:
            return os.pread(file.fileno(), length, start)

    return Records(title, read, table[:, 2], table[:, 1])


def array_records(title: str, source: Sequence[bytes], image: str, label: str) -> Records:
    """The pictures in records with random access; otherwise like `tfrecords`."""

    def places(index: int) -> tuple[int, int, int]:
        record = source[index]

        def part(at: int, count: int) -> bytes:
            return bytes(record[at : at + count])

        return _example(f"{title}, record {index}", part, 0, len(record), image, label)

    table = np.array([places(index) for index in range(len(source))], np.int64).reshape(-1, 3)

    def read(index: int) -> bytes:
        start, length, _ = table[index]
        return bytes(source[int(index)][start : start + length])

    return Records(title, read, table[:, 2], table[:, 1])


def _places(path: Path, image: str, label: str) -> Iterator[tuple[int, int, int]]:
    """Offset and length of the picture, and its class, for each record of a file."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size

        def read(at: int, count: int) -> bytes:
            return os.pread(file.fileno(), count, at)

        at = 0
        while at < size:
            start = at + HEADER
            end = start + int.from_bytes(read(at, 8), "little")
            at = end + FOOTER
            if at > size:
                raise ValueError(
                    f"{path}: expected whole TFRecords. Received: one that ends at byte {at} of "
                    f"{size}"
                )
            yield _example(f"{path}, byte {start}", read, start, end, image, label)


def _example(
    where: str, read: Read, start: int, end: int, image: str, label: str
) -> tuple[int, int, int]:  # fmt: skip
    """Offset and length of the picture in a `tf.train.Example`, and its class.

    The picture itself is not read.
    """
    values: dict[str, tuple[int, int]] = {}
    try:
        ((_, *features),) = _fields(read, start, end)
        for _, *entry in _fields(read, *features):
            parts = {number: (first, last) for number, first, last in _fields(read, *entry)}
            name = read(parts[1][0], parts[1][1] - parts[1][0]).decode()
            if name in (image, label):
                # A `Feature` has one list, of bytes or integers, which has one value.
                ((_, *several),) = _fields(read, *parts[2])
                ((_, first, last),) = _fields(read, *several)
                values[name] = first, last
        first, last = values[image]
        number, _ = _varint(read(values[label][0], VARINT_BYTES), 0)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"{where}: expected a `tf.train.Example` with {image!r} and {label!r}. "
            f"Received: {error!r}"
        ) from None
    return first, last - first, number - (number >> 63 << 64)


def _fields(read: Read, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a protocol buffer."""
    while at < end:
        head = read(at, 2 * VARINT_BYTES)
        tag, used = _varint(head, 0)
        start = at + used
        if tag & 7 == LENGTH:
            length, used = _varint(head, used)
            start = at + used
            at = start + length
        elif tag & 7 == VARINT:
            at += _varint(head, used)[1]
        else:
            raise ValueError(f"a field of wire type {tag & 7}")
        if at > end:
            raise ValueError(f"a field that ends at byte {at} of {end}")
        yield tag >> 3, start, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint, 7 bits per byte, and its end."""
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
