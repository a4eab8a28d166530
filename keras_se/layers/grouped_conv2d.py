"""Grouped convolution on the fastest path that the backend has.

Keras sends every grouped convolution on TensorFlow through XLA, which costs up to seven times
what TensorFlow's own operation does, and needs a compiler wherever the model is exported to.
"""

from __future__ import annotations

import functools
from typing import Any

import keras


@functools.cache
def _tensorflow_groups_natively(dtype: str) -> bool:
    """Whether this process' TensorFlow runs and differentiates `tf.nn.conv2d` with groups.

    It does on builds and settings with oneDNN, and refuses elsewhere. There is no public
    question to ask, so a two-group convolution is tried.
    """
    import tensorflow as tf

    # Gradient tapes do not record in an init_scope, so the gradients' operations are called.
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


@keras.saving.register_keras_serializable(package="keras_se")
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` for `groups > 1`, with the same weights, configuration and results.

    On TensorFlow with `"channels_last"` it calls TensorFlow's own grouped convolution where that
    works; everywhere else it is Keras' own.

    Args:
        *args: As for `keras.layers.Conv2D`.
        **kwargs: As for `keras.layers.Conv2D`.

    Input shape:
        `(batch, height, width, C)` for `"channels_last"`, `(batch, C, height, width)` for
        `"channels_first"`; `C` a multiple of `groups`.

    Output shape:
        As `keras.layers.Conv2D`: `filters` channels.

    Example:

    >>> layer = keras_se.layers.GroupedConv2D(128, 3, padding="same", groups=32)
    >>> tuple(layer(np.ones((1, 56, 56, 128), "float32")).shape)
    (1, 56, 56, 128)

    Reference:
        Xie et al., Aggregated Residual Transformations (arXiv:1611.05431), Fig. 3c.
    """

    @property
    def _natively(self) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and self.data_format == "channels_last"
            and _tensorflow_groups_natively(self.compute_dtype)
        )

    def call(self, inputs: Any) -> Any:
        if not self.use_bias or not self._natively:
            return super().call(inputs)
        # Not Keras' sum: TensorFlow makes one operation of a convolution and a BiasAdd after it,
        # which without oneDNN takes no groups; an exported file has to run there, too.
        outputs = self.convolution_op(inputs, self.kernel)
        outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if not self._natively:
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        return tf.nn.conv2d(
            inputs,
            tf.convert_to_tensor(kernel),
            strides=self.strides,
            padding=self.padding.upper(),
            dilations=self.dilation_rate,
        )
