"""Facts about kinds of layers: one row each, by class name.

Names also cover operations of `keras.ops`, which have no public class, and layers inside
`keras.applications`. A subclass has the facts of its nearest base class with a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class ChannelFlow:
    """How a kind of layer treats channels.

    Attributes:
        flow: The output's channels: `"same"` as the input's; `"new"`; `"repeated"`: several per
            input channel; `"merged"`: each belongs to one of every input; `"first"`: as the first
            input's, and of the others only the size counts; `"concatenated"`: those of all inputs;
            `"flattened"`: those of each position.
        variables: For each attribute, its axes that hold channels, and whether these are those of
            the `"input"`, the `"output"`, or between both (`"inside"`).
        size: The setting for the number of output channels.
    """

    flow: str
    variables: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    size: str | None = None


@dataclass(frozen=True)
class Facts:
    """Facts about a kind of layer.

    Attributes:
        kernel: The form of its kernel, in which its output is linear.
        normalises: Whether it normalises, then applies a scale and an offset.
        homogeneous: Whether `f(2 x) = 2 f(x)` for a single input, with any settings.
        rectifies: Whether it is a kind of ReLU.
        adds: Whether it adds all its inputs.
        training_only: Whether it does nothing at inference.
        multiplies: `False`: elementwise at most, for any shapes of its weights; `True`: it
            multiplies tensors without weights; `None`: depends on its weights.
        channels: How it treats channels; `None` if unknown.
    """

    kernel: (
        Literal["convolution", "transposed", "separable", "depthwise", "dense", "einsum"] | None
    ) = None
    normalises: bool = False
    homogeneous: bool = False
    rectifies: bool = False
    adds: bool = False
    training_only: bool = False
    multiplies: bool | None = None
    channels: ChannelFlow | None = None


SAME, MERGED = ChannelFlow("same"), ChannelFlow("merged")
BIAS = {"bias": {0: "output"}}
STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")

ROWS: Mapping[str, Facts] = {
    "Conv1D Conv2D Conv3D": Facts(
        kernel="convolution",
        channels=ChannelFlow("new", {"kernel": {-2: "input", -1: "output"}, **BIAS}, "filters"),
    ),
    "Conv1DTranspose Conv2DTranspose Conv3DTranspose": Facts(
        kernel="transposed",
        channels=ChannelFlow("new", {"kernel": {-1: "input", -2: "output"}, **BIAS}, "filters"),
    ),
    "SeparableConv1D SeparableConv2D": Facts(
        kernel="separable",
        channels=ChannelFlow(
            "new",
            {
                "depthwise_kernel": {-2: "input"},
                "pointwise_kernel": {-2: "inside", -1: "output"},
                **BIAS,
            },
            "filters",
        ),
    ),
    "DepthwiseConv1D DepthwiseConv2D": Facts(
        kernel="depthwise", channels=ChannelFlow("repeated", {"kernel": {-2: "input"}, **BIAS})
    ),
    "Dense": Facts(
        kernel="dense",
        channels=ChannelFlow("new", {"kernel": {0: "input", 1: "output"}, **BIAS}, "units"),
    ),
    "EinsumDense": Facts(kernel="einsum"),
    "BatchNormalization": Facts(
        normalises=True,
        multiplies=False,
        channels=ChannelFlow("same", {name: {0: "input"} for name in STATISTICS}),
    ),
    "LayerNormalization GroupNormalization": Facts(normalises=True, multiplies=False),
    "Embedding Normalization RMSNormalization": Facts(multiplies=False),
    "ScaleOffset": Facts(
        channels=ChannelFlow("same", {"scale": {0: "input"}, "offset": {0: "input"}})
    ),
    (
        "AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D "
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D "
        "GlobalMaxPooling2D GlobalMaxPooling3D AdaptiveAveragePooling2D ZeroPadding1D "
        "ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D "
        "UpSampling3D Identity Permute"
    ): Facts(homogeneous=True, channels=SAME),
    (
        "AdaptiveAveragePooling1D AdaptiveAveragePooling3D AdaptiveMaxPooling1D "
        "AdaptiveMaxPooling2D AdaptiveMaxPooling3D LayerScale Reshape"
    ): Facts(homogeneous=True),
    "MatchSize": Facts(homogeneous=True, channels=ChannelFlow("first")),
    "Flatten": Facts(homogeneous=True, channels=ChannelFlow("flattened")),
    "LeakyReLU Relu LeakyRelu": Facts(homogeneous=True, rectifies=True, channels=SAME),
    "PReLU": Facts(homogeneous=True, rectifies=True, multiplies=False),
    # Homogeneous only with some settings.
    "ReLU": Facts(rectifies=True, channels=SAME),
    (
        "Activation Cast ELU Elu Gelu HardSigmoid HardSilu Relu6 Rescaling Sigmoid Silu Softplus "
        "Tanh"
    ): Facts(channels=SAME),
    "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D StochasticDepth": Facts(
        homogeneous=True, training_only=True, channels=SAME
    ),
    "GaussianDropout GaussianNoise": Facts(training_only=True, channels=SAME),
    (
        "ActivityRegularization AlphaDropout AugMix CutMix MixUp RandAugment RandomBrightness "
        "RandomColorDegeneration RandomColorJitter RandomContrast RandomElasticTransform "
        "RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert "
        "RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness "
        "RandomShear RandomTranslation RandomZoom"
    ): Facts(training_only=True),
    "Add": Facts(adds=True, channels=MERGED),
    "CustomScaleLayer": Facts(adds=True),
    ("Average Divide Maximum Minimum Multiply MultiplyAdd ShakeShake Subtract TrueDivide"): Facts(
        channels=MERGED
    ),
    "Concatenate": Facts(channels=ChannelFlow("concatenated")),
    (
        "AdditiveAttention Attention Conv ConvTranspose DepthwiseConv Dot DotProductAttention "
        "Einsum Inner Matmul SeparableConv Tensordot"
    ): Facts(multiplies=True),
}

FACTS: Mapping[str, Facts] = {name: row for names, row in ROWS.items() for name in names.split()}
UNKNOWN = Facts()
# Packages that define the classes.
OWNERS = ("keras", "keras_se")


def facts_of(layer: Any) -> Facts:
    """Return the facts of the class of a layer or operation, or of its nearest base class.

    A user's class of the same name does not count.
    """
    own = (c.__name__ for c in type(layer).__mro__ if c.__module__.split(".")[0] in OWNERS)
    return next((FACTS[name] for name in own if name in FACTS), UNKNOWN)


def valued(layer: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    """The inputs of a layer of which more than the size counts."""
    channels = facts_of(layer).channels
    return inputs[:1] if channels is not None and channels.flow == "first" else inputs
