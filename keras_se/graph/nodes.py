"""Nodes of an editable graph: each knows the layer that it becomes, and that layer's values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.graph.copies import copy_values, twin
from keras_se.graph.trace import Call


class Copy:
    """A layer or operation of the model as it is.

    Attributes:
        source: The model's own.
        path: Names of the nested models that it is in.
    """

    def __init__(self, source: Any, path: tuple[str, ...] = ()) -> None:
        self.source = source
        self.path = path
        self.name = source.name

    @property
    def label(self) -> str:
        """Its name in the model, `"nested/layer"` in a nested one."""
        return "/".join((*self.path, self.source.name))

    def make(self, name: str) -> Any:
        """The new layer, without its values."""
        return twin(self.source, name=name)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the new layer with the arguments of the old one."""
        return layer(*args, **kwargs)

    def fill(self, layer: Any) -> None:
        """Give the built layer its values."""
        if isinstance(layer, layers.Layer):
            copy_values(self.source, layer)


class New:
    """A layer that the model does not have.

    Attributes:
        create: Its class or another function that makes it.
        settings: The arguments.
        values: Its variables, by attribute.
    """

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


def trains(layer: Any, call: Call) -> bool:
    """Whether the call says `training=True`, as Monte Carlo dropout does."""
    said = [*call.args[1:], call.kwargs.get("training")]
    if not any(isinstance(value, bool | int) and bool(value) for value in said):
        return False
    # Keras notes down the default, which is true of augmentation.
    training = inspect.signature(layer.call).parameters.get("training")
    return training is None or training.default is not True


def numbers(variable: Any) -> np.ndarray:
    """The values in float64."""
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype("float64")
