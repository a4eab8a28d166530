"""The layers of the package."""

from keras_se.layers.adaptive_average_pooling2d import AdaptiveAveragePooling2D
from keras_se.layers.attention import AttentionConfig, ChannelAttention, GateStep
from keras_se.layers.batch_normalization import BatchNormalization
from keras_se.layers.channel_shuffle import ChannelShuffle
from keras_se.layers.dense import Dense
from keras_se.layers.efficient_channel_attention import ECAConfig, EfficientChannelAttention
from keras_se.layers.grouped_conv2d import GroupedConv2D
from keras_se.layers.match_size import MatchSize
from keras_se.layers.multiply_add import MultiplyAdd, ScaleOffset
from keras_se.layers.picture_normalization import PictureNormalization
from keras_se.layers.shake_shake import ShakeShake
from keras_se.layers.spatial_channel_squeeze_excite import (
    SCSEConfig,
    SpatialChannelSqueezeExcite,
)
from keras_se.layers.squeeze_excite import SEConfig, SqueezeExcite
from keras_se.layers.stochastic_depth import StochasticDepth

__all__ = [
    "AdaptiveAveragePooling2D",
    "AttentionConfig",
    "BatchNormalization",
    "ChannelAttention",
    "ChannelShuffle",
    "Dense",
    "ECAConfig",
    "EfficientChannelAttention",
    "GateStep",
    "GroupedConv2D",
    "MatchSize",
    "MultiplyAdd",
    "PictureNormalization",
    "SCSEConfig",
    "SEConfig",
    "ScaleOffset",
    "ShakeShake",
    "SpatialChannelSqueezeExcite",
    "SqueezeExcite",
    "StochasticDepth",
]
