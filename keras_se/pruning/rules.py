"""How layers treat channels: one row for each kind of layer.

A row says along which axes of its variables a layer has one entry for each channel of its input or
output, and how the channels of the output follow from those of the input. A layer without a row,
or one of a user's own class, is not understood: what it takes keeps all its channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import activations, layers

from keras_se.copies import known, plain
from keras_se.layers import ChannelAttention, ScaleOffset

# Functions of each element by itself.
POINTWISE = (
    activations.celu, activations.elu, activations.exponential, activations.gelu,
    activations.hard_sigmoid, activations.hard_silu, activations.hard_tanh,
    activations.leaky_relu, activations.linear, activations.mish, activations.relu,
    activations.relu6, activations.selu, activations.sigmoid, activations.silu,
    activations.softplus, activations.softsign, activations.tanh,
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """How a kind of layer treats channels.

    Attributes:
        flow: The output's channels: `"same"` as the input's; `"new"`; `"repeated"`: some for each
            of the input's; `"merged"`: each belongs to one of every input; `"concatenated"`: those
            of all inputs; `"flattened"`: those of each position.
        variables: For an attribute its axes and whose channels they have: those of the `"input"`,
            the `"output"`, or between both (`"inside"`).
        size: The setting that is the number of the output's channels.
    """

    flow: str
    variables: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    size: str | None = None


SAME = Rule("same")
MERGED = Rule("merged")
CONCATENATED = Rule("concatenated")
CONVOLUTION = Rule(
    "new", {"kernel": {-2: "input", -1: "output"}, "bias": {0: "output"}}, "filters"
)  # fmt: skip
TRANSPOSED = Rule(
    "new", {"kernel": {-1: "input", -2: "output"}, "bias": {0: "output"}}, "filters"
)  # fmt: skip
SEPARABLE = Rule(
    "new",
    {
        "depthwise_kernel": {-2: "input"},
        "pointwise_kernel": {-2: "inside", -1: "output"},
        "bias": {0: "output"},
    },
    "filters",
)
DEPTHWISE = Rule("repeated", {"kernel": {-2: "input"}, "bias": {0: "output"}})

WEIGHTED: Mapping[type, Rule] = {
    # Before the classes that they derive from.
    layers.Conv1DTranspose: TRANSPOSED,
    layers.Conv2DTranspose: TRANSPOSED,
    layers.Conv3DTranspose: TRANSPOSED,
    layers.SeparableConv1D: SEPARABLE,
    layers.SeparableConv2D: SEPARABLE,
    layers.DepthwiseConv1D: DEPTHWISE,
    layers.DepthwiseConv2D: DEPTHWISE,
    layers.Conv1D: CONVOLUTION,
    layers.Conv2D: CONVOLUTION,
    layers.Conv3D: CONVOLUTION,
    layers.Dense: Rule(
        "new", {"kernel": {0: "input", 1: "output"}, "bias": {0: "output"}}, "units"
    ),
    layers.BatchNormalization: Rule(
        "same",
        {name: {0: "input"} for name in ("gamma", "beta", "moving_mean", "moving_variance")},
    ),
    ScaleOffset: Rule("same", {"scale": {0: "input"}, "offset": {0: "input"}}),
}  # fmt: skip

# Without weights: layers, and operations of `keras.ops`, which have no public class.
WEIGHTLESS: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            "Activation", "ReLU", "LeakyReLU", "ELU", "Identity", "Dropout", "GaussianDropout",
            "GaussianNoise", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
            "StochasticDepth", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
            "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "GlobalAveragePooling1D",
            "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPooling1D",
            "GlobalMaxPooling2D", "GlobalMaxPooling3D", "AdaptiveAveragePooling2D",
            "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D",
            "Cropping3D", "Rescaling", "UpSampling1D", "UpSampling2D", "UpSampling3D", "Relu",
            "Relu6", "Elu", "Gelu", "Silu", "Sigmoid", "Tanh", "HardSigmoid", "HardSilu",
            "LeakyRelu", "Softplus", "Cast",
        ),
        SAME,
    ),
    **dict.fromkeys(
        (
            "Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average", "MultiplyAdd",
            "ShakeShake", "TrueDivide", "Divide",
        ),
        MERGED,
    ),
    "Concatenate": CONCATENATED,
    "Flatten": Rule("flattened"),
}  # fmt: skip


def rule_of(layer: Any) -> Rule | None:
    """The layer's rule; `None` if it is not understood."""
    if not known(layer):
        return None
    if isinstance(layer, ChannelAttention):
        own = {name: {axis: "input"} for name, axis in layer.channel_variables.items()}
        return Rule("same", own)
    found = next((rule for kind, rule in WEIGHTED.items() if isinstance(layer, kind)), None)
    if found is None:
        # Weights of which no rule tells.
        found = None if getattr(layer, "weights", ()) else WEIGHTLESS.get(type(layer).__name__)
    grouped = getattr(layer, "groups", 1) > 1
    if any(size not in (None, 1) for size in getattr(layer, "noise_shape", None) or ()):
        return None
    if isinstance(layer, layers.Rescaling) and (np.ndim(layer.scale) or np.any(layer.offset)):
        # A channel's own factor would have to be removed with it; and a constant would stay.
        return None
    mixes = mixes_channels(layer) and found is not None and found.flow != "new"
    return None if grouped or mixes or not plain(layer) else found


def mixes_channels(layer: Any) -> bool:
    """Whether the layer's activation is not a function of each element by itself."""
    # That inside an attention block is not one of its channels.
    inside = isinstance(layer, ChannelAttention)
    return not inside and getattr(layer, "activation", activations.linear) not in POINTWISE


def channel_axis(layer: Any, rank: int) -> int | None:
    """The axis that a layer with weights has its channels on; `None` if it has several or none."""
    if isinstance(layer, layers.Dense):
        return rank - 1
    axis = getattr(layer, "axis", None)
    if axis is not None:
        return axis % rank if isinstance(axis, int) else None
    data_format = getattr(layer, "data_format", None) or keras.config.image_data_format()
    return 1 if data_format == "channels_first" else rank - 1
