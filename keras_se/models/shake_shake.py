"""SE-Shake-Shake for 32 x 32 images (Tables 4 and 5): SE on the random sum of the two branches.

|            | SEShakeShake26 (2x96d) | SEShakeShake29 (2x4x64d)    |
| ---------- | ---------------------- | --------------------------- |
| branch     | two 3x3 convolutions   | 1x1, 3x3 in 4 groups, 1x1   |
| stem       | 16                     | 64                          |
| outputs    | 96, 192, 384           | 256, 512, 1024              |
| forward    | random                 | random                      |
| backward   | random                 | even                        |
| data set   | CIFAR-10               | CIFAR-100                   |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.checks import boolean, one_of, positive_integer
from keras_se.fields import INTEGERS, checked
from keras_se.layers._ranks import rank_of, ranked
from keras_se.layers.attention import AttentionConfig
from keras_se.layers.shake_shake import BACKWARD, ShakeShake
from keras_se.models._builder import UNTRAINED_CIFAR, network_builder
from keras_se.models._network import (
    NetworkDescription,
    batch_norm,
    channel_axis,
    conv,
    edge_pad,
    relu,
    same_length,
)

BRANCHES = (1, 2)


@dataclass(frozen=True)
class ShakeShakeNetwork(NetworkDescription):
    """Description of a Shake-Shake network.

    Attributes:
        blocks: Units of each stage.
        stem_width: Channels of the stem's convolution.
        widths: Output channels of the units of each stage.
        bottleneck: Branches of 1x1, grouped 3x3 and 1x1 convolutions, or of two 3x3 ones.
        groups: Groups of the 3x3 convolution of a bottleneck.
        backward: The gradient of a unit: `"shake"` or `"even"`.
        se_position: `"sum"`: on the random sum, before the shortcut is added; `"branch"`: on each
            branch.
    """

    blocks: tuple[int, ...] = checked(INTEGERS, (4, 4, 4))
    stem_width: int = checked(positive_integer, 16)
    widths: tuple[int, ...] = checked(INTEGERS, (96, 192, 384))
    bottleneck: bool = checked(boolean, False)
    groups: int = checked(positive_integer, 1)
    backward: str = checked(one_of(*BACKWARD), "shake")
    se_position: str = checked(one_of("sum", "branch"), "sum")

    def __post_init__(self) -> None:
        super().__post_init__()
        same_length(self.blocks, self.widths)
        # Each half of a shortcut has half the channels.
        if any(width % 2 for width in self.widths):
            raise ValueError(f"`widths` must be even. Received: widths={self.widths}")
        if any(width % self.groups for width in self.widths):
            raise ValueError(
                f"`groups` must divide the widths {self.widths}. Received: groups={self.groups}"
            )
        if self.groups > 1 and not self.bottleneck:
            raise ValueError(f"`groups` needs bottleneck=True. Received: groups={self.groups}")

    @property
    def units(self) -> Mapping[int, int]:
        return dict(enumerate(self.blocks, start=2))

    @property
    def features(self) -> int:
        return self.widths[-1]

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        return dict(enumerate(self.widths, start=2))

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        x = batch_norm(conv(x, self.stem_width, 3, "stem_conv"), "stem_bn")
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), 2):
            for n in range(1, count + 1):
                x = self._unit(x, se, width, 2 if n == 1 and stage > 2 else 1, stage, n)
        return relu(x, "post_relu")

    def _unit(
        self, x: Any, se: AttentionConfig | None, width: int, stride: int, stage: int, n: int
    ) -> Any:
        name = f"stage{stage}_block{n}"
        active = relu(x, f"{name}_relu")
        changes = stride > 1 or x.shape[channel_axis()] != width
        shortcut = _shortcut(active, width, stride, name) if changes else x
        ends = []
        for number in BRANCHES:
            branch = f"{name}_branch{number}"
            y = self._branch(active, width, stride, branch)
            if self.se_position == "branch":
                y = self.squeeze_excite(y, se, stage, f"{branch}_se")
            ends.append(y)
        y = ShakeShake(self.backward, name=f"{name}_shake")(ends)
        if self.se_position == "sum":
            y = self.squeeze_excite(y, se, stage, f"{name}_se")
        return layers.Add(name=f"{name}_add")([y, shortcut])

    def _branch(self, x: Any, width: int, stride: int, name: str) -> Any:
        """Build the branch after its first ReLU."""
        convs = [(3, stride, 1), (3, 1, 1)]
        if self.bottleneck:
            convs = [(1, 1, 1), (3, stride, self.groups), (1, 1, 1)]
        for index, (kernel, step, groups) in enumerate(convs, start=1):
            if index > 1:
                x = relu(x, f"{name}_relu{index}")
            x = conv(x, width, kernel, f"{name}_conv{index}", stride=step, groups=groups)
            x = batch_norm(x, f"{name}_bn{index}")
        return x


def _cropped(x: Any, name: str) -> Any:
    """Remove the last position of every axis."""
    rank = rank_of(x)
    if rank == 1:
        # Keras' layer for signals takes only channels last.
        return x[:, :, :-1] if channel_axis() == 1 else layers.Cropping1D((0, 1), name=name)(x)
    return ranked("Cropping", rank)(((0, 1),) * rank, name=name)(x)


def _shortcut(x: Any, width: int, stride: int, name: str) -> Any:
    """Build two 1x1 convolutions, on the pixels and on those one step up and to the left."""
    name = f"{name}_shortcut"
    shifted = edge_pad(_cropped(x, f"{name}_crop"), (1, 0), f"{name}_shift")
    halves = [
        conv(y, width // 2, 1, f"{name}_conv{n}", stride=stride)
        for n, y in enumerate((x, shifted), start=1)
    ]
    x = layers.Concatenate(channel_axis(), name=f"{name}_concat")(halves)
    return batch_norm(x, f"{name}_bn")


SEShakeShake26 = network_builder(
    "SEShakeShake26",
    "se_shake_shake26",
    ShakeShakeNetwork(),
    UNTRAINED_CIFAR,
    summary="SE-Shake-Shake 26 2x96d for 32 x 32 images.",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Table 4; Gastaldi\n"
        "    (arXiv:1705.07485), Table 1."
    ),
)
SEShakeShake29 = network_builder(
    "SEShakeShake29",
    "se_shake_shake29",
    ShakeShakeNetwork((3, 3, 3), 64, (256, 512, 1024), True, groups=4, backward="even"),
    UNTRAINED_CIFAR,
    summary="SE-Shake-Even 29 2x4x64d for 32 x 32 images.",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Table 5; Gastaldi\n"
        "    (arXiv:1705.07485), Table 2."
    ),
)
