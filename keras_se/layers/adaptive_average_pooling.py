"""Pooling from any size to a fixed size."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_se.layers._arguments import channel_axis
from keras_se.layers._precise import matmul


class _AnySize:
    """Overrides the call of Keras' layers of any rank."""

    def call(self: Any, inputs: Any) -> Any:
        rank = len(inputs.shape)
        axes = [n for n in range(1, rank) if n != channel_axis(self.data_format, rank)]
        for axis, parts in zip(axes, self.output_size, strict=True):
            if inputs.shape[axis] != parts:
                inputs = _averages(inputs, axis, parts)
        return inputs


@keras.saving.register_keras_serializable(package="keras_se")
class AdaptiveAveragePooling1D(_AnySize, keras.layers.AdaptiveAveragePooling1D):
    """`keras.layers.AdaptiveAveragePooling1D` for feature maps of any, even unknown, size.

    Args:
        *args: As for `keras.layers.AdaptiveAveragePooling1D`.
        **kwargs: As for `keras.layers.AdaptiveAveragePooling1D`.

    Input shape:
        `(batch, length, C)` or `(batch, C, length)`.

    Output shape:
        The same, with `output_size` in place of the length.
    """


@keras.saving.register_keras_serializable(package="keras_se")
class AdaptiveAveragePooling2D(_AnySize, keras.layers.AdaptiveAveragePooling2D):
    """`keras.layers.AdaptiveAveragePooling2D` for feature maps of any, even unknown, size.

    Keras' layer needs a known size and, on TensorFlow, more than one row and column.

    Args:
        *args: As for `keras.layers.AdaptiveAveragePooling2D`.
        **kwargs: As for `keras.layers.AdaptiveAveragePooling2D`.

    Input shape:
        `(batch, height, width, C)` or `(batch, C, height, width)`.

    Output shape:
        The same, with `output_size` in place of height and width.
    """


@keras.saving.register_keras_serializable(package="keras_se")
class AdaptiveAveragePooling3D(_AnySize, keras.layers.AdaptiveAveragePooling3D):
    """`keras.layers.AdaptiveAveragePooling3D` for feature maps of any, even unknown, size.

    Args:
        *args: As for `keras.layers.AdaptiveAveragePooling3D`.
        **kwargs: As for `keras.layers.AdaptiveAveragePooling3D`.

    Input shape:
        `(batch, depth, height, width, C)` or `(batch, C, depth, height, width)`.

    Output shape:
        The same, with `output_size` in place of depth, height and width.
    """


def _averages(x: Any, axis: int, parts: int) -> Any:
    """Average an axis over `parts` windows, which overlap where the size does not divide evenly."""
    size = ops.shape(x)[axis]
    part, position = ops.arange(parts)[:, None], ops.arange(size)[None, :]
    # From the window's start rounded down to its end rounded up.
    inside = (position * parts < (part + 1) * size) & ((position + 1) * parts > part * size)
    weights = ops.cast(inside, x.dtype)
    weights /= ops.sum(weights, axis=1, keepdims=True)
    y = matmul(ops.moveaxis(x, axis, -1), ops.transpose(weights))
    return ops.moveaxis(y, -1, axis)
