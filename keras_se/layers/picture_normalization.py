"""The first layer of a network: image normalisation and the expected input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.checks import one_of, shortened
from keras_se.layers import _records
from keras_se.layers._arguments import HALF_PRECISION, channel_axis, get_data_format
from keras_se.layers._ranks import rank_of

CHANNEL_ORDERS = ("RGB", "BGR")
# Longest value in an error, in characters.
SHOWN = 100
# These determine the function that a network computes; the others say how to prepare an image.
COMPARED = ("mean", "std", "channel_order", "architecture")


@keras.saving.register_keras_serializable(package="keras_se")
class PictureNormalization(keras.layers.Layer):
    """Normalises images, and stores the input that the network expects.

    Channel c becomes `(x - 255 * mean[c]) / (255 * std[c])`. An image with one channel is repeated
    for each channel of `mean`. The other arguments do not affect the computation: they are kept in
    `.keras` and `.weights.h5` files, in copies, and in models built on its tensors. Loading a
    `.weights.h5` file from a network with another normalisation or architecture raises an error.

    Args:
        mean: Means of the channels in 0..1, in RGB order.
        std: Standard deviations of the channels in 0..1.
        channel_order: `"RGB"` (default), or `"BGR"`: the channels are reversed afterwards.
        size: Height and width of the images for evaluation. Defaults to `None`: unknown.
        crop: Share of the resized image's shorter side that is kept for evaluation, above 0 and
            at most 1. Defaults to `None`: unknown.
        interpolation: Interpolation of the resize, `"bilinear"` (default) or `"bicubic"`.
        architecture: The network's builder, and its settings that differ from the builder's
            defaults. Defaults to `None`: unknown.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        `(batch, H, W, C)` in 0..255, or `(batch, C, H, W)` for `"channels_first"`; without W for
        signals, with a further axis for volumes. C is one or the number of means.

    Output shape:
        The input's shape, with as many channels as there are means.

    Raises:
        ValueError: If an argument is not one of the above, or the number of channels does not fit.

    Example:

    >>> layer = keras_se.layers.PictureNormalization([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    >>> float(layer(np.full((1, 2, 2, 3), 255.0))[0, 0, 0, 0])
    1.0
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        channel_order: str = "RGB",
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str = "bilinear",
        architecture: Mapping[str, Any] | None = None,
        data_format: str | None = None,
        **layer_kwargs: Any,
    ) -> None:
        super().__init__(**layer_kwargs)
        if len(mean) != len(std) or not len(mean):
            raise ValueError(
                "`mean` and `std` must have one number per channel. "
                f"Received: mean={mean!r}, std={std!r}"
            )
        one_of(*CHANNEL_ORDERS)("channel_order", channel_order)
        # Keras wraps lists and mappings that are layer attributes, hence tuples and `_Frozen`.
        self.mean = tuple(map(float, mean))
        self.std = tuple(map(float, std))
        self.channel_order = channel_order
        self.size = size
        self.crop = crop
        self.interpolation = interpolation
        self._architecture = None if architecture is None else _Frozen(architecture)
        self.data_format = get_data_format(data_format)

    @property
    def architecture(self) -> dict[str, Any] | None:
        """The network's builder and settings, if known."""
        return None if self._architecture is None else dict(self._architecture.value)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        axis = channel_axis(self.data_format)
        channels = input_shape[axis]
        if channels not in (1, len(self.mean)):
            raise ValueError(
                f"{self.name}: expected images with 1 or {len(self.mean)} channels. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={axis: channels})
        self.built = True

    def call(self, inputs: Any) -> Any:
        axis = channel_axis(self.data_format)
        shape = (-1, *[1] * rank_of(inputs)) if axis == 1 else (-1,)
        # NumPy values: cached tensors would be missing from exported graphs.
        precise = "float32" if self.compute_dtype in HALF_PRECISION else self.compute_dtype
        mean, std = (
            np.asarray(255 * np.asarray(values), precise).reshape(shape)
            for values in (self.mean, self.std)
        )
        x = ops.divide(ops.subtract(ops.cast(inputs, precise), mean), std)
        x = ops.flip(x, axis) if self.channel_order == "BGR" else x
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        shape = list(input_shape)
        shape[channel_axis(self.data_format)] = len(self.mean)
        return tuple(shape)

    def record(self) -> dict[str, Any]:
        """Return the arguments that belong to the network in either data format, as JSON values."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "channel_order": self.channel_order,
            "size": self.size,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "architecture": self.architecture,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.record(), "data_format": self.data_format}

    def save_own_variables(self, store: Any) -> None:
        _records.write(store, self.record())

    def load_own_variables(self, store: Any) -> None:
        record = _records.read(store)
        if record is None:
            return
        own = self.record()
        for key in COMPARED:
            theirs = record.get(key)
            if theirs is not None and own[key] is not None and theirs != own[key]:
                raise ValueError(
                    f"the weights belong to a network with {key}={shortened(theirs, SHOWN)}. "
                    f"Received: a network with {key}={shortened(own[key], SHOWN)}"
                )
        if self.crop is None:
            self.size, self.crop = record.get("size"), record.get("crop")
            self.interpolation = record.get("interpolation", self.interpolation)


class _Frozen:
    """Hides a mapping from Keras' attribute tracking."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = value
