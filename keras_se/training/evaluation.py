"""`keras-se evaluate`: how well a set of weights, or a run, names pictures."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se
from keras_se.checks import unknown_choice
from keras_se.labels import class_names
from keras_se.pictures import class_files, colours_of, load_image
from keras_se.training.batches import check_channels_last
from keras_se.training.contents import load_test
from keras_se.training.datasets import DATASETS, load_pictures
from keras_se.training.recipe import BAD_PICTURES, from_dict
from keras_se.training.run import figures, logits
from keras_se.training.tfds import check_data_dir, evaluated_on, is_tfds
from keras_se.weights.entries import Weights, list_weights

BATCH = 100


@dataclass(frozen=True)
class Evaluation:
    """How well a network names pictures.

    Attributes:
        what: The set of weights, or the run folder.
        pictures: How many there are.
        cross_entropy: Mean over all pictures, in nats.
        top1: Share of pictures whose class is the best.
        top5: Share of pictures whose class is among the best five.
        classes: Names of the classes.
        confusion: Counts, `[true class][named class]`.
        skipped: Files that are no pictures, which were left out.
    """

    what: str
    pictures: int
    cross_entropy: float
    top1: float
    top5: float
    classes: list[str]
    confusion: list[list[int]]
    skipped: list[str]

    def per_class(self) -> list[tuple[str, int, float | None]]:
        """Name, number of pictures and top-1 of each class; `None` where there are none."""
        rows = zip(self.classes, self.confusion, strict=True)
        return [
            (name, sum(row), row[n] / sum(row) if sum(row) else None)
            for n, (name, row) in enumerate(rows)
        ]


def evaluate(
    what: str,
    data: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    bad_pictures: str = "refuse",
) -> Evaluation:
    """Evaluate a set of weights or a run.

    Args:
        what: Name of a set of weights, or a run folder, whose last network is taken.
        data: For a set: a folder with one folder of pictures a class, named by the class's
            identifier or name; or `"tfds:NAME"`, the test pictures of a data set that TensorFlow
            Datasets has prepared (where it has none with labels the validation pictures, else a
            fifth of the training pictures), whose classes are found by identifier or name.
            Defaults to `None`: the test part of the set's or run's own data set.
        data_dir: Folder of the data sets that TFDS has prepared. Defaults to `None`, for its own.
        bad_pictures: `"refuse"` (default): a file that is no picture is an error; `"skip"`: it is
            left out and listed.

    Raises:
        ValueError: If there is no such set or run, no such data, or a file is no picture.
    """
    if bad_pictures not in BAD_PICTURES:
        raise ValueError(unknown_choice("bad_pictures", bad_pictures, BAD_PICTURES))
    check_data_dir(data_dir, data)
    check_channels_last()
    entries = {entry.name: entry for entry in list_weights()}
    if what in entries:
        return _evaluate_set(entries[what], data, data_dir, bad_pictures == "skip")
    folder = Path(what)
    if not (folder / "recipe.json").is_file():
        raise ValueError(unknown_choice("what", what, entries, "a run folder"))
    if data is not None:
        raise ValueError(
            f"`data` must not be given with a run folder. Received: data={str(data)!r}"
        )
    return _evaluate_run(folder)


def _evaluate_run(folder: Path) -> Evaluation:
    skipped: list[str] = []
    recipe = from_dict(json.loads((folder / "recipe.json").read_text("utf-8")))
    test = load_test(folder, recipe, skipped.append)
    model = keras.models.load_model(folder / "last.keras", compile=False)
    return _account(
        str(folder), test.names, logits(model, test, recipe.batch), test.labels, skipped
    )


def _evaluate_set(
    entry: Weights, data: str | Path | None, data_dir: str | Path | None, skip: bool
) -> Evaluation:
    dataset = str(entry.dataset).removesuffix("_backbone")
    if data is None and dataset not in DATASETS:
        raise ValueError(
            f"`data` must be a folder of pictures or 'tfds:NAME' for {entry.name}. Received: None"
        )
    if not entry.classes:
        raise ValueError(f"`what` must have a classifier. Received: what={entry.name!r}")
    if data is None:
        test = load_pictures(dataset)["test"]
        return _account(entry.name, test.names, logits(_model(entry), test, BATCH), test.labels, [])
    files = _files(entry, data, data_dir, dataset)
    model = _model(entry)
    outputs: list[np.ndarray] = []
    labels: list[int] = []
    skipped: list[str] = []

    def load(item: tuple[Any, int]) -> tuple[np.ndarray | None, Any, int]:
        try:
            return files.load(item[0]), *item
        except (ValueError, OSError):
            if not skip:
                raise
            return None, *item

    # Reading a picture changes the filters of warnings, in several threads at once.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        for first in range(0, len(files.items), BATCH):
            loaded = list(pool.map(load, files.items[first : first + BATCH]))
            skipped += [files.name(key) for picture, key, _ in loaded if picture is None]
            pictures = [picture for picture, _, _ in loaded if picture is not None]
            labels += [label for picture, _, label in loaded if picture is not None]
            if pictures:
                # Batches of one size, so that nothing is compiled twice.
                filled = np.resize(np.concatenate(pictures), (BATCH, *pictures[0].shape[1:]))
                outputs.append(np.asarray(model.predict_on_batch(filled))[: len(pictures)])
    if not labels:
        raise ValueError(
            f"{data}: expected a picture. Received: {len(skipped)} files that are none"
        )
    scores = np.concatenate(outputs).astype("float64")
    names = [name for _, name in class_names(dataset)]
    return _account(entry.name, names, scores, np.array(labels), skipped)


def _model(entry: Weights) -> keras.Model:
    builder = getattr(keras_se, entry.model)
    return builder(weights=entry, classes=entry.classes, classifier_activation=None)


@dataclass(frozen=True)
class _Files:
    """Pictures that are read when they are needed.

    Attributes:
        items: What tells each picture from the others, and its class.
        load: Gives a picture, as the network takes it.
        name: What to call it in a message.
    """

    items: list[tuple[Any, int]]
    load: Callable[[Any], np.ndarray]
    name: Callable[[Any], str]


def _files(
    entry: Weights, data: str | Path, data_dir: str | Path | None, dataset: str
) -> _Files:  # fmt: skip
    """The pictures of a folder, or of a data set that TFDS has prepared."""
    if not is_tfds(data):
        files = data_set_files(Path(data), dataset)
        return _Files(files, lambda path: load_image(path, entry, convert=True), str)
    records, chosen, names = evaluated_on(data, data_dir)
    places = _places(dataset)
    for identifier, name in class_names(dataset):
        # Whatever TFDS has no names for it numbers.
        if identifier.isdecimal() and identifier != name:
            del places[identifier]
    classes = [places.get(name.replace(" ", "_"), -1) for name in names]
    if -1 in classes:
        name = names[classes.index(-1)]
        raise ValueError(
            f"{data}: every class must be a class of {dataset}. "
            + unknown_choice("class", name, [], f"{next(iter(places))!r} and so on")
        )
    items = [(index, classes[records.labels[index]]) for index in chosen.tolist()]
    transform, colours = entry.preprocessing, colours_of(entry)
    return _Files(items, lambda n: records.picture(n, transform, colours), records.name)


def _places(dataset: str) -> dict[str, int]:
    """The classes of a data set, by identifier, and by name where no other class has the same."""
    classes = class_names(dataset)
    shared = {name for name, count in Counter(name for _, name in classes).items() if count > 1}
    return {name: n for n, both in enumerate(classes) for name in both if name not in shared}


def data_set_files(folder: Path, dataset: str) -> list[tuple[Path, int]]:
    """The pictures in a folder of folders, named by the identifiers or names of the classes."""
    return class_files(folder, _places(dataset), dataset)


def _account(
    what: str, names: Sequence[str], scores: np.ndarray, labels: np.ndarray, skipped: list[str]
) -> Evaluation:
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, scores.argmax(1)), 1)
    return Evaluation(
        what=what,
        pictures=len(labels),
        classes=list(names),
        confusion=confusion.tolist(),
        skipped=skipped,
        **figures(scores, labels),
    )
