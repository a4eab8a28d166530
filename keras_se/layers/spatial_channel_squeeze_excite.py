"""Concurrent spatial and channel Squeeze-and-Excitation, and its network-wide settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_se.layers.attention import (
    NEUTRAL_GATES,
    Placement,
    check_gate,
)
from keras_se.layers.efficient_channel_attention import NeutralGate
from keras_se.layers.squeeze_excite import Bottleneck, BottleneckConfig


@keras.saving.register_keras_serializable(package="keras_se")
class SpatialChannelSqueezeExcite(Bottleneck):
    """scSE: scales by the sum of a gate for each channel and a gate for each position.

    `x -> x * s + x * q`: the channel gates `s` are those of `keras_se.SqueezeExcite`; the position
    gate `q = gate(v x + b)` is a 1x1 convolution to one channel. Used mostly in the decoders of
    segmentation networks.

    Masks and half precision: as for `keras_se.SqueezeExcite`.

    Args:
        ratio: Reduction ratio of the channel gates, an integer of at least 1. Defaults to 16; the
            paper uses 2.
        gate: `"sigmoid"` (default) or `"hard_sigmoid"`.
        activation: Activation between the fully connected layers. Defaults to `"relu"`.
        use_bias: Whether both kinds of gate have biases. Defaults to `True`.
        hidden_units: Width of the bottleneck in place of `max(1, C // ratio)`. Defaults to `None`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, *spatial, C)` or `(batch, C, *spatial)`, with one, two or three spatial axes.

    Output shape:
        The input's shape, with the input's mask.

    Raises:
        ValueError: If an argument is not one of the above, the input's rank is not 3, 4 or 5, or
            its channel count is unknown.

    Example:

    >>> x = np.random.rand(2, 32, 32, 64).astype("float32")
    >>> layer = keras_se.SpatialChannelSqueezeExcite(ratio=2)
    >>> tuple(layer(x).shape), tuple(layer.gates(x).shape)
    ((2, 32, 32, 64), (2, 32, 32, 64))

    Reference:
        Roy et al., Concurrent Spatial and Channel Squeeze and Excitation in Fully Convolutional
        Networks (arXiv:1803.02579), Section 2.
    """

    # The two halves add up to one.
    neutral_gate = 1.0
    variable_names: ClassVar[tuple[str, ...]] = (
        *Bottleneck.variable_names,
        "position_kernel",
        "position_bias",
    )
    channel_variables: ClassVar[Mapping[str, int]] = {
        **Bottleneck.channel_variables,
        "position_kernel": 0,
    }

    def __init__(
        self,
        ratio: int = 16,
        *,
        gate: NeutralGate = "sigmoid",
        activation: Any = "relu",
        use_bias: bool = True,
        hidden_units: int | None = None,
        data_format: str | None = None,
        **layer_kwargs: Any,
    ) -> None:
        check_gate(gate, NEUTRAL_GATES)
        super().__init__(
            ratio, gate, activation, use_bias, hidden_units, data_format, **layer_kwargs
        )

    def build_gates(self, channels: int) -> None:
        super().build_gates(channels)
        self.position_kernel = self._gate_weight("position_kernel", (channels, 1), "glorot_uniform")
        self.position_bias = self._gate_weight("position_bias", (1,)) if self.use_bias else None

    def gates(self, x: Any, mask: Any = None) -> Any:
        if not self.built:
            self.build(x.shape)
        x = ops.cast(x, self._gate_dtype)
        rank = len(x.shape)
        channel_gates = self._excite(self._mean(x, mask))
        last = ops.moveaxis(x, self._channel_axis(rank), -1)
        logits = self._fully_connected(last, self.position_kernel, self.position_bias)
        position_gates = keras.activations.get(self.gate)(logits)
        return position_gates + ops.expand_dims(channel_gates, list(range(1, rank - 1)))

    def multiply_adds(self, batch: int, positions: int) -> int:
        kernels = 2 * int(np.prod(self.reduce_kernel.shape))
        # The 1x1 convolution, and the scaling by both kinds of gate.
        return batch * (kernels + 3 * positions * self.channels)

    def make_neutral(self) -> None:
        super().make_neutral()
        for variable in (self.position_kernel, self.position_bias):
            if variable is not None:
                variable.assign(np.zeros(variable.shape))


@dataclass(frozen=True, repr=False)
class SCSEConfig(BottleneckConfig):
    """Spatial and channel Squeeze-and-Excitation in a whole network, for `se=` of every builder.

    Args:
        ratio: Reduction ratio of the channel gates, an integer of at least 1; above 16 it must not
            exceed the channels of any place in the network. Defaults to 16; the paper uses 2.
        gate: `"sigmoid"` (default) or `"hard_sigmoid"`.
        activation: Name of the activation between the fully connected layers. Defaults to `"relu"`.
        use_bias: Whether both kinds of gate have biases. Defaults to `True`.
        placement: As for `keras_se.SEConfig`. Defaults to `"standard"`.
        stages: As for `keras_se.SEConfig`. Defaults to `None`: all.

    Raises:
        ValueError: If a value is not one of the above.

    Example:

    >>> model = keras_se.SEResNet20(weights=None, se=keras_se.SCSEConfig(ratio=2))

    Reference:
        Roy et al. (arXiv:1803.02579).
    """

    block = SpatialChannelSqueezeExcite

    ratio: int = 16
    gate: NeutralGate = "sigmoid"
    activation: str = "relu"
    use_bias: bool = True
    placement: Placement = "standard"
    stages: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_gate(self.gate, NEUTRAL_GATES)
        super().__post_init__()
