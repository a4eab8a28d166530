"""Grouped convolution on the backend's fastest path.

On TensorFlow, Keras sends every grouped convolution through XLA, which takes up to seven times as
long as TensorFlow's own operation and needs a compiler wherever an exported model runs.
"""

from __future__ import annotations

import functools
from typing import Any

import keras

from keras_se.layers._arguments import channel_axis


@functools.cache
def _tensorflow_groups_natively(dtype: str) -> bool:
    """Whether TensorFlow runs and differentiates `tf.nn.conv2d` with groups.

    It does with oneDNN and raises an error without. No public API reports this, so try a
    convolution with two groups.
    """
    import tensorflow as tf

    # Gradient tapes do not record in an init_scope, so call the gradients' operations.
    with tf.init_scope():
        x = tf.ones((1, 3, 3, 4), dtype)
        kernel = tf.ones((3, 3, 2, 4), dtype)
        options = {"out_backprop": x, "strides": [1, 1, 1, 1], "padding": "SAME"}
        try:
            tf.nn.conv2d(x, kernel, strides=1, padding="SAME")
            tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=kernel, **options)
            tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, **options)
        except tf.errors.OpError:
            return False
    return True


class Grouped:
    """Overrides the call of Keras' convolution layers of any rank."""

    def call(self: Any, inputs: Any) -> Any:
        if not self.use_bias or keras.backend.backend() != "tensorflow":
            return super().call(inputs)  # type: ignore[misc]
        import tensorflow as tf

        # Keras turns this sum into a BiasAdd, which TensorFlow without oneDNN would fuse with the
        # activation into an operation that does not support groups.
        rank = self.rank + 2
        channels = channel_axis(self.data_format, rank=rank)
        shape = [self.filters if axis == channels else 1 for axis in range(rank)]
        bias = tf.reshape(tf.convert_to_tensor(self.bias), shape)
        return self.activation(self.convolution_op(inputs, self.kernel) + bias)

    def convolution_op(self: Any, inputs: Any, kernel: Any) -> Any:
        # TensorFlow's own gives an empty batch the input's shape.
        if not self._native or inputs.shape[0] == 0:
            return super().convolution_op(inputs, kernel)  # type: ignore[misc]
        return self._convolved(inputs, kernel)

    def _convolved(self: Any, inputs: Any, kernel: Any) -> Any:
        import tensorflow as tf

        convolution = tf.nn.conv1d if self.rank == 1 else tf.nn.conv2d
        return convolution(
            inputs,
            tf.convert_to_tensor(kernel),
            self.strides,
            self.padding.upper(),
            dilations=self.dilation_rate,
        )

    @property
    def _native(self: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and self.data_format == "channels_last"
            and _tensorflow_groups_natively(self.compute_dtype)
        )


@keras.saving.register_keras_serializable(package="keras_se")
class GroupedConv2D(Grouped, keras.layers.Conv2D):
    """`keras.layers.Conv2D` for `groups > 1`, with the same weights, configuration and results.

    On TensorFlow with `"channels_last"` it calls TensorFlow's own grouped convolution where that
    works; otherwise it falls back to Keras'.

    Args:
        *args: As for `keras.layers.Conv2D`.
        **kwargs: As for `keras.layers.Conv2D`.

    Input shape:
        `(batch, height, width, C)` for `"channels_last"`, `(batch, C, height, width)` for
        `"channels_first"`; `C` a multiple of `groups`.

    Output shape:
        As for `keras.layers.Conv2D`: `filters` channels.

    Example:

    >>> layer = keras_se.layers.GroupedConv2D(128, 3, padding="same", groups=32)
    >>> tuple(layer(np.ones((1, 56, 56, 128), "float32")).shape)
    (1, 56, 56, 128)

    Reference:
        Xie et al., Aggregated Residual Transformations (arXiv:1611.05431), Fig. 3c.
    """
