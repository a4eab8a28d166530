"""Score pictures into a table."""

from __future__ import annotations

import errno
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.description import Description
from keras_se.embeddings import feature_network
from keras_se.inspection import describe
from keras_se.labels import probabilities
from keras_se.pictures import colours_for, preprocessing_of, printable, read_picture, sides_of
from keras_se.resolve import get_model
from keras_se.scoring.account import FORMAT, network_hash
from keras_se.scoring.journal import Journal, journal
from keras_se.scoring.listing import Pictures, list_pictures
from keras_se.scoring.shards import WHOLE, Shard
from keras_se.scoring.tables import Columns, table_format

# Errors of disks, networks and this process, which say nothing about a picture: they end the run.
PASSING = {
    errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN,
    errno.ETIMEDOUT, errno.ECONNRESET, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
}  # fmt: skip
# Batches that are decoded ahead of the network.
AHEAD = 3


@dataclass(frozen=True)
class Scored:
    """A finished table.

    Attributes:
        path: The table.
        pictures: Number of its rows.
        bad: Number of pictures that could not be read.
        new: Number of pictures that this process scored.
        seconds: The time that this process took for them.
    """

    path: Path
    pictures: int
    bad: int
    new: int
    seconds: float


def score_pictures(
    weights: str,
    images: Sequence[str],
    out: Path,
    *,
    features: bool = False,
    strict: bool = False,
    batch_size: int = 32,
    shard: Shard | None = None,
    report: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Score pictures into a table with one row per picture, in the order of the list.

    Batches are cut from the whole list, so a picture has the same neighbours and the same scores,
    bit for bit, in a resumed run and in a shard. The same call resumes a run that was killed.

    `images` are a folder, for all pictures below it, or files. With a shard, `out` is the name of
    the whole table. `features` writes the vectors of `keras_se.embeddings` instead. `report` is
    called with a line for each thing left out, `progress` with the pictures done and all.
    """
    table_format(out).check(out)
    if not out.parent.is_dir() or out.is_dir():
        raise ValueError(
            f"`out` must be a file in an existing folder. Received: out={printable(out)!r}"
        )
    if shard is not None:
        out = shard.path(out)
    notes: list[str] = []
    pictures = list_pictures(images, notes.append)
    model = get_model(weights)
    known = describe(model)
    network = _network(model, known, features)
    columns = Columns.of(
        known.classes, network.output_shape[1], not features and known.answers != "values"
    )
    answers = "embeddings" if features else known.answers
    account = {
        "format": FORMAT,
        "weights": printable(weights),
        "answers": answers,
        "strict": strict,
        "batch_size": batch_size,
        "backend": keras.backend.backend(),
        "files": len(pictures.files),
        "names": pictures.names_hash,
        "list": pictures.list_hash,
        "network": network_hash(model, known),
        "shard": shard and [shard.number, shard.count],
    }
    starts = (shard or WHOLE).starts(len(pictures.files), batch_size)
    total = sum(min(batch_size, len(pictures.files) - start) for start in starts)
    with journal(out, account, columns.header(), len(starts)) as log:
        for note in notes:
            report(note)
        work = _Work(pictures, network, known, columns, strict, batch_size, answers)
        already = min(log.batches * batch_size, total)
        progress(already, total)
        begin = time.perf_counter()
        done = already
        for count in work.write(starts[log.batches :], log):
            done += count
            progress(done, total)
        seconds = time.perf_counter() - begin
    return Scored(out, total, log.bad, total - already, seconds)


def _network(model: keras.Model, known: Description, features: bool) -> keras.Model:
    sides_of(known)
    network = feature_network(model) if features else model
    shape = network.output_shape
    if isinstance(shape, list | dict) or len(shape) != 2 or shape[1] is None:
        raise ValueError(
            "`weights` must name a network with one output, (batch, values), for a table. "
            f"Received: outputs of shape {shape}"
        )
    return network


@dataclass(frozen=True)
class _Work:
    """How pictures become rows."""

    pictures: Pictures
    network: keras.Model
    known: Description
    columns: Columns
    strict: bool
    batch_size: int
    answers: str

    def write(self, starts: Sequence[int], log: Journal) -> Iterator[int]:
        """Write the rows of batches; gives the number of pictures of each."""
        # `read_picture` changes the warning filters in several threads; this restores them.
        with warnings.catch_warnings():
            for start, batch, errors in self._decoded(starts):
                positions = range(start, start + len(errors))
                outputs = self._answered(batch)[: len(errors)]
                names = [self.pictures.name(position) for position in positions]
                log.add(self.columns.rows(names, errors, outputs), sum(map(bool, errors)))
                yield len(errors)

    def _decoded(self, starts: Sequence[int]) -> Iterator[tuple[int, np.ndarray, list[str]]]:
        """Start, pictures and errors of each batch, decoded by threads that run ahead."""
        pool = ThreadPoolExecutor()
        shape = (self.batch_size, *sides_of(self.known), self.known.channels)
        waiting: deque[tuple[int, np.ndarray, list[Future[str]]]] = deque()
        try:
            for start in starts:
                # All batches have one size; places without a picture are black.
                batch = np.zeros(shape, "float32")
                stop = min(start + self.batch_size, len(self.pictures.files))
                read = partial(self._read, batch, start)
                waiting.append((start, batch, [pool.submit(read, n) for n in range(start, stop)]))
                if len(waiting) > AHEAD:
                    yield _awaited(*waiting.popleft())
            while waiting:
                yield _awaited(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, batch: np.ndarray, start: int, position: int) -> str:
        """Read a picture into its place in a batch; gives the error in one line, or ""."""
        file = self.pictures.files[position]
        path = self.pictures.root / file
        transform, colours = preprocessing_of(self.known), colours_for(self.known)
        try:
            (batch[position - start],) = read_picture(
                path, transform, colours, self.strict, sides_of(self.known)
            )
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in PASSING:
                raise OSError(
                    f"{printable(path)}: {error.strerror}; run the same command to resume"
                ) from None
            if not self.pictures.root.is_dir():
                raise OSError(f"{printable(self.pictures.root)}: the folder is gone") from None
            return _one_line(error, path, file)
        return ""

    def _answered(self, batch: np.ndarray) -> np.ndarray:
        """The values of the table for a batch, float32."""
        if self.known.channels_first:
            batch = np.ascontiguousarray(np.moveaxis(batch, -1, 1))
        outputs = self.network.predict_on_batch(batch)
        if self.answers == "logits":
            outputs = probabilities(outputs, self.known.scores)
        return np.asarray(outputs, "float32")


def _awaited(
    start: int, batch: np.ndarray, errors: list[Future[str]]
) -> tuple[int, np.ndarray, list[str]]:
    return start, batch, [error.result() for error in errors]


def _one_line(error: Exception, path: Path, file: str) -> str:
    """The error of a picture without its folder, which may differ between machines."""
    text: Any = error.strerror if isinstance(error, OSError) and error.strerror else error
    text = str(text).removeprefix(f"{str(path)!r}: ").replace(repr(str(path)), repr(file))
    return printable(" ".join(text.split())) or type(error).__name__
