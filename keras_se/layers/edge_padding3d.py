"""Padding of volumes before pooling."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_se")
class EdgePadding3D(keras.layers.ZeroPadding3D):
    """`keras.layers.ZeroPadding3D`, except that the depth repeats its first and last slice.

    Pools after it treat a volume of equal slices as they treat one slice, also at the borders.

    Args:
        *args: As for `keras.layers.ZeroPadding3D`.
        **kwargs: As for `keras.layers.ZeroPadding3D`.

    Input shape:
        `(batch, depth, height, width, C)` for `"channels_last"`, `(batch, C, depth, height,
        width)` for `"channels_first"`.

    Output shape:
        As for `keras.layers.ZeroPadding3D`.

    Example:

    >>> layer = keras_se.layers.EdgePadding3D(1)
    >>> y = np.asarray(layer(np.ones((1, 2, 2, 2, 1), "float32")))
    >>> y.shape, y[0, :, 1, 0, 0].tolist(), y[0, :, 1, 1, 0].tolist()
    ((1, 4, 4, 4, 1), [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    """

    def call(self, inputs: Any) -> Any:
        axis = 2 if self.data_format == "channels_first" else 1
        before, after = self.padding[0]
        first = inputs[:, :, :1] if axis == 2 else inputs[:, :1]
        last = inputs[:, :, -1:] if axis == 2 else inputs[:, -1:]
        x = ops.concatenate([first] * before + [inputs] + [last] * after, axis=axis)
        padding = [[0, 0]] * 5
        padding[axis + 1 : axis + 3] = map(list, self.padding[1:])
        return ops.pad(x, padding)
