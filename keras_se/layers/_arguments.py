"""Argument checks shared by several layers."""

from __future__ import annotations

from typing import Any

import keras

from keras_se.checks import one_of

HALF_PRECISION = ("float16", "bfloat16")
DATA_FORMATS = ("channels_last", "channels_first")


def get_activation(argument: str, activation: Any) -> Any:
    """Return the activation function, or raise a `ValueError` that names the argument."""
    try:
        return keras.activations.get(activation)
    except (ValueError, TypeError):
        raise ValueError(
            f"`{argument}` must be None, a callable, or the name of a Keras activation such as "
            f"'relu'. Received: {argument}={activation!r}"
        ) from None


def get_data_format(data_format: str | None) -> str:
    """Return the data format, by default Keras' setting, or raise a `ValueError`."""
    if data_format is None:
        return str(keras.config.image_data_format())
    one_of(*DATA_FORMATS)("data_format", data_format)
    return data_format


def channel_axis(data_format: str | None = None, rank: int = 0) -> int:
    """Return the channel axis, by default in Keras' data format and counted from the end."""
    return 1 if get_data_format(data_format) == "channels_first" else rank - 1
