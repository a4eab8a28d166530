"""`SEConfig`: how Squeeze-and-Excitation is put into a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from keras_se.checks import boolean, positive_integer, unknown_choice

Squeeze = Literal["avg", "max"] | None
Gate = Literal["sigmoid", "tanh", "relu", "hard_sigmoid"]
Placement = Literal["standard", "pre", "post", "identity", "conv3x3"]

SQUEEZES: tuple[str | None, ...] = ("avg", "max", None)
GATES: tuple[str, ...] = get_args(Gate)
PLACEMENTS: tuple[str, ...] = get_args(Placement)


def check_squeeze_and_gate(squeeze: Any, gate: Any) -> None:
    """Raise a `ValueError` unless both are values that the layer knows."""
    if squeeze not in SQUEEZES:
        raise ValueError(unknown_choice("squeeze", squeeze, SQUEEZES))
    if gate not in GATES:
        raise ValueError(unknown_choice("gate", gate, GATES))


@dataclass(frozen=True)
class SEConfig:
    """Squeeze-and-Excitation settings of a whole network.

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
            the shortcut) or `"conv3x3"` (after the unit's 3x3 convolution). Others than
            `"standard"` are for the ResNets and their like.
        stages: `None` (default) for all stages, or the paper's stage numbers, for example
            `(2, 3, 4)`: the first stage after the stem of a ResNet is stage 2. In all networks for
            224 pixels and more, stage k has feature maps 2^k times smaller than the picture.

    Raises:
        ValueError: If a value is not one of the above.

    Example:

    >>> model = keras_se.SEResNet50(weights=None, se=keras_se.SEConfig(ratio=8, stages=(2, 3, 4)))

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507): ratio, Table 10; squeeze,
        Table 11; gate, Table 12; stages, Table 13; placement, Tables 14 and 15 and Fig. 5.
    """

    ratio: int = 16
    squeeze: Squeeze = "avg"
    gate: Gate = "sigmoid"
    activation: str = "relu"
    use_bias: bool = True
    placement: Placement = "standard"
    stages: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", positive_integer("ratio", self.ratio))
        check_squeeze_and_gate(self.squeeze, self.gate)
        boolean("use_bias", self.use_bias)
        if self.placement not in PLACEMENTS:
            raise ValueError(unknown_choice("placement", self.placement, PLACEMENTS))
        if self.stages is not None:
            if isinstance(self.stages, str) or not isinstance(self.stages, Iterable):
                raise ValueError(
                    "`stages` must be None or a tuple of stage numbers such as (2, 3, 4). "
                    f"Received: stages={self.stages!r}"
                )
            stages = tuple(positive_integer("stages", stage) for stage in self.stages)
            object.__setattr__(self, "stages", stages)
