"""The networks to time, by the names that the command line takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se
from keras_se.benchmarking.runtimes import runtime_of
from keras_se.checks import unknown_choice
from keras_se.description import find_set
from keras_se.resolve import model_file
from keras_se.weights.entries import known_weights

APPLICATIONS = "keras.applications."
# Batch size for BatchNorm statistics.
PICTURES = 8


def check(what: str) -> None:
    """Raise a `ValueError` unless `build` knows the name, or it is an exported file."""
    builders, sets = keras_se.list_models(), [entry.name for entry in known_weights()]
    known = (
        is_built(what)
        or find_set(what) is not None
        or model_file(what) is not None
        or runtime_of(Path(what)) is not None
    )
    if not known:
        more = f"a run folder, a .keras file, an exported one, {APPLICATIONS}NAME"
        raise ValueError(unknown_choice("what", what, [*builders, *sets], more))


def is_built(what: str) -> bool:
    """Whether the name is that of a builder, which takes a size."""
    return what in keras_se.list_models() or _application(what) is not None


def build(what: str, size: int | tuple[int, int] | None = None, plain: bool = False) -> keras.Model:
    """Build a network by name; one without weights gets BatchNorm statistics as if trained.

    `size` replaces a builder's own height and width; `plain` leaves out Squeeze-and-Excitation.
    """
    if not is_built(what):
        return keras_se.get_model(what)
    options: dict[str, Any] = {"se": None} if plain else {}
    if size is not None:
        first = keras.config.image_data_format() == "channels_first"
        sides = (size, size) if isinstance(size, int) else size
        options["input_shape"] = (3, *sides) if first else (*sides, 3)
    model = (_application(what) or getattr(keras_se, what))(weights=None, **options)
    return settle(model, model.input_shape)


def settle(model: Any, shape: tuple[int | None, ...], size: int = 224) -> Any:
    """Set BatchNorm statistics as if the model had been trained, and return it.

    With statistics of zeros and ones, values in a deep network leave float32's normal range, where
    processors are many times slower. The model may be of any version of Keras; `shape` includes the
    batch, and `size` replaces an unknown height or width.
    """
    random = np.random.default_rng(0)
    norms = [layer for layer in _layers(model) if type(layer).__name__ == "BatchNormalization"]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
        # Some networks initialise gamma to zero.
        for variable, low, high in ((layer.gamma, 0.5, 1.5), (layer.beta, -0.3, 0.3)):
            if variable is not None:
                variable.assign(random.uniform(low, high, tuple(variable.shape)))
    pictures = random.uniform(0, 255, (PICTURES, *(n or size for n in shape[1:])))
    model(pictures.astype("float32"), training=True)
    for layer, momentum in zip(norms, before, strict=True):
        layer.momentum = momentum
    return model


def _layers(model: Any) -> list[Any]:
    inner = [_layers(layer) if hasattr(layer, "layers") else [layer] for layer in model.layers]
    return [layer for layers in inner for layer in layers]


def _application(what: str) -> Any:
    name = what.removeprefix(APPLICATIONS)
    found = getattr(keras.applications, name, None) if name != what else None
    return found if callable(found) else None
