"""Residual networks of the SE paper and of the published weights, as one description.

`ResidualNetwork` names everything in which the published variants differ; `residual_features`
builds whatever it describes. Two networks differ in data only.

Layers are named by the paper's stage numbers: the stem is stage 1, the first stage of residual
units is stage 2. Layer names are part of the weights' format: golden files pin them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from keras import KerasTensor, config, layers, ops

from keras_se.checks import boolean, positive_integer, unknown_choice
from keras_se.config import SEConfig
from keras_se.layers import GroupedConv2D, SqueezeExcite
from keras_se.layers.squeeze_excite import get_activation

# Caffe's and Torch's 0.1 in Keras' sense of the word.
BATCH_NORM_MOMENTUM = 0.9
EXPANSION = 4

CHOICES: dict[str, tuple[str | None, ...]] = {
    "stem_pool": ("ceil", "pad1", "average", None),
    "stride_on": ("1x1", "3x3"),
    "shortcut": ("1x1", "3x3", "average_pool", "zero_pad"),
}


@dataclass(frozen=True)
class ResidualNetwork:
    """What a residual network looks like.

    Attributes:
        blocks: Units of each stage.
        widths: Width of each stage: the channels of a unit's 3x3 convolution before `base_width`
            and `groups` are applied. A unit's output has four times as many (`bottleneck`) or as
            many (basic) channels.
        bottleneck: 1x1, 3x3, 1x1 convolutions, or two 3x3 ones.
        groups: Groups of the 3x3 convolution (ResNeXt's cardinality).
        base_width: Channels of one group at width 64 (ResNeXt's 4d is 4).
        reduce_divisor: The first 1x1 convolution has this many times fewer channels than the 3x3
            (2 in SENet-154).
        stem_widths: One: a single convolution; three: three 3x3 convolutions (deep stem).
        stem_kernel: Kernel size of a single stem convolution.
        stem_stride: Stride of the first stem convolution.
        stem_pool: `"ceil"`: 3x3/2 max-pool padded right and below (Caffe's ceil mode);
            `"pad1"`: padded by one on every side (Torch); `"average"`: 2x2/2 average; `None`.
        stride_on: Which convolution of a bottleneck halves the resolution.
        shortcut: The projection, where a unit changes the shape: a `"1x1"` convolution; a `"3x3"`
            one where the resolution halves; `"average_pool"`: 2x2 average, then 1x1;
            `"zero_pad"`: subsampling and zero channels, without parameters (option A).
        preactivation: BatchNorm and ReLU before each convolution.
        input_norm: BatchNorm without a scale on the input (MXNet's networks).
        stem_norm: BatchNorm and ReLU after the last convolution of the stem.
        final_norm: In a pre-activation network, BatchNorm and ReLU after the last unit.
        project_first: The first unit of every stage has a projection, also where it keeps the
            shape (MXNet's networks).
        epsilon: Added to BatchNorm's variances.
        antialias: The resolution halves in a 2x2 average after the 3x3 convolution instead.
        hidden_divisor: Hidden widths of SE are rounded to multiples of this, and never below it
            (8 in timm); `None`: `channels // ratio`.
        relu_before_se: An additional ReLU before SE (timm's legacy SE-ResNet-18 and 34).
        dropout: Rate of dropout before the classifier, in training.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = True
    groups: int = 1
    base_width: int = 64
    reduce_divisor: int = 1
    stem_widths: tuple[int, ...] = (64,)
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: str | None = "ceil"
    stride_on: str = "1x1"
    shortcut: str = "1x1"
    preactivation: bool = False
    input_norm: bool = False
    stem_norm: bool = True
    final_norm: bool = True
    project_first: bool = False
    epsilon: float = 1e-5
    antialias: bool = False
    hidden_divisor: int | None = None
    relu_before_se: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(unknown_choice(name, getattr(self, name), choices))
        for name in ("groups", "base_width", "reduce_divisor", "stem_kernel", "stem_stride"):
            positive_integer(name, getattr(self, name))
        for field in fields(self):
            if field.type == "bool":
                boolean(field.name, getattr(self, field.name))
        for name in ("blocks", "widths", "stem_widths"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not value:
                raise ValueError(
                    f"`{name}` must be a tuple of integers. Received: {name}={value!r}"
                )
            object.__setattr__(self, name, tuple(positive_integer(name, n) for n in value))
        if len(self.blocks) != len(self.widths):
            raise ValueError(
                f"`blocks` must have one number for each of the {len(self.widths)} `widths`. "
                f"Received: blocks={self.blocks}"
            )
        if len(self.stem_widths) not in (1, 3):
            raise ValueError(
                "`stem_widths` must have one or three numbers. "
                f"Received: stem_widths={self.stem_widths}"
            )
        for option, needs, met in (
            ("antialias", "stride_on='3x3'", self.stride_on == "3x3" or not self.bottleneck),
            ("relu_before_se", "preactivation=False", not self.preactivation),
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
        if self.hidden_divisor is not None:
            positive_integer("hidden_divisor", self.hidden_divisor)
        if not isinstance(self.epsilon, int | float) or not 0 < self.epsilon < 1:
            raise ValueError(
                f"`epsilon` must be between 0 and 1. Received: epsilon={self.epsilon!r}"
            )
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ValueError(
                f"`dropout` must be from 0 to less than 1. Received: dropout={self.dropout!r}"
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """The paper's stage numbers."""
        return tuple(range(2, 2 + len(self.blocks)))

    @property
    def features(self) -> int:
        """Channels of the last feature maps."""
        return self.widths[-1] * (EXPANSION if self.bottleneck else 1)

    def varied(self, variant: Mapping[str, Any]) -> ResidualNetwork:
        """This description with some fields changed, checked."""
        if not isinstance(variant, Mapping):
            raise ValueError(
                "`variant` must be a mapping of fields to values such as {'stride_on': '3x3'}. "
                f"Received: variant={variant!r}"
            )
        names = [field.name for field in fields(self)]
        for name in variant:
            if name not in names:
                raise ValueError(unknown_choice("variant", name, names))
        return replace(self, **variant)


def check_squeeze_excite(net: ResidualNetwork, se: SEConfig | None) -> None:
    """Raise a `ValueError` unless `se` can be put into the network."""
    if se is None:
        return
    if not isinstance(se, SEConfig):
        raise ValueError(f"`se` must be a `keras_se.SEConfig` or None. Received: se={se!r}")
    get_activation("activation", se.activation)
    stages = net.stages if se.stages is None else se.stages
    if not set(stages) <= set(net.stages):
        raise ValueError(
            f"`stages` must be among this network's stages {net.stages}. Received: stages={stages}"
        )
    if not stages or net.hidden_divisor:
        return
    outputs = [planes * (EXPANSION if net.bottleneck else 1) for planes in net.widths]
    channels = {
        "pre": [net.stem_widths[-1], *outputs],
        "conv3x3": [_convolutions(net, planes, 1)[net.bottleneck][0] for planes in net.widths],
    }.get(se.placement, outputs)
    narrowest, stage = min((channels[net.stages.index(stage)], stage) for stage in stages)
    if se.ratio > narrowest:
        raise ValueError(
            f"`ratio` must be at most the number of channels, {narrowest} in stage {stage}. "
            f"Received: ratio={se.ratio}"
        )


def channel_axis() -> int:
    """Axis of the channels under Keras' current data format."""
    return 1 if config.image_data_format() == "channels_first" else -1


def _conv(
    x: KerasTensor, filters: int, kernel: int, stride: int, name: str, groups: int = 1
) -> Any:
    # Padding is symmetric, as in Caffe and Torch; "same" is not where the stride is 2.
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    options: dict[str, Any] = {"groups": groups} if groups > 1 else {}
    return (GroupedConv2D if groups > 1 else layers.Conv2D)(
        filters,
        kernel,
        strides=stride,
        padding="valid" if stride > 1 or kernel == 1 else "same",
        use_bias=False,
        kernel_initializer="he_uniform",
        name=name,
        **options,
    )(x)


def _batch_norm(x: KerasTensor, net: ResidualNetwork, name: str, scale: bool = True) -> Any:
    return layers.BatchNormalization(
        axis=channel_axis(),
        epsilon=net.epsilon,
        momentum=BATCH_NORM_MOMENTUM,
        scale=scale,
        name=name,
    )(x)


def _relu(x: KerasTensor, name: str) -> Any:
    return layers.Activation("relu", name=name)(x)


def _squeeze_excite(x: KerasTensor, net: ResidualNetwork, se: SEConfig, name: str) -> Any:
    hidden = None
    if net.hidden_divisor:
        channels, divisor = x.shape[channel_axis()], net.hidden_divisor
        hidden = max(divisor, int(channels / se.ratio + divisor / 2) // divisor * divisor)
    return SqueezeExcite(
        se.ratio,
        squeeze=se.squeeze,
        gate=se.gate,
        activation=se.activation,
        use_bias=se.use_bias,
        hidden_units=hidden,
        name=f"{name}_se",
    )(x)


def _stem(x: KerasTensor, net: ResidualNetwork) -> Any:
    if net.input_norm:
        x = _batch_norm(x, net, "input_bn", scale=False)
    single = len(net.stem_widths) == 1
    for index, width in enumerate(net.stem_widths, start=1):
        suffix, last = ("" if single else str(index)), index == len(net.stem_widths)
        kernel = net.stem_kernel if single else 3
        x = _conv(x, width, kernel, net.stem_stride if index == 1 else 1, f"stem_conv{suffix}")
        # Where it has none the first unit's own follow (He et al. 2016b).
        if net.stem_norm or not last:
            x = _batch_norm(x, net, f"stem_bn{suffix}")
            x = _relu(x, f"stem_relu{suffix}")
    if net.stem_pool == "ceil":
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="stem_pool_pad")(x)
    elif net.stem_pool == "pad1":
        x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    if net.stem_pool == "average":
        x = layers.AveragePooling2D(2, name="stem_pool")(x)
    elif net.stem_pool:
        # Zeros are as good as minus infinity: what is pooled has been through a ReLU.
        x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    return x


def _shortcut(x: KerasTensor, net: ResidualNetwork, filters: int, stride: int, name: str) -> Any:
    """The shortcut of a unit that projects."""
    name = f"{name}_shortcut"
    if net.shortcut == "zero_pad":
        missing = filters - x.shape[channel_axis()]
        if stride > 1:
            x = layers.AveragePooling2D(1, strides=stride, name=f"{name}_pool")(x)
        padding = [[0, 0]] * 4
        padding[channel_axis()] = [0, missing]
        return ops.pad(x, padding) if missing else x
    if net.shortcut == "average_pool" and stride > 1:
        x = layers.AveragePooling2D(2, strides=stride, padding="same", name=f"{name}_pool")(x)
        stride = 1
    kernel = 3 if net.shortcut == "3x3" and stride > 1 else 1
    x = _conv(x, filters, kernel, stride, f"{name}_conv")
    return x if net.preactivation else _batch_norm(x, net, f"{name}_bn")


def _convolutions(
    net: ResidualNetwork, planes: int, stride: int
) -> list[tuple[int, int, int, int]]:
    """(filters, kernel, stride, groups) of each convolution of a unit."""
    if not net.bottleneck:
        return [(planes, 3, stride, 1), (planes, 3, 1, 1)]
    width = planes * net.base_width // 64 * net.groups
    first, second = (stride, 1) if net.stride_on == "1x1" else (1, stride)
    return [
        (width // net.reduce_divisor, 1, first, 1),
        (width, 3, second, net.groups),
        (planes * EXPANSION, 1, 1, 1),
    ]


def _unit(
    x: KerasTensor, net: ResidualNetwork, se: SEConfig | None, planes: int, stage: int, block: int
) -> Any:
    """One residual unit; `se` is None where the stage has no SE.

    Where the paper does not say: `"pre"` acts on the branch's input after the shortcut has left;
    `"identity"` after the projection; `"conv3x3"` after the BatchNorm and ReLU that follow the
    3x3 convolution, the first one in a basic unit.
    """
    name = f"stage{stage}_block{block}"
    stride = 2 if block == 1 and stage > net.stages[0] else 1
    placement = se.placement if se else None

    def excited(x: KerasTensor, where: str) -> Any:
        return _squeeze_excite(x, net, se, name) if se and placement == where else x

    convolutions = _convolutions(net, planes, stride)
    filters = convolutions[-1][0]
    projects = stride > 1 or x.shape[channel_axis()] != filters
    projects = projects or (net.project_first and block == 1)
    # A projection too starts from the activation (He et al. 2016b), and so does the first
    # shortcut after a stem without one.
    shared = net.preactivation and (projects or (name == "stage2_block1" and not net.stem_norm))
    if shared:
        x = _relu(_batch_norm(x, net, f"{name}_bn1"), f"{name}_relu1")
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
            x = _relu(_batch_norm(x, net, f"{name}_bn{number}"), f"{name}_relu{number}")
        if net.preactivation and index == squeezed + 1:
            x = excited(x, "conv3x3")
        pooled = net.antialias and conv_stride > 1 and kernel == 3
        x = _conv(x, width, kernel, 1 if pooled else conv_stride, f"{name}_conv{number}", groups)
        if not net.preactivation:
            x = _batch_norm(x, net, f"{name}_bn{number}")
            if index < last or net.relu_before_se:
                x = _relu(x, f"{name}_relu{number}")
            if index == squeezed:
                x = excited(x, "conv3x3")
        if pooled:
            x = layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(x)
    x = excited(x, "standard")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    if not net.preactivation:
        x = _relu(x, f"{name}_relu")
    return excited(x, "post")


def residual_features(x: KerasTensor, net: ResidualNetwork, se: SEConfig | None) -> Any:
    """The network's feature maps before global pooling.

    Args:
        x: Normalised pictures, `(batch, H, W, C)` or `(batch, C, H, W)`.
        net: What to build.
        se: Its Squeeze-and-Excitation, or `None` for the plain network.

    Returns:
        A symbolic tensor.
    """
    x = _stem(x, net)
    for stage, units, planes in zip(net.stages, net.blocks, net.widths, strict=True):
        stage_se = se if se and (se.stages is None or stage in se.stages) else None
        for block in range(1, units + 1):
            x = _unit(x, net, stage_se, planes, stage, block)
    if net.preactivation and net.final_norm:
        x = _relu(_batch_norm(x, net, "post_bn"), "post_relu")
    return x
