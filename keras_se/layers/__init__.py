"""The layers of the package."""

from keras_se.layers.adaptive_average_pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
)
from keras_se.layers.attention import AttentionConfig, ChannelAttention, GateStep
from keras_se.layers.batch_normalization import BatchNormalization
from keras_se.layers.channel_shuffle import ChannelShuffle
from keras_se.layers.dense import Dense
from keras_se.layers.depthwise_conv3d import DepthwiseConv3D
from keras_se.layers.edge_padding3d import EdgePadding3D
from keras_se.layers.efficient_channel_attention import ECAConfig, EfficientChannelAttention
from keras_se.layers.grouped_conv1d import GroupedConv1D
from keras_se.layers.grouped_conv2d import GroupedConv2D
from keras_se.layers.grouped_conv3d import GroupedConv3D
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
from keras_se.layers.up_sampling1d import UpSampling1D
from keras_se.layers.up_sampling2d import UpSampling2D

__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AttentionConfig",
    "BatchNormalization",
    "ChannelAttention",
    "ChannelShuffle",
    "Dense",
    "DepthwiseConv3D",
    "ECAConfig",
    "EdgePadding3D",
    "EfficientChannelAttention",
    "GateStep",
    "GroupedConv1D",
    "GroupedConv2D",
    "GroupedConv3D",
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
    "UpSampling1D",
    "UpSampling2D",
]
