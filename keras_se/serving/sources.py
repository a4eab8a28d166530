"""What the command line exports: a set of weights, a run, or a model's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se
from keras_se.checks import unknown_choice
from keras_se.training.datasets import DATASETS, load_data, load_pictures
from keras_se.training.files import EncodedPictures
from keras_se.training.recipe import from_dict
from keras_se.weights.entries import Preprocessing, list_weights

# Of a data set, to measure ranges by.
PICTURES = 300


def load(what: str) -> tuple[keras.Model, dict[str, Any]]:
    """A model and what `export` has to be told of it.

    Args:
        what: Name of a set of weights, a run folder, whose last network is taken, or a `.keras`
            file.

    Raises:
        ValueError: If it is none of these, or a set without a classifier.
    """
    entries = {entry.name: entry for entry in list_weights()}
    if what in entries:
        entry = entries[what]
        if not entry.classes:
            raise ValueError(f"`what` must have a classifier. Received: what={what!r}")
        return getattr(keras_se, entry.model)(weights=entry, classes=entry.classes), {}
    if (Path(what) / "recipe.json").is_file():
        return _run(Path(what))
    if what.endswith(".keras") and Path(what).is_file():
        try:
            return keras.saving.load_model(what, compile=False), {}
        except (ValueError, OSError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{what}: expected a model of Keras. Received: {reason}") from None
    raise ValueError(unknown_choice("what", what, entries, "a run folder or a .keras file"))


def _run(folder: Path) -> tuple[keras.Model, dict[str, Any]]:
    recipe = from_dict(json.loads((folder / "recipe.json").read_text("utf-8")))
    test = load_data(recipe, lambda line: None)["test"]
    model = keras.saving.load_model(folder / "last.keras", compile=False)
    # A run's network ends in logits.
    outputs = keras.layers.Activation(recipe.loss, dtype="float32")(model.output)
    model = keras.Model(model.inputs[0], outputs, name=model.name)
    crop = test.crop if isinstance(test, EncodedPictures) else 1.0
    preprocessing = Preprocessing(test.shape[0], crop, "bilinear", (), ())
    return model, {"labels": test.names, "preprocessing": preprocessing}


def pictures(data: str) -> str | np.ndarray:
    """The first training pictures of a data set, or the folder that `data` names instead."""
    if data not in DATASETS:
        return data
    train = load_pictures(data)["train"][:PICTURES]
    return np.asarray(keras.tree.flatten(next(iter(train.evaluation(PICTURES))))[0])
