"""Grouped convolution of volumes.

TensorFlow's CPU operation has no groups, and Keras sends it through XLA. TensorFlow's grouped
convolution of pictures, once per slice of the kernel, gives the same sum.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_se.layers._depth import sum_over_depth
from keras_se.layers.grouped_conv2d import Grouped, _tensorflow_groups_natively


@keras.saving.register_keras_serializable(package="keras_se")
class GroupedConv3D(Grouped, keras.layers.Conv3D):
    """`keras.layers.Conv3D` for `groups > 1`, with the same weights, configuration and results.

    On TensorFlow it adds up grouped convolutions of pictures where TensorFlow runs and
    differentiates those, and in exported graphs; otherwise it falls back to Keras'.

    Args:
        *args: As for `keras.layers.Conv3D`.
        **kwargs: As for `keras.layers.Conv3D`.

    Input shape:
        `(batch, depth, height, width, C)` for `"channels_last"`, `(batch, C, depth, height,
        width)` for `"channels_first"`; `C` a multiple of `groups`.

    Output shape:
        As for `keras.layers.Conv3D`: `filters` channels.

    Example:

    >>> layer = keras_se.layers.GroupedConv3D(32, 3, padding="same", groups=8)
    >>> tuple(layer(np.ones((1, 8, 8, 8, 32), "float32")).shape)
    (1, 8, 8, 8, 32)

    Reference:
        Xie et al., Aggregated Residual Transformations (arXiv:1611.05431), Fig. 3c.
    """

    def _convolved(self, inputs: Any, kernel: Any) -> Any:
        import tensorflow as tf

        def plane(x: Any, kernel: Any) -> Any:
            return tf.nn.conv2d(
                x,
                kernel,
                strides=self.strides[1:],
                padding=self.padding.upper(),
                dilations=self.dilation_rate[1:],
            )

        first = self.data_format == "channels_first"
        x = tf.transpose(inputs, (0, 2, 3, 4, 1)) if first else inputs
        kernel = tf.convert_to_tensor(kernel)
        y = sum_over_depth(x, kernel, self.strides, self.padding, self.dilation_rate, False, plane)
        return tf.transpose(y, (0, 4, 1, 2, 3)) if first else y

    @property
    def _native(self) -> bool:
        if keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        # Functions that XLA would compile become single operations in an exported graph, where
        # only the forward pass counts.
        exported = tf.config.functions_run_eagerly()
        return bool(exported or _tensorflow_groups_natively(self.compute_dtype))
