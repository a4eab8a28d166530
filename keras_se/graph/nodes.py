"""Nodes of an editable graph: each creates a layer and sets its values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.graph.copies import copy_values, twin
from keras_se.graph.trace import Call
from keras_se.layers import ScaleOffset


class Copy:
    """An unchanged layer or operation of the model, inside the nested models named in `path`."""

    def __init__(self, source: Any, path: tuple[str, ...] = ()) -> None:
        self.source = source
        self.path = path
        self.name = source.name

    @property
    def label(self) -> str:
        """The name in the model, `"nested/layer"` in a nested one."""
        return "/".join((*self.path, self.source.name))

    def make(self, name: str) -> Any:
        """Create the new layer, without its values."""
        return twin(self.source, name=name)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the new layer with the old layer's arguments."""
        return layer(*args, **kwargs)

    def fill(self, layer: Any) -> None:
        """Set the built layer's values."""
        if isinstance(layer, layers.Layer):
            copy_values(self.source, layer)


class New:
    """A layer that is not in the model, made by `create`; `values` are of its variables."""

    path = ()

    def __init__(self, create: Callable[..., Any], name: str, **settings: Any) -> None:
        self.create = create
        self.name = name
        self.settings = settings
        self.values: dict[str, np.ndarray] = {}

    def make(self, name: str) -> Any:
        return self.create(name=name, **self.settings)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return layer(*args, **kwargs)

    def fill(self, layer: Any) -> None:
        for attribute, value in self.values.items():
            getattr(layer, attribute).assign(value)


Node = Copy | New


def constant_of(block: Copy, gates: np.ndarray) -> New:
    """Create a multiplication by constants to replace an attention block."""
    axis = 1 if block.source.data_format == "channels_first" else -1
    node = New(ScaleOffset, block.name, axis=axis, dtype=block.source.dtype_policy)
    node.values = {"scale": gates}
    return node


def trains(layer: Any, call: Call) -> bool:
    """Whether the call passes `training=True`, as Monte Carlo dropout does."""
    said = [*call.args[1:], call.kwargs.get("training")]
    if not any(isinstance(value, bool | int) and bool(value) for value in said):
        return False
    # Keras records the default, which is `True` for augmentation.
    training = inspect.signature(layer.call).parameters.get("training")
    return training is None or training.default is not True


def numbers(variable: Any) -> np.ndarray:
    """Return the values in float64."""
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype("float64")
