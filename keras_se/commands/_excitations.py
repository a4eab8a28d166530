"""`keras-se excitations`: resolves networks and pictures by name."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

import keras_se
from keras_se.analysis.excitations import excitations, measure
from keras_se.analysis.gates import Gates
from keras_se.analysis.result import Excitations
from keras_se.analysis.samples import Samples, of_files, of_tfds
from keras_se.checks import positive_integer
from keras_se.data.datasets import DATASETS, load_pictures
from keras_se.data.tfds import check_data_dir, is_tfds
from keras_se.description import find_set
from keras_se.labels import class_names
from keras_se.pictures import colours_of, load_image
from keras_se.resolve import get_model, model_file, unknown
from keras_se.training.contents import load_test
from keras_se.training.evaluation import data_set_files
from keras_se.training.recipe import from_dict
from keras_se.weights.entries import Weights


def excitations_of(
    what: str, data: str | None, samples: str, data_dir: str | None = None
) -> tuple[keras.Model, Excitations]:
    """The model and the excitations of a set of weights or of a model in a file.

    `data` is a folder with one folder of pictures per class (for a set of weights, named by class
    identifiers or names, and preprocessed by its own evaluation transform), or `tfds:NAME`; `None`
    for the test split of the set's or run's own data set. `samples` is a number per class, or
    `"all"`. `data_dir` is the folder of prepared TFDS data sets, or where a run's data are now.
    """
    if data == "":
        raise ValueError("`data` must be a folder or 'tfds:NAME'. Received: data=''")
    per_class = _per_class(samples)
    entry = find_set(what)
    if entry is not None:
        return _of_set(entry, data, per_class, data_dir)
    if model_file(what) is None:
        raise unknown(what, "model")
    if data is None and (Path(what) / "recipe.json").is_file():
        return _of_run(Path(what), per_class, data_dir)
    if data is None:
        raise ValueError(
            f"`data` must be a folder of pictures or 'tfds:NAME' for {what}. Received: None"
        )
    model = get_model(what)
    return model, excitations(model, data, samples_per_class=per_class, data_dir=data_dir)


def _of_run(
    folder: Path, per_class: int | None, data_dir: str | None
) -> tuple[keras.Model, Excitations]:
    recipe = from_dict(json.loads((folder / "recipe.json").read_text("utf-8")))
    test = load_test(folder, recipe, lambda _: None, data_dir)

    def load(indices: np.ndarray) -> np.ndarray:
        (batch,) = test[indices].evaluation(len(indices))
        return np.asarray(keras.tree.flatten(batch)[0])

    # A picture with a mask has no class of its own.
    names = list(test.names) if recipe.head is None else ["pictures"]
    source, model = Samples(test.labels, load, len(names)), get_model(folder)
    return model, measure(Gates(model), source, per_class, names)


def _of_set(
    entry: Weights, data: str | None, per_class: int | None, data_dir: str | None
) -> tuple[keras.Model, Excitations]:
    dataset = str(entry.dataset).removesuffix("_backbone")
    if data is None and dataset not in DATASETS:
        raise ValueError(
            f"`data` must be a folder of pictures or 'tfds:NAME' for {entry.name}. Received: None"
        )
    if entry.plain:
        raise ValueError(
            "`model` must have been trained with Squeeze-and-Excitation; all gates of "
            f"{entry.name} are one half. Received: model={entry.name!r}"
        )
    if entry.rank != 2:
        raise ValueError(
            f"`model` must take pictures. Received: model={entry.name!r}, a set for volumes"
        )
    check_data_dir(data_dir, data)
    names = [name for _, name in class_names(dataset)]
    source: Samples
    if data is None:
        test = load_pictures(dataset)["test"]
        source = Samples(test.labels, lambda indices: test.pictures[indices], len(names))
    elif is_tfds(data):
        source, own = of_tfds(data, data_dir, entry.preprocessing, colours_of(entry))
        names = [dict(class_names(dataset)).get(name, name) for name in own]
    else:
        files = data_set_files(Path(data), dataset)
        source = of_files(files, lambda path: load_image(path, entry), len(names))
    head = {"classes": entry.classes} if entry.classes else {"include_top": False}
    model = getattr(keras_se, entry.model)(weights=entry, **head)
    return model, measure(Gates(model), source, per_class, names)


def _per_class(samples: str) -> int | None:
    if samples != "all" and not samples.isdecimal():
        raise ValueError(
            "`samples-per-class` must be an integer of at least 1, or 'all'. "
            f"Received: samples-per-class={samples!r}"
        )
    return None if samples == "all" else positive_integer("samples-per-class", int(samples))
