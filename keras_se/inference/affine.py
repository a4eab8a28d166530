"""BatchNorm and other layers with a scale and an offset for each channel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.graph.nodes import Copy, numbers
from keras_se.graph.trace import Call, symbolic
from keras_se.layers import ScaleOffset


class Affine(Copy):
    """A layer that computes `x * scale + offset` per channel of `axis`, and then `activation`."""

    def __init__(self, source: Any, path: tuple[str, ...], x: Any) -> None:
        super().__init__(source, path)
        rank = len(x.shape)
        found = _affine(source)
        assert found is not None
        axis, scale, offset = found
        self.axis = axis % rank
        channels = x.shape[self.axis]
        self.scale, self.offset = (np.broadcast_to(v, (channels,)) for v in (scale, offset))
        self.activation = keras.activations.linear
        self.jit_compile = getattr(source, "jit_compile", False)
        # These recompute their scale at every call.
        self.changed = isinstance(source, layers.BatchNormalization | layers.Normalization)

    @property
    def activated(self) -> bool:
        """Whether the layer ends in a nonlinearity."""
        return self.activation is not keras.activations.linear

    @staticmethod
    def accepts(layer: Any, calls: list[Call]) -> bool:
        """Whether the layer computes this in all its calls."""
        found = _affine(layer)
        if found is None or any(not call.inputs for call in calls):
            return False
        axis, scale, _ = found
        shapes = {call.inputs[0].shape for call in calls}
        if len({len(shape) for shape in shapes}) > 1 or any(len(shape) < 2 for shape in shapes):
            return False
        channels = {shape[axis] for shape in shapes}
        return len(channels) == 1 and None not in channels and scale.size in (1, *channels)

    def follow(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Absorb `y * scale + offset` of the output."""
        self.scale, self.offset = self.scale * scale, self.offset * scale + offset
        self.changed = True

    def make(self, name: str) -> Any:
        if not self.changed:
            return super().make(name)
        return ScaleOffset(
            self.axis,
            self.activation,
            self.jit_compile,
            dtype=self.source.dtype_policy,
            name=name,
        )

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # BatchNorm also takes a mask and `training`.
        return layer(symbolic((args, kwargs))[0]) if self.changed else layer(*args, **kwargs)

    def fill(self, layer: Any) -> None:
        if not self.changed:
            super().fill(layer)
            return
        layer.scale.assign(self.scale)
        layer.offset.assign(self.offset)


def _affine(layer: Any) -> tuple[int, np.ndarray, np.ndarray] | None:
    """Return channel axis, scale and offset at inference, or `None` for other layers."""
    if isinstance(layer, layers.BatchNormalization):
        scale = 1 / np.sqrt(numbers(layer.moving_variance) + layer.epsilon)
        if layer.gamma is not None:
            scale *= numbers(layer.gamma)
        offset = -numbers(layer.moving_mean) * scale
        if layer.beta is not None:
            offset += numbers(layer.beta)
        return layer.axis, scale, offset
    if isinstance(layer, layers.Normalization) and layer.mean is not None:
        axis = layer.axis if layer.axis else (-1,)
        if len(axis) > 1 or layer.invert:
            return None
        deviation = np.maximum(np.sqrt(numbers(layer.variance).ravel()), keras.config.epsilon())
        return axis[0], 1 / deviation, -numbers(layer.mean).ravel() / deviation
    if isinstance(layer, layers.Rescaling):
        scale, offset = (np.asarray(v, "float64") for v in (layer.scale, layer.offset))
        # With channels first, Keras gives several factors a special shape.
        first = keras.config.image_data_format() == "channels_first"
        if max(scale.ndim, offset.ndim) > (0 if first else 1):
            return None
        scale, offset = np.broadcast_arrays(scale, offset)
        return -1, scale.ravel(), offset.ravel()
    if isinstance(layer, ScaleOffset) and layer.activation is keras.activations.linear:
        return layer.axis, numbers(layer.scale), numbers(layer.offset)
    if type(layer).__name__ == "LayerScale":
        scale = numbers(layer.gamma)
        return -1, scale, np.zeros_like(scale)
    return None
