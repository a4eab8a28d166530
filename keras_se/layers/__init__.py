"""The layers of the package."""

from keras_se.layers.grouped_conv2d import GroupedConv2D
from keras_se.layers.squeeze_excite import SqueezeExcite

__all__ = ["GroupedConv2D", "SqueezeExcite"]
