"""The building blocks of decoders, for signals, pictures and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_se.checks import Check, positive_integer, tuple_of
from keras_se.graph.trace import recursion
from keras_se.layers import Dense, MatchSize, UpSampling1D
from keras_se.layers._arguments import HALF_PRECISION, channel_axis, get_activation
from keras_se.layers._ranks import rank_of, ranked
from keras_se.layers.dense import HEAD
from keras_se.models._network import batch_norm, relu


def check_classes(classes: Any, activation: Any) -> Any:
    """The activation function of the head, or a `ValueError` unless it suits the classes."""
    positive_integer("classes", classes)
    function = get_activation("classifier_activation", activation)
    if classes == 1 and function is keras.activations.softmax:
        raise ValueError(
            "`classifier_activation` must be 'sigmoid' or None with one class, whose softmax is "
            f"always one. Received: classifier_activation={activation!r}, classes=1"
        )
    return function


def exactly(count: int) -> Check[tuple[int, ...]]:
    """So many integers of at least 1."""
    integers = tuple_of(positive_integer, "", least=count)
    return Check(
        f"{count} integers of at least 1",
        lambda value: integers.accepts(value) and len(value) == count,
        integers.stored,
    )


def conv_bn_relu(x: Any, filters: int, name: str) -> Any:
    """A 3x3 convolution without a bias, BatchNorm and ReLU."""
    x = convolution(x, filters, 3, f"{name}_conv", use_bias=False)
    return relu(batch_norm(x, f"{name}_bn"), f"{name}_relu")


def convolution(x: Any, filters: int, kernel: int, name: str, *, use_bias: bool = True) -> Any:
    """A convolution that keeps the size."""
    return ranked("Conv", rank_of(x))(
        filters, kernel, padding="same", use_bias=use_bias, kernel_initializer="he_uniform",
        name=name,
    )(x)  # fmt: skip


def up_sampling(rank: int) -> Any:
    """The class of layers that repeat values; Keras' own for signals has no data format."""
    return UpSampling1D if rank == 1 else ranked("UpSampling", rank)


def enlarged(x: Any, like: Any, factor: int, name: str) -> Any:
    """Enlarge feature maps by repeating values, then bring them to the size of others.

    Args:
        x: The feature maps.
        like: Feature maps of the wanted size, or `None` for any.
        factor: The factor, at least 1.
        name: Name of the layers.
    """
    if factor > 1:
        x = up_sampling(rank_of(x))(factor, name=f"{name}_up")(x)
    return x if like is None else MatchSize(name=f"{name}_fit")([x, like])


def joined(several: Sequence[Any], name: str) -> Any:
    """Concatenate feature maps along their channels."""
    return layers.Concatenate(axis=channel_axis(), name=name)(several)


def channels_last(x: Any, name: str) -> Any:
    """The maps with channels last."""
    rank = rank_of(x)
    if channel_axis() != 1:
        return x
    return layers.Permute((*range(2, rank + 2), 1), name=name)(x)


def head_dtype() -> str | None:
    """The type of the head's layers: float32 under a half-precision policy."""
    half = keras.config.dtype_policy().compute_dtype in HALF_PRECISION
    return "float32" if half else None


def pixel_classifier(x: Any, classes: int, activation: Any) -> Any:
    """The classifier of every pixel, a 1x1 convolution, of maps with channels last."""
    return Dense(classes, activation=activation, dtype=head_dtype(), name=HEAD)(x)


def network(backbone: keras.Model, output: Any, name: str | None, suffix: str) -> keras.Model:
    """The model from a backbone's input to an output."""
    with recursion(1000 + 2 * len(backbone.layers)):
        return keras.Model(backbone.inputs[0], output, name=name or f"{backbone.name}_{suffix}")
