"""Copies of layers: the same settings, variables of their own with the same values."""

from __future__ import annotations

import warnings
from types import FunctionType
from typing import Any

import numpy as np
from keras import layers

from keras_se.graph.facts import OWNERS


def known(operation: Any) -> bool:
    """Whether the class is Keras' or this package's: a user's subclass may compute anything."""
    return type(operation).__module__.split(".")[0] in OWNERS


def has_own_kernel(layer: Any) -> bool:
    """Whether the layer's kernel is a variable that can be multiplied."""
    return not (getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))


def twin(layer: Any, **changes: Any) -> Any:
    """A layer or operation with the same settings but for the changed ones, as far as it has them.

    Raises:
        ValueError: If its configuration does not describe the layer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lambdas in a file may be unsafe: these are in none.
            config = layer.get_config()
        config.update({key: changes[key] for key in changes.keys() & config.keys()})
        # A user's functions need not be known to Keras by a name, so they are handed over.
        functions = {k: f for k, f in vars(layer).items() if isinstance(f, FunctionType)}
        if isinstance(layer, layers.Lambda):
            named = {f.__name__: f for f in functions.values()}
            new = layers.Lambda.from_config(config, custom_objects=named, safe_mode=False)
            new.function = layer.function
            return new
        for key in functions.keys() & config.keys():
            if isinstance(config[key], dict):
                config[key] = functions[key]
        return type(layer).from_config(config)
    except Exception as error:  # Of a user's own class.
        raise _undescribed(layer, error) from error


def copy_values(old: Any, new: Any) -> None:
    """Give the built twin the layer's values; a scale that only the twin has becomes one.

    Raises:
        ValueError: If the twin has other variables, or the same ones.
    """
    sources, targets = old.variables, new.variables
    if isinstance(old, layers.BatchNormalization) and old.gamma is None and new.gamma is not None:
        new.gamma.assign(np.ones(new.gamma.shape))
        targets = [variable for variable in targets if variable is not new.gamma]
    if [x.shape for x in targets] != [x.shape for x in sources]:
        raise _undescribed(old, "the copy has other variables")
    if len(targets) == len(new.variables):
        # A preprocessing layer computes something from its variables when they are loaded.
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        new.load_own_variables(store)
    for target, source in zip(targets, sources, strict=True):
        if target is source:
            raise _undescribed(old, "the copy has the same variables")
        target.assign(source)
        target.trainable = source.trainable


def _undescribed(layer: Any, reason: object) -> ValueError:
    return ValueError(
        "`model` must have layers that `get_config` and `from_config` can copy. "
        f"Received: layer {layer.name!r} of type {type(layer).__name__} "
        f"({' '.join(str(reason).split())[:200]})"
    )
