"""The files that a run writes into its folder, each atomically."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from filelock import FileLock, Timeout

from keras_se.data.labelled import Data
from keras_se.files import atomic, writing
from keras_se.labels import probabilities
from keras_se.training.account import Events, card, draw_curves
from keras_se.training.contents import DATA, FILES, contents_of, data_account, packed
from keras_se.training.environment import environment
from keras_se.training.recipe import Recipe
from keras_se.training.run_folder import (
    ENVIRONMENT,
    EVENTS,
    LOCK,
    RECIPE,
    TEACHER,
    check_new,
    remove_half_written,
)
from keras_se.training.tasks import task_of

# Columns of the predictions before those of the classes.
OWN = ("picture", "class")


class Taken(ValueError):  # noqa: N818
    """Another process is training in the folder."""


class RunFiles:
    """The files of a run in its folder. With several processes, only the chief writes them."""

    def __init__(self, folder: Path, recipe: Recipe, chief: bool) -> None:
        self.folder, self.recipe, self.chief = folder, recipe, chief
        self.events: Events | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, created if it is missing."""
        if not self.chief:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.folder / LOCK).acquire(timeout=0)
        except Timeout:
            raise Taken(f"{self.folder}: another process is training here") from None
        with lock:
            remove_half_written(self.folder)
            yield

    def begin(
        self, parts: Mapping[str, Data], described: Mapping[str, Mapping[str, Any]],
        teacher: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write the recipe, the environment and the records of the data and of the teacher."""
        if not self.chief:
            return
        # Again, now locked: another process may have started a run.
        check_new(self.folder)
        self._write(RECIPE, _json(self.recipe.as_dict()))
        self._write(ENVIRONMENT, _json(environment()))
        self._write(DATA, _json(data_account(parts, described), ensure_ascii=False))
        self._write(FILES, packed(contents_of(parts)))
        if teacher is not None:
            self._write(TEACHER, _json(teacher))

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the figures of all epochs: `metrics.csv` and TensorBoard's events."""
        if not self.chief:
            return
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in history for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self._write("metrics.csv", text.getvalue())
        self.events = self.events or Events(self.folder / EVENTS)
        self.events.write(history)

    def write_network(self, network: keras.Model, names: Iterable[str]) -> None:
        """Write a network that is not compiled, and its weights, under each of some names."""
        for name in names if self.chief else ():
            path = self.folder / f"{name}.keras"
            with writing(path), atomic(path, ".keras") as temporary:
                network.save(temporary)
            # Not `save_weights`: HDF5 crashes on a full disk.
            with zipfile.ZipFile(path) as archive:
                self._write(f"{name}.weights.h5", archive.read("model.weights.h5"))

    def write_predictions(self, data: Data, logits: np.ndarray) -> None:
        """Write the class and the probabilities of each picture of a fold: `out_of_fold.csv`."""
        if not self.chief:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        # As in the tables of `predict`, classes are numbered if a name is taken.
        named = len({*OWN, *data.names}) == len(OWN) + data.classes
        writer.writerow([*OWN, *(data.names if named else range(data.classes))])
        scores = probabilities(logits, self.recipe.loss)
        for key, label, row in zip(data.keys(), data.labels, scores, strict=True):
            own = [label] if data.labels.ndim == 1 else np.flatnonzero(label).tolist()
            shown = self.recipe.separator.join(data.names[n] for n in own)
            writer.writerow([key, shown, *(f"{score:.7g}" for score in row)])
        self._write("out_of_fold.csv", text.getvalue())

    def finish(
        self, data: Data, validation: str, history: Sequence[Mapping[str, float]],
        results: Mapping[str, Any],
    ) -> bool:  # fmt: skip
        """Write the results, the card and the curves; `False` if Matplotlib is not installed."""
        if not self.chief:
            return True
        self._write("results.json", _json(results))
        self._write("README.md", card(self.recipe, data, validation, history, results))
        return draw_curves(history, self.folder / "curves.png", task_of(self.recipe))

    def _write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        with writing(path), atomic(path) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def _json(content: Mapping[str, Any], *, ensure_ascii: bool = True) -> str:
    return json.dumps(content, indent=2, ensure_ascii=ensure_ascii) + "\n"
