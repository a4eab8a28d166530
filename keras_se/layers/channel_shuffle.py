"""The channel shuffle of ShuffleNet."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_se.checks import positive_integer
from keras_se.layers._arguments import channel_axis, get_data_format


@keras.saving.register_keras_serializable(package="keras_se")
class ChannelShuffle(keras.layers.Layer):
    """Deals the channels of each group to all groups, as in ShuffleNet.

    Channel `i * n + j` of the input, the j-th of group i with n channels, becomes channel
    `j * groups + i`.

    Args:
        groups: Number of groups, a divisor of the number of channels.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        `(batch, *spatial, C)` or `(batch, C, *spatial)`, with one, two or three spatial axes.

    Output shape:
        The input's shape.

    Raises:
        ValueError: If an argument is not one of the above, the input's rank is not 3, 4 or 5, or
            its number of channels is unknown or not a multiple of `groups`.

    Reference:
        Zhang et al., ShuffleNet (arXiv:1707.01083), Section 3.1.
    """

    def __init__(self, groups: int, data_format: str | None = None, **layer_kwargs: Any) -> None:
        super().__init__(**layer_kwargs)
        self.groups = positive_integer("groups", groups)
        self.data_format = get_data_format(data_format)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = (
            input_shape[channel_axis(self.data_format)] if 3 <= len(input_shape) <= 5 else None
        )
        if channels is None or channels % self.groups:
            raise ValueError(
                "`ChannelShuffle` expects an input of rank 3, 4 or 5 whose number of channels is "
                f"a multiple of groups={self.groups}. Received: input_shape={tuple(input_shape)}, "
                f"data_format={self.data_format!r}"
            )

    def call(self, x: Any) -> Any:
        axis = channel_axis(self.data_format, rank=len(x.shape))
        shape = list(ops.shape(x))
        split = [*shape[:axis], self.groups, x.shape[axis] // self.groups, *shape[axis + 1 :]]
        return ops.reshape(ops.swapaxes(ops.reshape(x, split), axis, axis + 1), shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "data_format": self.data_format}
