"""One description for the residual networks of the SE paper and of the published weights.

The fields of `ResidualNetwork` cover all differences between the published variants, so networks
differ only in data. Stages have the paper's numbers: the stem is stage 1, the first stage of
residual units is stage 2.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from keras import KerasTensor, layers, ops

from keras_se.checks import boolean, one_of, or_none, positive_integer, tuple_of
from keras_se.fields import CHECK, FRACTION, INTEGERS, SHARE, checked
from keras_se.layers import StochasticDepth
from keras_se.layers.attention import NEUTRAL_GATES, PLACEMENTS, AttentionConfig
from keras_se.models._network import (
    NetworkDescription,
    batch_norm,
    ceil_max_pool,
    channel_axis,
    conv,
    edge_pad,
    pool,
    relu,
    same_length,
)

EXPANSION = 4
ROWS = tuple_of(INTEGERS, "a tuple of tuples of integers of at least 1")


@dataclass(frozen=True)
class ResidualNetwork(NetworkDescription):
    """Description of a residual network.

    Attributes:
        blocks: Units of each stage.
        widths: Width of each stage: the channels of a unit's 3x3 convolution before `base_width`
            and `groups` are applied. A unit's output has four times as many (`bottleneck`) or as
            many (basic) channels.
        bottleneck: Units of 1x1, 3x3, 1x1 convolutions, or of two 3x3 ones.
        groups: Groups of the 3x3 convolution (ResNeXt's cardinality).
        base_width: Channels of one group at width 64 (ResNeXt's 4d is 4).
        unit_widths: Filters of the convolutions of each unit, all stages in one list, in place of
            those derived from `widths` (timm's pruned networks). Defaults to `None`.
        reduce_divisor: The first 1x1 convolution has this many times fewer channels than the 3x3
            (2 in SENet-154).
        stem_widths: One number: a single convolution; three: three 3x3 convolutions (deep stem).
        stem_kernel: Kernel size of a single stem convolution.
        stem_stride: Stride of the first stem convolution.
        stem_pool: `"ceil"`: 3x3/2 max-pool padded right and below (Caffe's ceil mode);
            `"pad1"`: padded by one on every side (Torch); `"average"`: 2x2/2 average; `"conv"`:
            a 3x3/2 convolution, BatchNorm and ReLU instead (ResNet-RS); `None`.
        stride_on: The convolution of a bottleneck that halves the resolution.
        shortcut: The projection where a unit changes the shape: a `"1x1"` convolution; a `"3x3"`
            one where the resolution halves; `"average_pool"`: 2x2 average, then 1x1;
            `"zero_pad"`: subsampling and zero channels, without parameters (option A).
        preactivation: BatchNorm and ReLU before each convolution.
        input_norm: BatchNorm without a scale on the input (MXNet's networks).
        stem_norm: BatchNorm and ReLU after the last convolution of the stem.
        final_norm: In a pre-activation network, BatchNorm and ReLU after the last unit.
        project_first: The first unit of every stage has a projection, even where it keeps the
            shape (MXNet's networks).
        epsilon: Added to BatchNorm's variances.
        antialias: A 2x2 average after the 3x3 convolution halves the resolution instead.
        hidden_divisor: Hidden widths of SE are rounded to multiples of this, but never below it
            (8 in timm); `None`: `channels // ratio`.
        relu_before_se: An additional ReLU before SE (timm's legacy SE-ResNet-18 and 34).
        dropout: Dropout rate before the classifier, in training.
        stochastic_depth: Rate of dropping the last unit's branch in training, independently for
            each image; the rates of the units rise linearly with depth, from 0 at the stem
            (Huang et al., arXiv:1603.09382, Equation 4).
        zero_last_gamma: The scale of the last BatchNorm of every branch starts at zero, so that
            every unit starts as its shortcut (Goyal et al., arXiv:1706.02677, Section 5.1).
    """

    placements: ClassVar[tuple[str, ...]] = PLACEMENTS
    min_length: ClassVar[int | None] = 3

    blocks: tuple[int, ...] = field(metadata={CHECK: INTEGERS})
    widths: tuple[int, ...] = checked(INTEGERS, (64, 128, 256, 512))
    bottleneck: bool = checked(boolean, True)
    groups: int = checked(positive_integer, 1)
    base_width: int = checked(positive_integer, 64)
    unit_widths: tuple[tuple[int, ...], ...] | None = checked(or_none(ROWS), None)
    reduce_divisor: int = checked(positive_integer, 1)
    stem_widths: tuple[int, ...] = checked(INTEGERS, (64,))
    stem_kernel: int = checked(positive_integer, 7)
    stem_stride: int = checked(positive_integer, 2)
    stem_pool: str | None = checked(one_of("ceil", "pad1", "average", "conv", None), "ceil")
    stride_on: str = checked(one_of("1x1", "3x3"), "1x1")
    shortcut: str = checked(one_of("1x1", "3x3", "average_pool", "zero_pad"), "1x1")
    preactivation: bool = checked(boolean, False)
    input_norm: bool = checked(boolean, False)
    stem_norm: bool = checked(boolean, True)
    final_norm: bool = checked(boolean, True)
    project_first: bool = checked(boolean, False)
    epsilon: float = checked(FRACTION, 1e-5)
    antialias: bool = checked(boolean, False)
    hidden_divisor: int | None = checked(or_none(positive_integer), None)
    relu_before_se: bool = checked(boolean, False)
    dropout: float = checked(SHARE, 0.0)
    stochastic_depth: float = checked(SHARE, 0.0)
    zero_last_gamma: bool = checked(boolean, False)

    def __post_init__(self) -> None:
        super().__post_init__()
        same_length(self.blocks, self.widths)
        if len(self.stem_widths) not in (1, 3):
            raise ValueError(
                "`stem_widths` must have one or three numbers. "
                f"Received: stem_widths={self.stem_widths}"
            )
        for option, needs, met in (
            ("antialias", "stride_on='3x3'", self.stride_on == "3x3" or not self.bottleneck),
            ("relu_before_se", "preactivation=False", not self.preactivation),
            ("zero_last_gamma", "preactivation=False", not self.preactivation),
            # A ReLU has no gradient at zero.
            ("zero_last_gamma", "relu_before_se=False", not self.relu_before_se),
        ):
            if getattr(self, option) and not met:
                raise ValueError(f"`{option}=True` needs {needs}. Received: {option}=True")
        for option in ("stem_norm", "final_norm"):
            if not (getattr(self, option) or self.preactivation):
                raise ValueError(
                    f"`{option}=False` needs preactivation=True. Received: {option}=False"
                )
        dense = (self.groups, self.base_width, self.reduce_divisor) == (1, 64, 1)
        if not self.bottleneck and not dense:
            raise ValueError(
                "`groups`, `base_width` and `reduce_divisor` need bottleneck=True. "
                f"Received: bottleneck=False, groups={self.groups}, base_width={self.base_width}, "
                f"reduce_divisor={self.reduce_divisor}"
            )
        if self.unit_widths is not None:
            expected, count = sum(self.blocks), 3 if self.bottleneck else 2
            if [len(row) for row in self.unit_widths] != [count] * expected:
                raise ValueError(
                    f"`unit_widths` must have {count} numbers for each of {expected} units. "
                    f"Received: unit_widths={self.unit_widths}"
                )

    @property
    def stages(self) -> tuple[int, ...]:
        """The paper's stage numbers."""
        return tuple(range(2, 2 + len(self.blocks)))

    @property
    def features(self) -> int:
        """Channels of the last feature maps."""
        return self.filters(self.stages[-1], self.blocks[-1])[-1]

    @property
    def units(self) -> Mapping[int, int]:
        return dict(zip(self.stages, self.blocks, strict=True))

    @property
    def first_convolution(self) -> str:
        return "stem_conv1" if len(self.stem_widths) > 1 else "stem_conv"

    def check(self, se: AttentionConfig | None) -> None:
        super().check(se)
        # Zero times zero has no gradient.
        dead = se is not None and se.placement == "standard" and not se.starts_neutral
        if self.zero_last_gamma and dead:
            raise ValueError(
                f"`zero_last_gamma=True` needs a gate that is one half at zero, one of "
                f"{NEUTRAL_GATES}. Received: zero_last_gamma=True, se={se!r}"
            )

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        if self.hidden_divisor:
            # Any ratio rounds up to it.
            return dict.fromkeys(self.stages, sys.maxsize)
        scaled = {"conv3x3": int(self.bottleneck)}.get(se.placement, -1)
        channels = [
            min(self.filters(stage, block)[scaled] for block in range(1, units + 1))
            for stage, units in self.units.items()
        ]
        if se.placement == "pre":
            channels = [self.stem_widths[-1], *channels]
        return dict(zip(self.stages, channels, strict=False))

    def filters(self, stage: int, block: int) -> tuple[int, ...]:
        """Return the filters of each convolution of a unit."""
        index = self.stages.index(stage)
        if self.unit_widths is not None:
            return self.unit_widths[sum(self.blocks[:index]) + block - 1]
        planes = self.widths[index]
        if not self.bottleneck:
            return planes, planes
        width = planes * self.base_width // 64 * self.groups
        return width // self.reduce_divisor, width, planes * EXPANSION

    def hidden_units(self, channels: int, ratio: int) -> int | None:
        if self.hidden_divisor is None:
            return None
        divisor = self.hidden_divisor
        return max(divisor, int(channels / ratio + divisor / 2) // divisor * divisor)

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        x = _stem(x, self)
        depth, total = 0, sum(self.blocks)
        for stage, units in self.units.items():
            for block in range(1, units + 1):
                depth += 1
                x = _unit(x, self, se, stage, block, self.stochastic_depth * depth / total)
        if self.preactivation and self.final_norm:
            x = relu(batch_norm(x, "post_bn", epsilon=self.epsilon), "post_relu")
        return x

    def vector(self, x: Any) -> Any:
        x = super().vector(x)
        return layers.Dropout(self.dropout, name="top_dropout")(x) if self.dropout else x


def _stem(x: KerasTensor, net: ResidualNetwork) -> Any:
    if net.input_norm:
        x = batch_norm(x, "input_bn", epsilon=net.epsilon, scale=False)
    single = len(net.stem_widths) == 1
    for index, width in enumerate(net.stem_widths, start=1):
        suffix, last = ("" if single else str(index)), index == len(net.stem_widths)
        kernel = net.stem_kernel if single else 3
        x = conv(
            x, width, kernel, f"stem_conv{suffix}", stride=net.stem_stride if index == 1 else 1
        )
        # Without a norm here, the first unit's own follows (He et al. 2016b).
        if net.stem_norm or not last:
            x = batch_norm(x, f"stem_bn{suffix}", epsilon=net.epsilon)
            x = relu(x, f"stem_relu{suffix}")
    if net.stem_pool == "ceil":
        return ceil_max_pool(x, "stem_pool")
    if net.stem_pool == "pad1":
        x = edge_pad(x, 1, "stem_pool_pad")
        return pool(x, "Max", 3, "stem_pool", stride=2)
    if net.stem_pool == "average":
        return pool(x, "Average", 2, "stem_pool")
    if net.stem_pool == "conv":
        x = conv(x, net.stem_widths[-1], 3, "stem_pool_conv", stride=2)
        return relu(batch_norm(x, "stem_pool_bn", epsilon=net.epsilon), "stem_pool")
    return x


def _shortcut(x: KerasTensor, net: ResidualNetwork, filters: int, stride: int, name: str) -> Any:
    """Build the shortcut of a unit with a projection."""
    name = f"{name}_shortcut"
    if net.shortcut == "zero_pad":
        missing = filters - x.shape[channel_axis()]
        if stride > 1:
            x = pool(x, "Average", 1, f"{name}_pool", stride=stride)
        padding = [[0, 0]] * len(x.shape)
        padding[channel_axis()] = [0, missing]
        return ops.pad(x, padding) if missing else x
    if net.shortcut == "average_pool" and stride > 1:
        x = pool(x, "Average", 2, f"{name}_pool", stride=stride, padding="same")
        stride = 1
    kernel = 3 if net.shortcut == "3x3" and stride > 1 else 1
    x = conv(x, filters, kernel, f"{name}_conv", stride=stride)
    return x if net.preactivation else batch_norm(x, f"{name}_bn", epsilon=net.epsilon)


def _convolutions(
    net: ResidualNetwork, stage: int, block: int, stride: int
) -> list[tuple[int, int, int, int]]:
    """Return (filters, kernel, stride, groups) for each convolution of a unit."""
    if not net.bottleneck:
        forms = [(3, stride, 1), (3, 1, 1)]
    else:
        first, second = (stride, 1) if net.stride_on == "1x1" else (1, stride)
        forms = [(1, first, 1), (3, second, net.groups), (1, 1, 1)]
    return [(n, *form) for n, form in zip(net.filters(stage, block), forms, strict=True)]


def _unit(
    x: KerasTensor, net: ResidualNetwork, se: AttentionConfig | None, stage: int, block: int,
    rate: float,
) -> Any:  # fmt: skip
    """Build one residual unit; training drops its branch at the given rate.

    Where the paper leaves it open: `"pre"` acts on the branch's input after the shortcut splits
    off; `"identity"` after the projection; `"conv3x3"` after the BatchNorm and ReLU that follow
    the 3x3 convolution, the first one in a basic unit.
    """
    name = f"stage{stage}_block{block}"
    stride = 2 if block == 1 and stage > net.stages[0] else 1
    placement = se.placement if se else None

    def excited(x: KerasTensor, where: str) -> Any:
        return net.squeeze_excite(x, se, stage, f"{name}_se") if placement == where else x

    convolutions = _convolutions(net, stage, block, stride)
    filters = convolutions[-1][0]
    projects = stride > 1 or x.shape[channel_axis()] != filters
    projects = projects or (net.project_first and block == 1)
    # A projection also starts from the activation (He et al. 2016b), and so does the first
    # shortcut after a stem without one.
    shared = net.preactivation and (projects or (name == "stage2_block1" and not net.stem_norm))
    if shared:
        x = relu(batch_norm(x, f"{name}_bn1", epsilon=net.epsilon), f"{name}_relu1")
    shortcut = x
    if projects:
        shortcut = _shortcut(shortcut, net, filters, stride, name)
    shortcut = excited(shortcut, "identity")

    x = excited(x, "pre")
    squeezed = 1 if net.bottleneck else 0
    last = len(convolutions) - 1
    for index, (width, kernel, conv_stride, groups) in enumerate(convolutions):
        number = index + 1
        if net.preactivation and not (index == 0 and shared):
            x = batch_norm(x, f"{name}_bn{number}", epsilon=net.epsilon)
            x = relu(x, f"{name}_relu{number}")
        if net.preactivation and index == squeezed + 1:
            x = excited(x, "conv3x3")
        pooled = net.antialias and conv_stride > 1 and kernel == 3
        conv_stride = 1 if pooled else conv_stride
        x = conv(x, width, kernel, f"{name}_conv{number}", stride=conv_stride, groups=groups)
        if not net.preactivation:
            gamma = "zeros" if net.zero_last_gamma and index == last else "ones"
            x = batch_norm(x, f"{name}_bn{number}", epsilon=net.epsilon, gamma=gamma)
            if index < last or net.relu_before_se:
                x = relu(x, f"{name}_relu{number}")
            if index == squeezed:
                x = excited(x, "conv3x3")
        if pooled:
            x = pool(x, "Average", 2, f"{name}_pool", padding="same")
    x = excited(x, "standard")
    if rate:
        x = StochasticDepth(rate, name=f"{name}_stochastic_depth")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    if not net.preactivation:
        x = relu(x, f"{name}_relu")
    return excited(x, "post")
