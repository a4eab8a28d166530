"""The base class and building blocks of all network descriptions.

A description is a frozen dataclass whose fields cover the differences between the published
variants of a family, and which builds the network. Layer names are part of the weight format:
golden files pin them. A layer named `stage<k>_...` belongs to stage k; in networks for 224 pixels
and more its feature maps are 2 ** k times smaller than the image, and the last such layer is the
stage's output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from keras import layers

from keras_se.checks import number, unknown_choice
from keras_se.fields import check_fields
from keras_se.layers import (
    BatchNormalization,
    DepthwiseConv3D,
    EdgePadding3D,
    GroupedConv1D,
    GroupedConv2D,
    GroupedConv3D,
)
from keras_se.layers._arguments import channel_axis
from keras_se.layers._ranks import rank_of, ranked
from keras_se.layers.attention import AttentionConfig

# Keras' equivalent of 0.1 in Caffe and Torch.
BATCH_NORM_MOMENTUM = 0.9
# Width multipliers.
MULTIPLIER = number("above 0, at most 100", lambda value: 0 < value <= 100)
# By the number of spatial axes.
GROUPED: Mapping[int, Any] = {1: GroupedConv1D, 2: GroupedConv2D, 3: GroupedConv3D}
DEPTHWISE: Mapping[int, Any] = {
    1: layers.DepthwiseConv1D,
    2: layers.DepthwiseConv2D,
    3: DepthwiseConv3D,
}
EDGE_PADDING = {1: layers.ZeroPadding1D, 2: layers.ZeroPadding2D, 3: EdgePadding3D}


@dataclass(frozen=True)
class NetworkDescription(ABC):
    """The base class of all descriptions.

    Attributes:
        placements: Placements of attention blocks that the network supports.
        ranks: Numbers of spatial axes that it supports: 1 for signals, 2 for images, 3 for volumes.
        min_length: Smallest length of a signal and depth of a volume, if it is less than the
            smallest height and width.
    """

    placements: ClassVar[tuple[str, ...]] = ("standard",)
    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)
    min_length: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    @abstractmethod
    def units(self) -> Mapping[int, int]:
        """The number of units of each stage with Squeeze-and-Excitation."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Channels of the last feature maps."""

    @property
    def stride(self) -> int | None:
        """The total stride, if inputs may be that small, else `None`."""
        return None

    @property
    def first_convolution(self) -> str:
        """Name of the first convolution."""
        return "stem_conv"

    @property
    def depth(self) -> int:
        """An upper bound on the number of consecutive layers."""
        return 1000 + 20 * sum(self.units.values())

    @abstractmethod
    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        """Return the fewest channels that Squeeze-and-Excitation acts on, by stage."""

    @abstractmethod
    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        """Build the feature maps before global pooling, from normalised images.

        Args:
            x: `(batch, *spatial, C)` or `(batch, C, *spatial)`, of one of the `ranks`.
            se: The network's Squeeze-and-Excitation, or `None` for the plain network.
        """

    def vector(self, x: Any) -> Any:
        """Build the classifier's input from the feature maps."""
        return global_pool(x, "Average", "avg_pool")

    def varied(self, variant: Mapping[str, Any] | None) -> Self:
        """Return this description with some fields changed and checked."""
        if variant is None:
            return self
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

    def check(self, se: AttentionConfig | None) -> None:
        """Raise a `ValueError` unless the network supports `se`."""
        if se is None:
            return
        if not isinstance(se, AttentionConfig):
            raise ValueError(
                f"`se` must be None or settings such as `keras_se.SEConfig()`. Received: se={se!r}"
            )
        if se.placement not in self.placements:
            listed = ", ".join(map(repr, self.placements))
            raise ValueError(
                f"`placement` must be {listed} in a {type(self).__name__}. "
                f"Received: placement={se.placement!r}"
            )
        every = tuple(self.units)
        stages = every if se.stages is None else se.stages
        if not set(stages) <= set(every):
            raise ValueError(
                f"`stages` must be among this network's stages {every}. Received: stages={stages}"
            )
        narrowest = self.narrowest(se)
        for stage in stages:
            se.check_channels(narrowest[stage], f"in stage {stage}")

    def squeeze_excite(self, x: Any, se: AttentionConfig | None, stage: int, name: str) -> Any:
        """Apply a block named `name` to `x`, if the stage has blocks."""
        if se is None or not (se.stages is None or stage in se.stages):
            return x
        own = se.at(list(self.units).index(stage))
        return own.layer(x.shape[channel_axis()], self.hidden_units, name=name)(x)

    def is_added(self, variable: str) -> bool:
        """Whether the published plain network lacks this `<layer>/<variable>`."""
        return False

    def hidden_units(self, channels: int, ratio: int) -> int | None:
        """Return the hidden width of a block, or `None` for `channels // ratio`."""
        return None


def same_length(blocks: tuple[int, ...], widths: tuple[int, ...]) -> None:
    """Raise a `ValueError` unless every stage has both."""
    if len(blocks) != len(widths):
        raise ValueError(
            f"`blocks` must have {len(widths)} numbers, one per width. Received: blocks={blocks}"
        )


def conv(
    x: Any,
    filters: int,
    kernel: int | tuple[int, int],
    name: str,
    *,
    stride: int = 1,
    groups: int = 1,
    padding: str = "symmetric",
    use_bias: bool = False,
) -> Any:
    """Apply a convolution.

    `padding` is `"symmetric"` (half the kernel on every side, as in Caffe and Torch), Keras'
    `"same"`, which differs at stride 2, or `"valid"`.
    """
    rank = rank_of(x)
    if padding == "symmetric":
        padding = "same"
        if stride > 1:
            padding = "valid"
            if kernel != 1:
                half = kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
                x = ranked("ZeroPadding", rank)(half, name=f"{name}_pad")(x)
        elif kernel == 1:
            padding = "valid"
    options: dict[str, Any] = {"groups": groups} if groups > 1 else {}
    return (GROUPED[rank] if groups > 1 else ranked("Conv", rank))(
        filters,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer="he_uniform",
        name=name,
        **options,
    )(x)


def depthwise_conv(x: Any, name: str, stride: int = 1) -> Any:
    """Apply a depthwise convolution of size 3; with a stride above 1 the input is padded."""
    return DEPTHWISE[rank_of(x)](
        3,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        depthwise_initializer="he_uniform",
        name=name,
    )(x)


def batch_norm(
    x: Any, name: str, *, epsilon: float = 1e-5, scale: bool = True, gamma: str = "ones"
) -> Any:
    """Apply BatchNorm over the channels; `gamma` is the initialiser of its scale."""
    return BatchNormalization(
        axis=channel_axis(),
        epsilon=epsilon,
        momentum=BATCH_NORM_MOMENTUM,
        scale=scale,
        gamma_initializer=gamma,
        name=name,
    )(x)


def relu(x: Any, name: str) -> Any:
    """Apply a ReLU."""
    return layers.Activation("relu", name=name)(x)


def ceil_max_pool(x: Any, name: str) -> Any:
    """Apply 3x3 max-pooling with stride 2 in Caffe's ceil mode.

    Zero padding equals minus infinity here, since the input comes from a ReLU.
    """
    return pool(edge_pad(x, (0, 1), f"{name}_pad"), "Max", 3, name, stride=2)


def pad(x: Any, padding: int | tuple[int, int], name: str) -> Any:
    """Pad every axis with zeros, before a convolution; `padding` may be (before, after)."""
    rank = rank_of(x)
    return ranked("ZeroPadding", rank)(_sides(padding, rank), name=name)(x)


def edge_pad(x: Any, padding: int | tuple[int, int], name: str) -> Any:
    """Pad every axis with zeros, but the depth of a volume with its outer slices, before a pool.

    So an inflated network treats equal slices as the network for images treats one.
    """
    rank = rank_of(x)
    return EDGE_PADDING[rank](_sides(padding, rank), name=name)(x)


def _sides(padding: int | tuple[int, int], rank: int) -> Any:
    """Padding as Keras' layers of that rank take it."""
    return padding if isinstance(padding, int) or rank == 1 else (padding,) * rank


def pool(
    x: Any, kind: str, size: int, name: str, *, stride: int | None = None, padding: str = "valid"
) -> Any:
    """Apply pooling of a kind, `"Average"` or `"Max"`; the stride defaults to the size."""
    layer = ranked(f"{kind}Pooling", rank_of(x))
    return layer(size, strides=stride, padding=padding, name=name)(x)


def global_pool(x: Any, kind: str, name: str) -> Any:
    """Apply global pooling of a kind, `"Average"` or `"Max"`."""
    return ranked(f"Global{kind}Pooling", rank_of(x))(name=name)(x)
