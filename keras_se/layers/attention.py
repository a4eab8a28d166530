"""Base classes of attention blocks and their network-wide settings.

A new block needs a subclass of `ChannelAttention` and one of `AttentionConfig`. The builders,
`add_squeeze_excite`, `cost`, `fuse`, `excitations`, `prune`, `drop_stage` and `export` use only
these two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

import keras
import numpy as np
from keras import ops

from keras_se.checks import one_of, positive_integer, unknown_choice
from keras_se.layers._arguments import HALF_PRECISION, channel_axis, get_data_format
from keras_se.layers._precise import mean
from keras_se.layers._ranks import ranked

Gate = Literal["sigmoid", "tanh", "relu", "hard_sigmoid"]
Placement = Literal["standard", "pre", "post", "identity", "conv3x3"]

GATES: tuple[str, ...] = get_args(Gate)
# These are one half at zero.
NEUTRAL_GATES = ("sigmoid", "hard_sigmoid")
PLACEMENTS: tuple[str, ...] = get_args(Placement)

# Returns the hidden width for a number of channels and a ratio, or `None` for the default.
Rounding = Callable[[int, int], int | None]
Calls = list[tuple["ChannelAttention", Any, Any]]
_recorded: ContextVar[Calls | None] = ContextVar("recorded", default=None)


@contextmanager
def recorded_gates() -> Iterator[Calls]:
    """Collect the block calls inside the context, in order: block, gates, mask."""
    calls: Calls = []
    token = _recorded.set(calls)
    try:
        yield calls
    finally:
        _recorded.reset(token)


def check_gate(gate: Any, gates: tuple[str, ...] = GATES) -> None:
    """Raise a `ValueError` unless `gate` is one of `gates`."""
    one_of(*gates)("gate", gate)


@dataclass(frozen=True)
class GateStep:
    """One layer of a block rewritten as standard Keras layers.

    Attributes:
        suffix: Suffix that the layer's name appends to the block's.
        create: The layer's class.
        settings: Its arguments.
        values: The block's variables or tensors that are its weights, by attribute.
        shape: Shape of its output, without the batch.
    """

    suffix: str
    create: Callable[..., Any]
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    shape: tuple[int, ...]


class ChannelAttention(keras.layers.Layer):
    """A layer that multiplies its input by gates computed from the input.

    Subclasses implement `build_gates`, `gates`, `multiply_adds` and `make_neutral`, and override
    the other attributes where the defaults do not apply.

    Args:
        gate: Nonlinearity of the gates.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        **layer_kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Attributes:
        variable_names: Names of all variables that a block can have.
        neutral_gate: The gates' value after `make_neutral`.
        channel_variables: Attribute names of per-channel variables, with their channel axis.
    """

    variable_names: ClassVar[tuple[str, ...]]
    neutral_gate: ClassVar[float] = 0.5
    channel_variables: ClassVar[Mapping[str, int]] = {}

    def __init__(self, gate: Any, data_format: str | None = None, **layer_kwargs: Any) -> None:
        super().__init__(**layer_kwargs)
        self.gate = gate
        self.data_format = get_data_format(data_format)
        self.supports_masking = True
        self.channels = 0

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        name, rank = type(self).__name__, len(input_shape)
        if rank not in (3, 4, 5):
            raise ValueError(
                f"`{name}` expects an input of rank 3, 4 or 5 (batch, channels and one to three "
                f"spatial axes). Received: input_shape={tuple(input_shape)}"
            )
        channels = input_shape[self._channel_axis(rank)]
        if channels is None:
            raise ValueError(
                f"`{name}` needs a known number of channels. "
                f"Received: input_shape={tuple(input_shape)}, data_format={self.data_format!r}"
            )
        self.channels = channels
        self.build_gates(channels)
        self.input_spec = keras.layers.InputSpec(
            ndim=rank, axes={self._channel_axis(rank): channels}
        )

    def build_gates(self, channels: int) -> None:
        """Create the variables."""
        raise NotImplementedError

    def gates(self, x: Any, mask: Any = None) -> Any:
        """Return the gates for the input `x`.

        Args:
            x: Input of the layer, `(batch, *spatial, C)` or `(batch, C, *spatial)`.
            mask: Positions that count in the squeeze: booleans of shape `(batch, *spatial)` or
                its first axes, such as `(batch, time)`. Defaults to `None`: all.

        Returns:
            A tensor of shape `(batch, C)` or, if each position has its own gates,
            `(batch, *spatial, C)` in both data formats; float32 under a half-precision policy.

        Raises:
            ValueError: If the mask has more axes than `(batch, *spatial)`, or fewer than two.
        """
        raise NotImplementedError

    def call(self, x: Any, mask: Any = None) -> Any:
        gates = self.gates(x, mask)
        calls = _recorded.get()
        if calls is not None:
            calls.append((self, gates, mask))
        s, rank = ops.cast(gates, x.dtype), len(x.shape)
        if len(s.shape) == rank:
            return x * ops.moveaxis(s, -1, self._channel_axis(rank))
        return x * ops.expand_dims(s, self._spatial_axes(rank))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gate": self.gate, "data_format": self.data_format}

    def multiply_adds(self, batch: int, positions: int) -> int:
        """Return the multiply-adds of one call on feature maps with that many positions."""
        raise NotImplementedError

    def make_neutral(self) -> None:
        """Set the variables so that every gate is `neutral_gate` and still gets a gradient."""
        raise NotImplementedError

    def pruned_config(self, kept: np.ndarray) -> dict[str, Any]:
        """Return the settings that change when only the channels `kept`, ascending, remain."""
        return {}

    def constant_gates(self) -> np.ndarray | None:
        """Return the gates `(C,)` of an image that activates no hidden unit, or `None`."""
        return None

    def gate_steps(self, rank: int) -> list[GateStep] | None:
        """Return the gates as standard Keras layers, from the input to its multiplier.

        The first layer takes the mean of each channel; if the second is a `keras.layers.Dense`,
        `keras_se.fuse` can move the mean before a 1x1 convolution. `None` (default): the block
        stays one layer.
        """
        return None

    @property
    def _gate_dtype(self) -> str:
        return "float32" if self.compute_dtype in HALF_PRECISION else self.compute_dtype

    def _channel_axis(self, rank: int) -> int:
        return channel_axis(self.data_format, rank)

    def _spatial_axes(self, rank: int) -> list[int]:
        return [axis for axis in range(1, rank) if axis != self._channel_axis(rank)]

    def _gate_weight(self, name: str, shape: tuple[int, ...], initializer: str = "zeros") -> Any:
        # The gates have their own precision (`_gate_dtype`), so no autocasting.
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

    def _cast(self, variable: Any) -> Any:
        return ops.cast(variable, self._gate_dtype)

    def _mean(self, x: Any, mask: Any) -> Any:
        """Return the mean of each channel, `(batch, C)`, over the positions of the mask."""
        axes = self._spatial_axes(len(x.shape))
        if mask is None:
            return mean(x, axes)
        mask = self._beside_channels(mask, len(x.shape))
        count = ops.sum(ops.where(mask, ops.ones_like(x), 0), axis=axes)
        return ops.sum(ops.where(mask, x, 0), axis=axes) / ops.maximum(count, 1)

    def _beside_channels(self, mask: Any, rank: int) -> Any:
        """Expand a mask of positions to one channel and all axes of an input of that rank."""
        mask = ops.cast(mask, "bool")
        if not 2 <= len(mask.shape) < rank:
            raise ValueError(
                "`mask` must have the shape (batch, *spatial) or its first axes. "
                f"Received: mask of shape {tuple(mask.shape)}, input of rank {rank}"
            )
        while len(mask.shape) < rank - 1:
            mask = ops.expand_dims(mask, -1)
        return ops.expand_dims(mask, self._channel_axis(rank))

    def _mean_step(self, rank: int) -> GateStep:
        pooling = ranked("GlobalAveragePooling", rank - 2)
        settings = {"data_format": self.data_format, "dtype": self._gate_dtype}
        return GateStep("squeeze", pooling, settings, {}, (self.channels,))

    def _gates_step(self, rank: int) -> GateStep:
        """Reshape the gates so that they broadcast with the input."""
        shape = [1] * (rank - 1)
        shape[self._channel_axis(rank) - 1] = self.channels
        settings = {"target_shape": tuple(shape), "dtype": self.dtype_policy}
        return GateStep("gates", keras.layers.Reshape, settings, {}, tuple(shape))


def unrounded(channels: int, ratio: int) -> None:
    """Leave the hidden width to the block."""


class AttentionConfig:
    """Settings of all attention blocks of a network.

    Subclasses are frozen dataclasses with `gate`, `placement`, `stages` and their own fields.

    Attributes:
        block: The class of the blocks.
    """

    block: ClassVar[type[ChannelAttention]]
    gate: Any
    placement: Placement
    stages: tuple[int, ...] | None

    def __post_init__(self) -> None:
        one_of(*PLACEMENTS)("placement", self.placement)
        if self.stages is not None:
            if isinstance(self.stages, str) or not isinstance(self.stages, Iterable):
                raise ValueError(
                    "`stages` must be None or a tuple of stage numbers such as (2, 3, 4). "
                    f"Received: stages={self.stages!r}"
                )
            stages = tuple(positive_integer("stages", stage) for stage in self.stages)
            object.__setattr__(self, "stages", stages)

    def __repr__(self) -> str:
        named = (f"{k}={v!r}" for k, v in self._values().items() if v != getattr(type(self), k))
        return f"{type(self).__name__}({', '.join(named)})"

    def layer(
        self,
        channels: int,
        rounding: Rounding = unrounded,
        **layer_kwargs: Any,
    ) -> ChannelAttention:
        """Create a block, whose arguments are the fields except `placement` and `stages`.

        Args:
            channels: Number of channels that it will scale.
            rounding: Returns the hidden width. Defaults to the block's own.
            **layer_kwargs: `name`, `data_format`, `dtype`.
        """
        own = {k: v for k, v in self._values().items() if k not in ("placement", "stages")}
        return self.block(**own, **layer_kwargs)

    @property
    def starts_neutral(self) -> bool:
        """Whether the gates are one half at zero, so that a block can start as the identity."""
        return self.gate in NEUTRAL_GATES

    def at(self, stage: int) -> Self:
        """Return the settings of one stage, counted from 0."""
        return self

    def check_channels(self, channels: int, place: str) -> None:
        """Raise a `ValueError` if a block cannot scale so few channels.

        `place` goes into the message, such as `"in stage 2"`.
        """

    def settings(self) -> dict[str, Any]:
        """Return the fields, and the class unless it is the default one."""
        kind = type(self).__name__
        return ({} if kind == DEFAULT else {TYPE: kind}) | self._values()

    @classmethod
    def _kinds(cls) -> dict[str, type[Self]]:
        """Return the classes that name a block, this one included, by name."""
        found = {cls.__name__: cls} if "block" in vars(cls) else {}
        for kind in cls.__subclasses__():
            found |= kind._kinds()
        return found

    def _values(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Create the configuration from `settings()`; fields may be missing.

        Raises:
            ValueError: If a name or value is unknown.
        """
        kinds = cls._kinds()
        kind = settings.get(TYPE, DEFAULT)
        if kind not in kinds:
            raise ValueError(unknown_choice(f"se.{TYPE}", kind, kinds))
        own = {name: value for name, value in settings.items() if name != TYPE}
        known = [field.name for field in fields(kinds[kind])]  # type: ignore[arg-type]
        for name in own:
            if name not in known:
                raise ValueError(unknown_choice("se", name, known))
        return kinds[kind](**own)


# The key for the class in `settings()`, and the class if it is missing.
TYPE, DEFAULT = "type", "SEConfig"
