"""Efficient Channel Attention as one layer, and its network-wide settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import keras
import numpy as np
from keras import ops

from keras_se.checks import positive_integer
from keras_se.layers.attention import (
    NEUTRAL_GATES,
    AttentionConfig,
    ChannelAttention,
    GateStep,
    Placement,
    Rounding,
    check_gate,
    unrounded,
)

NeutralGate = Literal["sigmoid", "hard_sigmoid"]


def _odd(kernel_size: Any) -> int | None:
    if kernel_size is None:
        return None
    size = positive_integer("kernel_size", kernel_size)
    if size % 2 == 0:
        raise ValueError(
            f"`kernel_size` must be odd, so that it has a center. Received: kernel_size={size}"
        )
    return size


def paper_kernel_size(channels: int) -> int:
    """Return the paper's kernel size for C channels: `|(log2 C + 1) / 2|`, made odd, at least 3.

    An even integer part is rounded up, as in the authors' code and in timm.
    """
    size = int(abs((math.log2(channels) + 1) / 2))
    return max(3, size + (size + 1) % 2)


@keras.saving.register_keras_serializable(package="keras_se")
class EfficientChannelAttention(ChannelAttention):
    """ECA: scales every channel by a gate computed from the channel and its neighbours.

    `x -> x * s` with `s = gate(w * z)`, where `z` is the mean of each channel over every spatial
    position and `w` one kernel of `kernel_size` values that slides along the channels, with zero
    padding and without a bias.

    Masks and half precision: as for `keras_se.SqueezeExcite`.

    Args:
        kernel_size: Number of channels that each gate sees, an odd integer. Defaults to `None`:
            3 for 8 to 64 channels, 5 for 128 to 1024, 7 for 2048 (Section 3.2, Eq. 12 with
            gamma = 2, b = 1).
        gate: `"sigmoid"` (default) or `"hard_sigmoid"`.
        positions: For a block pruned by `keras_se.prune`: the original indices of its channels,
            ascending. The removed channels count as zero. Defaults to `None`.
        of_channels: Original number of channels. Defaults to `None`.
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

    >>> x = np.random.rand(2, 56, 56, 256).astype("float32")
    >>> layer = keras_se.EfficientChannelAttention()
    >>> tuple(layer(x).shape), tuple(layer.kernel.shape)
    ((2, 56, 56, 256), (5,))

    Reference:
        Wang et al., ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks
        (arXiv:1910.03151), Section 3.
    """

    variable_names: ClassVar[tuple[str, ...]] = ("kernel",)

    def __init__(
        self,
        kernel_size: int | None = None,
        *,
        gate: NeutralGate = "sigmoid",
        positions: Sequence[int] | None = None,
        of_channels: int | None = None,
        data_format: str | None = None,
        **layer_kwargs: Any,
    ) -> None:
        super().__init__(gate, data_format, **layer_kwargs)
        check_gate(gate, NEUTRAL_GATES)
        self.kernel_size = _odd(kernel_size)
        if (positions is None) != (of_channels is None):
            raise ValueError(
                "`positions` and `of_channels` must be given together. "
                f"Received: positions={positions}, of_channels={of_channels}"
            )
        if positions is not None:
            positions = [int(place) for place in positions]
            of_channels = positive_integer("of_channels", of_channels)
            if sorted({*positions} & {*range(of_channels)}) != positions:
                raise ValueError(
                    f"`positions` must be ascending integers from 0 to {of_channels - 1}. "
                    f"Received: positions={positions}"
                )
        self.positions = positions
        self.of_channels = of_channels

    def build_gates(self, channels: int) -> None:
        if self.positions is not None and len(self.positions) != channels:
            raise ValueError(
                f"`positions` must have one entry per channel, {channels} in all. "
                f"Received: {len(self.positions)}"
            )
        size = self.kernel_size or paper_kernel_size(self.of_channels or channels)
        self.kernel = self._gate_weight("kernel", (size,), "glorot_uniform")

    def gates(self, x: Any, mask: Any = None) -> Any:
        if not self.built:
            self.build(x.shape)
        z = self._mean(ops.cast(x, self._gate_dtype), mask)
        if self.positions is not None and self.of_channels is not None:
            # Every removed channel takes the zero appended at the end.
            source = np.full(self.of_channels, self.channels)
            source[self.positions] = np.arange(self.channels)
            z = ops.take(ops.pad(z, [[0, 0], [0, 1]]), source, axis=-1)
        kernel, size, width = self._cast(self.kernel), self.kernel.shape[0], z.shape[-1]
        padded = ops.pad(z, [[0, 0], [size // 2, size // 2]])
        logits = sum(kernel[n] * padded[:, n : n + width] for n in range(size))
        if self.positions is not None:
            logits = ops.take(logits, np.array(self.positions), axis=-1)
        return keras.activations.get(self.gate)(logits)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "positions": self.positions,
            "of_channels": self.of_channels,
        }

    def multiply_adds(self, batch: int, positions: int) -> int:
        return batch * (int(self.kernel.shape[0]) + positions) * self.channels

    def make_neutral(self) -> None:
        self.kernel.assign(np.zeros(self.kernel.shape))

    def pruned_config(self, kept: np.ndarray) -> dict[str, Any]:
        before = np.arange(self.channels) if self.positions is None else np.array(self.positions)
        return {
            "kernel_size": int(self.kernel.shape[0]),
            "positions": before[kept].tolist(),
            "of_channels": self.of_channels or self.channels,
        }

    def gate_steps(self, rank: int) -> list[GateStep] | None:
        if self.positions is not None:
            return None
        row = GateStep(
            "row", keras.layers.Reshape,
            {"target_shape": (self.channels, 1), "dtype": self._gate_dtype}, {},
            (self.channels, 1),
        )  # fmt: skip
        size = int(self.kernel.shape[0])
        settings = {
            "filters": 1, "kernel_size": size, "padding": "same", "use_bias": False,
            "activation": self.gate, "data_format": "channels_last", "dtype": self._gate_dtype,
        }  # fmt: skip
        values = {"kernel": ops.reshape(self.kernel, (size, 1, 1))}
        convolution = GateStep("conv", keras.layers.Conv1D, settings, values, (self.channels, 1))
        return [self._mean_step(rank), row, convolution, self._gates_step(rank)]


@dataclass(frozen=True, repr=False)
class ECAConfig(AttentionConfig):
    """Efficient Channel Attention in a whole network: `se=` of every builder takes it.

    Args:
        kernel_size: Number of channels that each gate sees, an odd integer, or a tuple with one
            per stage. Defaults to `None`: the paper's rule for each width, see
            `EfficientChannelAttention`.
        gate: `"sigmoid"` (default) or `"hard_sigmoid"`.
        placement: As for `keras_se.SEConfig`. Defaults to `"standard"`.
        stages: As for `keras_se.SEConfig`. Defaults to `None`: all.

    Raises:
        ValueError: If a value is not one of the above.

    Example:

    >>> model = keras_se.SEResNet50(weights=None, se=keras_se.ECAConfig())
    >>> keras_se.cost(model).se_params
    86

    Reference:
        Wang et al., ECA-Net (arXiv:1910.03151).
    """

    block = EfficientChannelAttention

    kernel_size: int | tuple[int, ...] | None = None
    gate: NeutralGate = "sigmoid"
    placement: Placement = "standard"
    stages: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        sizes: Any = self.kernel_size
        sizes = tuple(map(_odd, sizes)) if isinstance(sizes, list | tuple) else _odd(sizes)
        object.__setattr__(self, "kernel_size", sizes)
        check_gate(self.gate, NEUTRAL_GATES)
        super().__post_init__()

    def layer(
        self,
        channels: int,
        rounding: Rounding = unrounded,
        **layer_kwargs: Any,
    ) -> ChannelAttention:
        if isinstance(self.kernel_size, tuple):
            raise ValueError(
                "`kernel_size` must be one number in a network without stages. "
                f"Received: kernel_size={self.kernel_size}"
            )
        return super().layer(channels, rounding, **layer_kwargs)

    def at(self, stage: int) -> Self:
        if not isinstance(self.kernel_size, tuple):
            return self
        if stage >= len(self.kernel_size):
            raise ValueError(
                "`kernel_size` must have one number per stage. "
                f"Received: kernel_size={self.kernel_size}"
            )
        return replace(self, kernel_size=self.kernel_size[stage])
