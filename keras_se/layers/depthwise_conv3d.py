"""Depthwise convolution of volumes, which Keras lacks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_se.layers._depth import sum_over_depth


@keras.saving.register_keras_serializable(package="keras_se")
class DepthwiseConv3D(keras.layers.DepthwiseConv2D):
    """Depthwise convolution of volumes: `keras.layers.DepthwiseConv2D` with one more axis.

    It adds up depthwise convolutions of pictures, one per slice of the kernel.

    Args:
        kernel_size: An integer, or `(depth, height, width)`.
        strides: An integer, or one per axis, equal for height and width. Defaults to 1.
        padding: `"valid"` (default) or `"same"`.
        depth_multiplier: Output channels per input channel. Defaults to 1.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        dilation_rate: An integer, or one per axis. Defaults to 1.
        **kwargs: Other arguments of `keras.layers.DepthwiseConv2D`.

    Input shape:
        `(batch, depth, height, width, C)` for `"channels_last"`, `(batch, C, depth, height,
        width)` for `"channels_first"`.

    Output shape:
        The same with `C * depth_multiplier` channels and the sizes of a convolution's output.

    Example:

    >>> layer = keras_se.layers.DepthwiseConv3D(3, padding="same")
    >>> tuple(layer(np.ones((1, 8, 8, 8, 32), "float32")).shape)
    (1, 8, 8, 8, 32)

    Reference:
        Howard et al., MobileNets (arXiv:1704.04861), Section 3.1.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int, int],
        strides: int | tuple[int, int, int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int, int] = 1,
        **kwargs: Any,
    ) -> None:
        # The base class of Keras' depthwise convolutions takes any rank.
        super(keras.layers.DepthwiseConv2D, self).__init__(
            rank=3,
            depth_multiplier=depth_multiplier,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def call(self, inputs: Any) -> Any:
        def plane(x: Any, kernel: Any) -> Any:
            return ops.depthwise_conv(
                x,
                kernel,
                strides=self.strides[1:],
                padding=self.padding,
                data_format=self.data_format,
                dilation_rate=self.dilation_rate[1:],
            )

        first = self.data_format == "channels_first"
        y = sum_over_depth(
            inputs, self.kernel, self.strides, self.padding, self.dilation_rate, first, plane
        )
        if self.bias is not None:
            y += ops.reshape(self.bias, (1, -1, 1, 1, 1) if first else (-1,))
        return self.activation(y)
