"""Linear interpolation of pictures of any size."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_se")
class UpSampling2D(keras.layers.UpSampling2D):
    """`keras.layers.UpSampling2D` that interpolates pictures of any, even unknown, size.

    Keras' layer fails to interpolate where the size is not known when a graph is made, as from the
    second size on in `predict` and `fit`.

    Args:
        *args: As for `keras.layers.UpSampling2D`.
        **kwargs: As for `keras.layers.UpSampling2D`; at unknown sizes `interpolation` is
            `"nearest"` or `"bilinear"`.

    Input shape:
        `(batch, height, width, C)` or `(batch, C, height, width)`.

    Output shape:
        The same, with `size` times the height and width.

    Example:

    >>> layer = keras_se.layers.UpSampling2D((1, 2), interpolation="bilinear")
    >>> np.asarray(layer(np.array([[[[0.0], [4.0]]]])))[0, 0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """

    def call(self, inputs: Any) -> Any:
        start = 2 if self.data_format == "channels_first" else 1
        axes = (start, start + 1)
        known = all(isinstance(ops.shape(inputs)[axis], int) for axis in axes)
        if known or self.interpolation != "bilinear":
            return super().call(inputs)
        for axis, factor in zip(axes, self.size, strict=True):
            inputs = _interpolated(inputs, axis, factor)
        return inputs


def _interpolated(x: Any, axis: int, factor: int) -> Any:
    """Interpolate between the centres of the pixels along an axis."""
    size = ops.shape(x)[axis]
    places = (ops.cast(ops.arange(size * factor), "float32") + 0.5) / factor - 0.5
    below = ops.floor(places)
    first, second = (
        ops.take(x, ops.clip(ops.cast(index, "int32"), 0, size - 1), axis)
        for index in (below, below + 1)
    )
    share = [1] * len(x.shape)
    share[axis] = -1
    return first + (second - first) * ops.cast(ops.reshape(places - below, share), x.dtype)
