"""Feature maps in the size of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_se.layers._arguments import get_data_format


@keras.saving.register_keras_serializable(package="keras_se")
class MatchSize(keras.layers.Layer):
    """Crops feature maps to the size of others, or continues them by their outermost values.

    What is too large is cropped at the end of the axis (bottom, right). What is too small is
    centred: its first and last rows and columns repeat, one more at the end if the number is odd.

    Args:
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        A list of two: feature maps, `(batch, *spatial, C)` or `(batch, C, *spatial)`, and others of
        the same rank, of which only the size counts. Sizes may be unknown.

    Output shape:
        The first input's, with the spatial size of the second.

    Raises:
        ValueError: If `data_format` is not one of the above, or the inputs are not two of one rank.

    Example:

    >>> layer = keras_se.layers.MatchSize()
    >>> tuple(layer([np.ones((1, 6, 8, 4)), np.ones((1, 5, 9, 2))]).shape)
    (1, 5, 9, 4)
    """

    def __init__(self, data_format: str | None = None, **layer_kwargs: Any) -> None:
        super().__init__(**layer_kwargs)
        self.data_format = get_data_format(data_format)

    def build(self, input_shape: Sequence[Sequence[int | None]]) -> None:
        ranks = [len(shape) for shape in input_shape if isinstance(shape, list | tuple)]
        if len(ranks) != 2 or ranks[0] != ranks[1]:
            raise ValueError(
                f"{self.name}: expected a list of two feature maps of one rank. "
                f"Received: input_shape={input_shape}"
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        x, other = inputs
        for axis in self._spatial_axes(len(x.shape)):
            found, wanted = ops.shape(x)[axis], ops.shape(other)[axis]
            # Sizes that are not known when a graph is made are tensors, which may differ.
            if not (isinstance(found, int) and isinstance(wanted, int) and found == wanted):
                before = ops.maximum(wanted - found, 0) // 2
                x = ops.take(x, ops.clip(ops.arange(wanted) - before, 0, found - 1), axis)
        return x

    def compute_output_shape(
        self, input_shape: Sequence[Sequence[int | None]]
    ) -> tuple[int | None, ...]:
        shape, other = (list(one) for one in input_shape)
        for axis in self._spatial_axes(len(shape)):
            shape[axis] = other[axis]
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}

    def _spatial_axes(self, rank: int) -> range:
        return range(2, rank) if self.data_format == "channels_first" else range(1, rank - 1)
