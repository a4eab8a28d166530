"""Copies of layers: the same settings, and their own variables with the same values."""

from __future__ import annotations

import warnings
from types import FunctionType
from typing import Any

import numpy as np
from keras import layers

from keras_se.graph.facts import OWNERS


def known(operation: Any) -> bool:
    """Whether the class is Keras' or this package's; a user's subclass may compute anything."""
    return type(operation).__module__.split(".")[0] in OWNERS


def has_own_kernel(layer: Any) -> bool:
    """Whether the layer's kernel is a variable that can be scaled."""
    return not (getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))


def twin(layer: Any, kind: Any = None, **changes: Any) -> Any:
    """Return a copy of a layer or operation, with those of `changes` that it has as settings.

    Args:
        layer: The layer or operation.
        kind: Another class with the same settings. Defaults to the layer's own.
        **changes: New values of settings.

    Raises:
        ValueError: If the layer's configuration does not describe it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lambdas from files may be unsafe; these are not.
            config = layer.get_config()
        config.update({key: changes[key] for key in changes.keys() & config.keys()})
        # Keras may not know a user's functions by name, so pass them on.
        functions = {k: f for k, f in vars(layer).items() if isinstance(f, FunctionType)}
        if isinstance(layer, layers.Lambda):
            named = {f.__name__: f for f in functions.values()}
            new = layers.Lambda.from_config(config, custom_objects=named, safe_mode=False)
            new.function = layer.function
            return new
        for key in functions.keys() & config.keys():
            if isinstance(config[key], dict):
                config[key] = functions[key]
        return (kind or type(layer)).from_config(config)
    except Exception as error:  # A user's class may raise anything.
        raise _undescribed(layer, error) from error


def copy_values(old: Any, new: Any) -> None:
    """Copy the layer's values to the built twin; a scale that only the twin has becomes one.

    Raises:
        ValueError: If the twin's variables do not match, or are the layer's own.
    """
    sources, targets = old.variables, new.variables
    if isinstance(old, layers.BatchNormalization) and old.gamma is None and new.gamma is not None:
        new.gamma.assign(np.ones(new.gamma.shape))
        targets = [variable for variable in targets if variable is not new.gamma]
    if [x.shape for x in targets] != [x.shape for x in sources]:
        raise _undescribed(old, "the copy has different variables")
    if len(targets) == len(new.variables):
        # A preprocessing layer derives state from its variables when they are loaded.
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        new.load_own_variables(store)
    for target, source in zip(targets, sources, strict=True):
        if target is source:
            raise _undescribed(old, "the copy shares its variables")
        target.assign(source)
        target.trainable = source.trainable


def _undescribed(layer: Any, reason: object) -> ValueError:
    return ValueError(
        "`model` must have layers that `get_config` and `from_config` can copy. "
        f"Received: layer {layer.name!r} of type {type(layer).__name__} "
        f"({' '.join(str(reason).split())[:200]})"
    )
