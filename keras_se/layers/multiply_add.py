"""A multiplication, an addition and an activation in one pass over the feature maps.

As separate operations they read and write the maps three times, which is most of the cost of a
Squeeze-and-Excitation block at inference.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_se.checks import boolean
from keras_se.layers._arguments import HALF_PRECISION, get_activation


def _multiply_add(activation: Callable[[Any], Any], x: Any, factor: Any, summand: Any) -> Any:
    return activation(x * factor + summand)


@functools.cache
def _compiled(activation: Callable[[Any], Any], rank: int, dtype: str) -> Any:
    """Return one function for all layers; XLA compiles it once per shape of the feature maps."""
    import tensorflow as tf

    return tf.function(
        functools.partial(_multiply_add, activation),
        input_signature=[tf.TensorSpec([None] * rank, dtype)] * 3,
        jit_compile=True,
    )


def _multiply_add_compiled(
    activation: Callable[[Any], Any], x: Any, factor: Any, summand: Any
) -> Any:
    import tensorflow as tf

    compiled = _compiled(activation, len(summand.shape), tf.as_dtype(summand.dtype).name)
    y = compiled(x, factor, summand)
    # The function is traced only once, so it does not know the shape.
    y.set_shape(tf.broadcast_static_shape(x.shape, summand.shape))
    return y


class _MultiplyAddBase(keras.layers.Layer):
    """`activation(x * factor + summand)`."""

    def __init__(
        self, activation: Any = None, jit_compile: bool = False, **layer_kwargs: Any
    ) -> None:
        super().__init__(**layer_kwargs)
        self.activation = get_activation("activation", activation)
        self.jit_compile = boolean("jit_compile", jit_compile)
        self.supports_masking = True

    def multiply_add(self, x: Any, factor: Any, summand: Any) -> Any:
        # TensorFlow's Metal plugin lacks XLA; the other backends compile whole models.
        if (
            self.jit_compile
            and keras.backend.backend() == "tensorflow"
            and platform.system() != "Darwin"
        ):
            return _multiply_add_compiled(self.activation, x, factor, summand)
        return _multiply_add(self.activation, x, factor, summand)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "jit_compile": self.jit_compile,
        }


@keras.saving.register_keras_serializable(package="keras_se")
class MultiplyAdd(_MultiplyAddBase):
    """`activation(x * factor + summand)`: the end of a residual unit with gates.

    Args:
        activation: A Keras activation name, a callable, or `None` (default), the identity.
        jit_compile: On TensorFlow, whether XLA compiles it into one loop per input shape: faster,
            but not supported by every runtime. Defaults to `False`.
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        Three tensors of equal rank that broadcast to the shape of the last, such as
        `(batch, height, width, C)`, `(batch, 1, 1, C)` and `(batch, height, width, C)`, or the same
        with the channels first.

    Output shape:
        The shape of the last input.

    Raises:
        ValueError: If an argument is not one of the above, or the input is not three tensors of
            equal rank.

    Example:

    >>> x, gates = np.ones((2, 7, 7, 64), "float32"), np.full((2, 1, 1, 64), 0.5, "float32")
    >>> layer = keras_se.layers.MultiplyAdd("relu")
    >>> float(layer([x, gates, -2 * x])[0, 0, 0, 0])
    0.0

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Fig. 3 and Eq. 4.
    """

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 3 or len({len(shape) for shape in input_shape}) > 1:
            raise ValueError(
                "`MultiplyAdd` expects a list of three tensors of equal rank. "
                f"Received: input_shape={input_shape}"
            )

    def call(self, inputs: Any) -> Any:
        return self.multiply_add(*inputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape[2])


@keras.saving.register_keras_serializable(package="keras_se")
class ScaleOffset(_MultiplyAddBase):
    """`activation(x * scale + offset)` with a scale and an offset for each channel.

    BatchNorm computes the same at inference. Under a half-precision policy both use float32.

    Args:
        axis: Axis of the channels. Defaults to -1.
        activation: A Keras activation name, a callable, or `None` (default), the identity.
        jit_compile: As for `MultiplyAdd`. Defaults to `False`.
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        Any shape with a known number of channels.

    Output shape:
        The input's shape.

    Raises:
        ValueError: If an argument is not one of the above, or the number of channels is unknown.

    Example:

    >>> layer = keras_se.layers.ScaleOffset(activation="relu")
    >>> tuple(layer(np.ones((2, 7, 7, 64), "float32")).shape)
    (2, 7, 7, 64)

    Reference:
        Ioffe and Szegedy, Batch Normalization (arXiv:1502.03167), Algorithm 2.
    """

    def __init__(
        self,
        axis: int = -1,
        activation: Any = None,
        jit_compile: bool = False,
        **layer_kwargs: Any,
    ) -> None:
        super().__init__(activation, jit_compile, **layer_kwargs)
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise ValueError(f"`axis` must be an integer. Received: axis={axis!r}")
        self.axis = axis

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        axis = self.axis if -len(input_shape) <= self.axis < len(input_shape) else None
        if axis is None or input_shape[axis] is None:
            raise ValueError(
                "`ScaleOffset` needs a known number of channels on its axis. "
                f"Received: axis={self.axis}, input_shape={tuple(input_shape)}"
            )
        shape = (input_shape[axis],)
        # The products have their own precision.
        options: dict[str, Any] = {"shape": shape, "autocast": False}
        self.scale = self.add_weight(name="scale", initializer="ones", **options)
        self.offset = self.add_weight(name="offset", initializer="zeros", **options)

    def call(self, x: Any) -> Any:
        dtype = "float32" if self.compute_dtype in HALF_PRECISION else self.compute_dtype
        shape = [1] * len(x.shape)
        shape[self.axis] = -1
        scale, offset = (ops.reshape(ops.cast(v, dtype), shape) for v in (self.scale, self.offset))
        return ops.cast(self.multiply_add(ops.cast(x, dtype), scale, offset), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
