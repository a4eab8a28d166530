"""SE-ShuffleNet (Table 3): SE on the branch of every unit.

The ShuffleNet paper's stages 2, 3 and 4 are stages 3, 4 and 5 here, where the feature maps are 8,
16 and 32 times smaller than the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.checks import one_of, positive_integer, unknown_choice
from keras_se.fields import checked
from keras_se.layers import ChannelShuffle
from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import UNTRAINED, network_builder
from keras_se.models._network import (
    MULTIPLIER,
    NetworkDescription,
    batch_norm,
    channel_axis,
    conv,
    depthwise_conv,
    edge_pad,
    pad,
    pool,
    relu,
)
from keras_se.models._signatures import ShuffleNetBuilder

# Channels of the first stage at scale 1, by the number of groups (Zhang et al., Table 1).
WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
STEM_WIDTH = 24
BLOCKS = {3: 4, 4: 8, 5: 4}


@dataclass(frozen=True)
class ShuffleNet(NetworkDescription):
    """Description of a ShuffleNet (version 1).

    Attributes:
        groups: Groups of the pointwise convolutions: 1, 2, 3, 4 or 8.
        scale: Width multiplier of all units.
        se_position: `"branch"`: on the branch of every unit, before the sum or concatenation;
            `"unit"`: on the output of every unit; `"stride1"`: on the branch of the units that
            keep the resolution.
    """

    groups: int = checked(positive_integer, 3)
    scale: float = checked(MULTIPLIER, 1.0)
    se_position: str = checked(one_of("branch", "unit", "stride1"), "branch")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups not in WIDTHS:
            raise ValueError(unknown_choice("groups", self.groups, WIDTHS))
        # A unit's inner width is a quarter of its width. Groups divide both, and also the
        # channels that the first unit adds to the stem's.
        first, multiple = self.widths[3], 4 * self.groups
        if first % multiple or first <= STEM_WIDTH or (first - STEM_WIDTH) % self.groups:
            raise ValueError(
                f"`scale` must make the {WIDTHS[self.groups]} channels of groups={self.groups} a "
                f"multiple of {multiple} above {STEM_WIDTH}. Received: scale={self.scale!r}"
            )

    @property
    def widths(self) -> dict[int, int]:
        """Channels of each stage."""
        first = round(WIDTHS[self.groups] * self.scale)
        return {stage: first * 2**n for n, stage in enumerate(BLOCKS)}

    @property
    def units(self) -> Mapping[int, int]:
        return BLOCKS

    @property
    def features(self) -> int:
        return self.widths[5]

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        if self.se_position != "branch":
            return self.widths
        # The first unit of a stage appends to its input channels.
        return {n: width - self.widths.get(n - 1, STEM_WIDTH) for n, width in self.widths.items()}

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        x = conv(x, STEM_WIDTH, 3, "stem_conv", stride=2)
        x = relu(batch_norm(x, "stem_bn"), "stem_relu")
        x = pool(edge_pad(x, 1, "stage2_pool_pad"), "Max", 3, "stage2_pool", stride=2)
        for stage, width in self.widths.items():
            for n in range(1, BLOCKS[stage] + 1):
                x = self._unit(x, se, width, stage, n)
        return x

    def _unit(self, x: Any, se: AttentionConfig | None, width: int, stage: int, n: int) -> Any:
        name = f"stage{stage}_block{n}"
        stride = 2 if n == 1 else 1
        axis = channel_axis()
        shortcut, filters = x, width
        if stride > 1:
            shortcut = edge_pad(x, 1, f"{name}_shortcut_pad")
            shortcut = pool(shortcut, "Average", 3, f"{name}_shortcut_pool", stride=2)
            filters -= x.shape[axis]
        groups = 1 if (stage, n) == (3, 1) else self.groups
        x = conv(x, width // 4, 1, f"{name}_conv1", groups=groups)
        x = relu(batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
        x = ChannelShuffle(self.groups, name=f"{name}_shuffle")(x)
        if stride > 1:
            x = pad(x, 1, f"{name}_conv2_pad")
        x = depthwise_conv(x, f"{name}_conv2", stride)
        x = batch_norm(x, f"{name}_bn2")
        x = conv(x, filters, 1, f"{name}_conv3", groups=self.groups)
        x = batch_norm(x, f"{name}_bn3")
        if self.se_position == "branch" or (self.se_position == "stride1" and stride == 1):
            x = self.squeeze_excite(x, se, stage, f"{name}_se")
        if stride > 1:
            x = layers.Concatenate(axis, name=f"{name}_concat")([x, shortcut])
        else:
            x = layers.Add(name=f"{name}_add")([x, shortcut])
        x = relu(x, f"{name}_relu")
        if self.se_position == "unit":
            x = self.squeeze_excite(x, se, stage, f"{name}_se")
        return x


SEShuffleNet: ShuffleNetBuilder = network_builder(  # type: ignore[assignment]
    "SEShuffleNet",
    "se_shufflenet",
    ShuffleNet(),
    UNTRAINED,
    summary="SE-ShuffleNet (version 1, 1x, 3 groups).",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Table 3; Zhang et al.\n"
        "    (arXiv:1707.01083), Table 1."
    ),
    options={
        "groups": "Groups of the pointwise convolutions: 1, 2, 3, 4 or 8. Defaults to 3.",
        "scale": "Width multiplier, a positive number. Defaults to 1.0.",
    },
)
