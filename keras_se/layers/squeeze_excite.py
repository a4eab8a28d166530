"""The Squeeze-and-Excitation block as one layer, and its network-wide settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from keras_se.checks import boolean, one_of, positive_integer
from keras_se.layers._arguments import get_activation
from keras_se.layers._precise import matmul
from keras_se.layers.attention import (
    AttentionConfig,
    ChannelAttention,
    Gate,
    GateStep,
    Placement,
    Rounding,
    check_gate,
    unrounded,
)

Squeeze = Literal["avg", "max"] | None

SQUEEZES: tuple[str | None, ...] = ("avg", "max", None)


def _check_squeeze(squeeze: Any) -> None:
    one_of(*SQUEEZES)("squeeze", squeeze)


class Bottleneck(ChannelAttention):
    """Two fully connected layers from the mean of each channel to its gate; see `SqueezeExcite`."""

    variable_names: ClassVar[tuple[str, ...]] = (
        "reduce_kernel",
        "expand_kernel",
        "reduce_bias",
        "expand_bias",
    )
    channel_variables: ClassVar[Mapping[str, int]] = {
        "reduce_kernel": 0,
        "expand_kernel": 1,
        "expand_bias": 0,
    }

    def __init__(
        self, ratio: int, gate: Any, activation: Any, use_bias: bool, hidden_units: int | None,
        data_format: str | None = None, **layer_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(gate, data_format, **layer_kwargs)
        check_gate(gate)
        self.ratio = positive_integer("ratio", ratio)
        self.activation = get_activation("activation", activation)
        self.use_bias = boolean("use_bias", use_bias)
        if hidden_units is not None:
            hidden_units = positive_integer("hidden_units", hidden_units)
        self.hidden_units = hidden_units

    def build_gates(self, channels: int) -> None:
        hidden = self.hidden_units or max(1, channels // self.ratio)
        self.reduce_kernel = self._gate_weight("reduce_kernel", (channels, hidden), "he_uniform")
        self.expand_kernel = self._gate_weight(
            "expand_kernel", (hidden, channels), "glorot_uniform"
        )
        self.reduce_bias = self.expand_bias = None
        if self.use_bias:
            self.reduce_bias = self._gate_weight("reduce_bias", (hidden,))
            self.expand_bias = self._gate_weight("expand_bias", (channels,))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "hidden_units": self.hidden_units,
        }

    def make_neutral(self) -> None:
        """Set the gates to one half, with a gradient for any input of the block.

        The kernel's columns form pairs of opposite sign, so that a ReLU passes one of each pair. A
        single hidden unit starts from its bias.
        """
        kernel = np.asarray(ops.convert_to_numpy(self.reduce_kernel)).copy()
        pairs = kernel.shape[1] // 2
        kernel[:, pairs : 2 * pairs] = -kernel[:, :pairs]
        if self.reduce_bias is not None:
            single = kernel.shape[1] == 1
            if single:
                kernel[:] = 0
            self.reduce_bias.assign(np.full(self.reduce_bias.shape, float(single), "float32"))
        self.reduce_kernel.assign(kernel)
        self.expand_kernel.assign(np.zeros(self.expand_kernel.shape))
        if self.expand_bias is not None:
            self.expand_bias.assign(np.zeros(self.expand_bias.shape))

    def pruned_config(self, kept: np.ndarray) -> dict[str, Any]:
        # Keep the hidden width, which the ratio would change.
        return {"hidden_units": int(self.reduce_kernel.shape[1])}

    def _excite(self, z: Any) -> Any:
        """Return the gates for the squeezed channels `z`, `(..., C)`."""
        z = self._fully_connected(z, self.reduce_kernel, self.reduce_bias)
        z = self._fully_connected(self.activation(z), self.expand_kernel, self.expand_bias)
        return keras.activations.get(self.gate)(z)

    def _fully_connected(self, x: Any, kernel: Any, bias: Any) -> Any:
        x = matmul(x, self._cast(kernel))
        return x if bias is None else x + self._cast(bias)


class BottleneckConfig(AttentionConfig):
    """Settings that all blocks with a `Bottleneck` share."""

    ratio: int
    activation: str
    use_bias: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", positive_integer("ratio", self.ratio))
        get_activation("activation", self.activation)
        boolean("use_bias", self.use_bias)
        super().__post_init__()

    def layer(
        self,
        channels: int,
        rounding: Rounding = unrounded,
        **layer_kwargs: Any,
    ) -> ChannelAttention:
        return super().layer(channels, hidden_units=rounding(channels, self.ratio), **layer_kwargs)

    def check_channels(self, channels: int, place: str) -> None:
        # The default narrows to one hidden unit; a ratio from the user may be a mistake.
        if self.ratio > max(channels, type(self).ratio):
            raise ValueError(
                f"`ratio` must be at most the number of channels, {channels} {place}. "
                f"Received: ratio={self.ratio}"
            )


@keras.saving.register_keras_serializable(package="keras_se")
class SqueezeExcite(Bottleneck):
    """Squeeze-and-Excitation: scales every channel by a gate computed from all channels.

    `x -> x * s` with `s = gate(W2 activation(W1 z + b1) + b2)`, where `z` is the mean (or the
    maximum) of each channel over every spatial position. `W1` has `C x hidden` and `W2`
    `hidden x C` values, `hidden = max(1, C // ratio)`.

    Under a half-precision policy the squeeze and the gate are computed in float32.

    Masked positions, such as the padded steps after `keras.layers.Masking` or
    `Embedding(mask_zero=True)`, do not count in the squeeze, as in
    `keras.layers.GlobalAveragePooling1D`; if all are masked, the squeeze is zero.

    Args:
        ratio: Reduction ratio r, an integer of at least 1. Defaults to 16.
        squeeze: `"avg"` (default), `"max"`, or `None`: no pooling, the two fully connected
            layers act at every position (the paper's NoSqueeze).
        gate: Nonlinearity of the gate: `"sigmoid"` (default, values in 0..1), `"tanh"`,
            `"relu"` or `"hard_sigmoid"`.
        activation: Activation between the fully connected layers: a Keras activation name or a
            callable. Defaults to `"relu"`.
        use_bias: Whether the fully connected layers have biases. Defaults to `True`.
        hidden_units: Width of the bottleneck, an integer of at least 1; overrides `ratio`.
            Defaults to `None`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, *spatial, C)` for `"channels_last"`, `(batch, C, *spatial)` for
        `"channels_first"`, with one, two or three spatial axes of any, even unknown, size.

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
        super().__init__(
            ratio, gate, activation, use_bias, hidden_units, data_format, **layer_kwargs
        )
        _check_squeeze(squeeze)
        self.squeeze = squeeze

    def gates(self, x: Any, mask: Any = None) -> Any:
        if not self.built:
            self.build(x.shape)
        x = ops.cast(x, self._gate_dtype)
        if self.squeeze is None:
            z = ops.moveaxis(x, self._channel_axis(len(x.shape)), -1)
        elif self.squeeze == "avg":
            z = self._mean(x, mask)
        else:
            z = self._maximum(x, mask)
        return self._excite(z)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "squeeze": self.squeeze}

    def multiply_adds(self, batch: int, positions: int) -> int:
        kernels = 2 * int(np.prod(self.reduce_kernel.shape))
        squeezed = positions if self.squeeze is None else 1
        return batch * (squeezed * kernels + positions * self.channels)

    def constant_gates(self) -> np.ndarray | None:
        if self.squeeze is None or self.expand_bias is None:
            return None
        gates = keras.activations.get(self.gate)(self._cast(self.expand_bias))
        return np.asarray(ops.convert_to_numpy(gates))

    def gate_steps(self, rank: int) -> list[GateStep] | None:
        if self.squeeze != "avg":
            return None
        steps = [self._mean_step(rank)]
        for suffix, kernel, bias, activation in (
            ("reduce", self.reduce_kernel, self.reduce_bias, self.activation),
            ("expand", self.expand_kernel, self.expand_bias, self.gate),
        ):
            settings = {
                "units": int(kernel.shape[-1]), "activation": activation,
                "use_bias": bias is not None, "kernel_initializer": "zeros",
                "dtype": self._gate_dtype,
            }  # fmt: skip
            values = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
            shape = (int(kernel.shape[-1]),)
            steps.append(GateStep(suffix, keras.layers.Dense, settings, values, shape))
        return [*steps, self._gates_step(rank)]

    def _maximum(self, x: Any, mask: Any) -> Any:
        """Return the maximum of each channel, `(batch, C)`, over the positions of the mask."""
        rank = len(x.shape)
        axes = self._spatial_axes(rank)
        if x.shape[0] == 0:
            # Torch has no maximum of an empty tensor.
            return ops.zeros((0, x.shape[self._channel_axis(rank)]), x.dtype)
        lowest = -float("inf")
        if mask is None:
            # Without an initial value Keras rejects an empty batch.
            return ops.max(x, axis=axes, initial=lowest)
        mask = self._beside_channels(mask, rank)
        z = ops.max(ops.where(mask, x, lowest), axis=axes, initial=lowest)
        return ops.where(ops.any(mask, axis=axes), z, 0)


@dataclass(frozen=True, repr=False)
class SEConfig(BottleneckConfig):
    """Squeeze-and-Excitation settings for a whole network.

    Args:
        ratio: Reduction ratio r of every block, an integer of at least 1; a block on C channels
            has `max(1, C // ratio)` hidden units. Above 16 it must not exceed the channels of any
            place in the network. Defaults to 16.
        squeeze: `"avg"` (default), `"max"`, or `None` for the paper's NoSqueeze.
        gate: `"sigmoid"` (default), `"tanh"`, `"relu"` or `"hard_sigmoid"`.
        activation: Name of the activation between the two fully connected layers.
            Defaults to `"relu"`.
        use_bias: Whether the two fully connected layers have biases. Defaults to `True`, as in
            the released networks; the paper's ablations (Tables 10 to 16) have none.
        placement: Where the block sits in a residual unit: `"standard"` (on the branch, before
            the sum), `"pre"` (before the branch), `"post"` (after the sum), `"identity"` (on
            the shortcut) or `"conv3x3"` (after the unit's 3x3 convolution). All but `"standard"`
            are for the ResNets and their like.
        stages: `None` (default) for all stages, or the paper's stage numbers, for example
            `(2, 3, 4)`: the first stage after the stem of a ResNet is stage 2. In all networks for
            224 pixels and more, stage k has feature maps 2^k times smaller than the image.

    Raises:
        ValueError: If a value is not one of the above.

    Example:

    >>> model = keras_se.SEResNet50(weights=None, se=keras_se.SEConfig(ratio=8, stages=(2, 3, 4)))

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507): ratio, Table 10; squeeze,
        Table 11; gate, Table 12; stages, Table 13; placement, Tables 14 and 15 and Fig. 5.
    """

    block = SqueezeExcite

    ratio: int = 16
    squeeze: Squeeze = "avg"
    gate: Gate = "sigmoid"
    activation: str = "relu"
    use_bias: bool = True
    placement: Placement = "standard"
    stages: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_squeeze(self.squeeze)
        check_gate(self.gate)
        super().__post_init__()
