"""The Squeeze-and-Excitation block as one layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

from keras_se.checks import boolean, positive_integer, unknown_choice
from keras_se.config import Gate, Squeeze, check_squeeze_and_gate
from keras_se.layers._precise import matmul, mean

HALF_PRECISION = ("float16", "bfloat16")
DATA_FORMATS = ("channels_last", "channels_first")
VARIABLES = ("reduce_kernel", "reduce_bias", "expand_kernel", "expand_bias")

Calls = list[tuple["SqueezeExcite", Any, Any]]
_recorded: ContextVar[Calls | None] = ContextVar("recorded", default=None)


@contextmanager
def recorded_gates() -> Iterator[Calls]:
    """The blocks that are called inside, in the order of their calls: block, gates, mask."""
    calls: Calls = []
    token = _recorded.set(calls)
    try:
        yield calls
    finally:
        _recorded.reset(token)


def get_activation(argument: str, activation: Any) -> Any:
    """The activation function of that name, or a `ValueError` that names the argument."""
    try:
        return keras.activations.get(activation)
    except (ValueError, TypeError):
        raise ValueError(
            f"`{argument}` must be None, a callable, or the name of a Keras activation such as "
            f"'relu'. Received: {argument}={activation!r}"
        ) from None


def get_data_format(data_format: str | None) -> str:
    """The data format, Keras' setting for `None`, or a `ValueError`."""
    if data_format is None:
        return str(keras.config.image_data_format())
    if data_format not in DATA_FORMATS:
        raise ValueError(unknown_choice("data_format", data_format, DATA_FORMATS))
    return data_format


@keras.saving.register_keras_serializable(package="keras_se")
class SqueezeExcite(keras.layers.Layer):
    """Squeeze-and-Excitation: scales every channel by a gate computed from all channels.

    `x -> x * s` with `s = gate(W2 activation(W1 z + b1) + b2)`, where `z` is the mean (or the
    maximum) of each channel over every spatial position. `W1` has `C x hidden` and `W2`
    `hidden x C` values, `hidden = max(1, C // ratio)`.

    Under a half-precision policy the squeeze and the gate are computed in float32.

    Positions that a mask leaves out, such as the padded steps behind `keras.layers.Masking` or
    `Embedding(mask_zero=True)`, do not count in the squeeze, as in
    `keras.layers.GlobalAveragePooling1D`; the squeeze of no position at all is zero.

    Args:
        ratio: Reduction ratio r, an integer of at least 1. Defaults to 16.
        squeeze: `"avg"` (default), `"max"`, or `None`: no pooling, the two fully connected
            layers act at every position (the paper's NoSqueeze).
        gate: Nonlinearity of the gate: `"sigmoid"` (default, values in 0..1), `"tanh"`,
            `"relu"` or `"hard_sigmoid"`.
        activation: Activation between the fully connected layers: a Keras activation name or a
            callable. Defaults to `"relu"`.
        use_bias: Whether the fully connected layers have biases. Defaults to `True`.
        hidden_units: Width of the bottleneck, an integer of at least 1, in place of the one
            that follows from `ratio`. Defaults to `None`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, *spatial, C)` for `"channels_last"`, `(batch, C, *spatial)` for
        `"channels_first"`, with one, two or three spatial axes of any size, also unknown.

    Output shape:
        The input's shape, with the input's mask.

    Raises:
        ValueError: If an argument is not one of the above, the input's rank is not 3, 4 or 5, or
            its channel count is unknown.

    Example:

    >>> x = np.random.rand(2, 56, 56, 256).astype("float32")
    >>> layer = keras_se.SqueezeExcite(ratio=16)
    >>> tuple(layer(x).shape), tuple(layer.gates(x).shape)
    ((2, 56, 56, 256), (2, 256))

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 3, Eqs. 2 to 4.
    """

    def __init__(
        self,
        ratio: int = 16,
        *,
        squeeze: Squeeze = "avg",
        gate: Gate = "sigmoid",
        activation: Any = "relu",
        use_bias: bool = True,
        hidden_units: int | None = None,
        data_format: str | None = None,
        **layer_kwargs: Any,
    ) -> None:
        super().__init__(**layer_kwargs)
        check_squeeze_and_gate(squeeze, gate)
        self.ratio = positive_integer("ratio", ratio)
        self.squeeze = squeeze
        self.gate = gate
        self.activation = get_activation("activation", activation)
        self.use_bias = boolean("use_bias", use_bias)
        if hidden_units is not None:
            hidden_units = positive_integer("hidden_units", hidden_units)
        self.hidden_units = hidden_units
        self.data_format = get_data_format(data_format)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) not in (3, 4, 5):
            raise ValueError(
                "`SqueezeExcite` expects an input of rank 3, 4 or 5 (batch, channels and one to "
                f"three spatial axes). Received: input_shape={tuple(input_shape)}"
            )
        channels = input_shape[self._channel_axis(len(input_shape))]
        if channels is None:
            raise ValueError(
                "`SqueezeExcite` needs a known number of channels. "
                f"Received: input_shape={tuple(input_shape)}, data_format={self.data_format!r}"
            )
        hidden = self.hidden_units or max(1, channels // self.ratio)
        # The gate has a precision of its own (`_gate_dtype`), so no autocasting of its weights.
        options: dict[str, Any] = {"autocast": False}
        self.reduce_kernel = self.add_weight(
            name="reduce_kernel", shape=(channels, hidden), initializer="he_uniform", **options
        )
        self.expand_kernel = self.add_weight(
            name="expand_kernel", shape=(hidden, channels), initializer="glorot_uniform", **options
        )
        self.reduce_bias = self.expand_bias = None
        if self.use_bias:
            options["initializer"] = "zeros"
            self.reduce_bias = self.add_weight(name="reduce_bias", shape=(hidden,), **options)
            self.expand_bias = self.add_weight(name="expand_bias", shape=(channels,), **options)
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes={self._channel_axis(len(input_shape)): channels}
        )

    def gates(self, x: Any, mask: Any = None) -> Any:
        """The gate values `s` for the input `x`.

        Args:
            x: Input of the layer, `(batch, *spatial, C)` or `(batch, C, *spatial)`.
            mask: Which positions count in the squeeze: booleans of the shape `(batch, *spatial)`
                or of its first axes, such as `(batch, time)`. Defaults to `None`: all.

        Returns:
            A tensor of shape `(batch, C)`; with `squeeze=None` one of `(batch, *spatial, C)`,
            whatever the data format. float32 under a half-precision policy.

        Raises:
            ValueError: If the mask has more axes than `(batch, *spatial)`, or fewer than two.
        """
        if not self.built:
            self.build(x.shape)
        x = ops.cast(x, self._gate_dtype)
        if self.squeeze is None:
            z = ops.moveaxis(x, self._channel_axis(len(x.shape)), -1)
        else:
            z = self._squeezed(x, mask)
        z = self._fully_connected(z, self.reduce_kernel, self.reduce_bias)
        z = self._fully_connected(self.activation(z), self.expand_kernel, self.expand_bias)
        return keras.activations.get(self.gate)(z)

    def call(self, x: Any, mask: Any = None) -> Any:
        gates = self.gates(x, mask)
        calls = _recorded.get()
        if calls is not None:
            calls.append((self, gates, mask))
        s = ops.cast(gates, x.dtype)
        rank = len(x.shape)
        if self.squeeze is None:
            return x * ops.moveaxis(s, -1, self._channel_axis(rank))
        return x * ops.expand_dims(s, self._spatial_axes(rank))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "squeeze": self.squeeze,
            "gate": self.gate,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "hidden_units": self.hidden_units,
            "data_format": self.data_format,
        }

    @property
    def _gate_dtype(self) -> str:
        return "float32" if self.compute_dtype in HALF_PRECISION else self.compute_dtype

    def _channel_axis(self, rank: int) -> int:
        return 1 if self.data_format == "channels_first" else rank - 1

    def _spatial_axes(self, rank: int) -> list[int]:
        return [axis for axis in range(1, rank) if axis != self._channel_axis(rank)]

    def _squeezed(self, x: Any, mask: Any) -> Any:
        """The mean or maximum of every channel, `(batch, C)`."""
        axes = self._spatial_axes(len(x.shape))
        if mask is not None:
            mask = self._beside_channels(mask, len(x.shape))
        if self.squeeze == "avg":
            if mask is None:
                return mean(x, axes)
            count = ops.sum(ops.where(mask, ops.ones_like(x), 0), axis=axes)
            return ops.sum(ops.where(mask, x, 0), axis=axes) / ops.maximum(count, 1)
        if x.shape[0] == 0:
            # Torch has no maximum of no values.
            return ops.zeros((0, x.shape[self._channel_axis(len(x.shape))]), x.dtype)
        lowest = -float("inf")
        if mask is None:
            # Without an initial value Keras refuses a batch of no rows.
            return ops.max(x, axis=axes, initial=lowest)
        z = ops.max(ops.where(mask, x, lowest), axis=axes, initial=lowest)
        return ops.where(ops.any(mask, axis=axes), z, 0)

    def _beside_channels(self, mask: Any, rank: int) -> Any:
        """A mask of positions with one channel and all axes of an input of that rank."""
        mask = ops.cast(mask, "bool")
        if not 2 <= len(mask.shape) < rank:
            raise ValueError(
                "`mask` must have the shape (batch, *spatial) or its first axes. "
                f"Received: mask of shape {tuple(mask.shape)}, input of rank {rank}"
            )
        while len(mask.shape) < rank - 1:
            mask = ops.expand_dims(mask, -1)
        return ops.expand_dims(mask, self._channel_axis(rank))

    def _fully_connected(self, x: Any, kernel: Any, bias: Any) -> Any:
        x = matmul(x, ops.cast(kernel, self._gate_dtype))
        return x if bias is None else x + ops.cast(bias, self._gate_dtype)
