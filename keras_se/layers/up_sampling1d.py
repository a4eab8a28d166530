"""Upsampling of signals in either data format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_se.layers._arguments import get_data_format


@keras.saving.register_keras_serializable(package="keras_se")
class UpSampling1D(keras.layers.UpSampling1D):
    """`keras.layers.UpSampling1D` with a data format, as Keras' layers for pictures and volumes.

    Args:
        size: How often each step repeats, an integer of at least 1. Defaults to 2.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        `(batch, length, C)` for `"channels_last"`, `(batch, C, length)` for `"channels_first"`.

    Output shape:
        The same, with `size` times the length.

    Raises:
        ValueError: If `data_format` is not one of the above, or `size` is below 1.
        TypeError: If `size` is no integer.

    Example:

    >>> layer = keras_se.layers.UpSampling1D(2, "channels_first")
    >>> np.asarray(layer(np.array([[[1.0, 2.0, 3.0]]]))).tolist()
    [[[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]]]
    """

    def __init__(self, size: int = 2, data_format: str | None = None, **layer_kwargs: Any) -> None:
        super().__init__(size, **layer_kwargs)
        self.data_format = get_data_format(data_format)

    def call(self, inputs: Any) -> Any:
        return ops.repeat(inputs, self.size, axis=self._axis)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        shape = list(input_shape)
        length = shape[self._axis]
        shape[self._axis] = None if length is None else length * self.size
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}

    @property
    def _axis(self) -> int:
        return 2 if self.data_format == "channels_first" else 1
