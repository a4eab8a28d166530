"""BatchNorm that trains with TensorFlow's fused operation.

On TensorFlow, Keras builds the training step from about ten single operations, each of which reads
and writes the feature maps. With oneDNN the fused operation takes half to three quarters of their
time; without it, just as long (`benchmarks/log.md`, 2026-11-29).
"""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

DATA_FORMATS = {1: "NCHW", 3: "NHWC"}
PRECISIONS = ("float32", "float16", "bfloat16")


@functools.cache
def _tensorflow_fuses(dtype: str, data_format: str) -> bool:
    """Whether TensorFlow has kernels for the step and its gradient.

    No public API reports this, so try a batch of one.
    """
    import tensorflow as tf

    # Gradient tapes do not record in an init_scope, so call the gradient's operation.
    with tf.init_scope():
        x, ones, none = tf.ones((1, 2, 2, 2), dtype), tf.ones(2), tf.ones(0)
        options = {"epsilon": 1e-3, "data_format": data_format, "is_training": True}
        try:
            y, *_, first, second, third = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=ones, offset=ones, mean=none, variance=none, **options
            )
            tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=y,
                x=x,
                scale=ones,
                reserve_space_1=first,
                reserve_space_2=second,
                reserve_space_3=third,
                **options,
            )
        except tf.errors.OpError:
            return False
    return True


def _compiled_by_xla() -> bool:
    """Whether the function being traced is compiled by XLA.

    XLA computes the fused operation's variance as `E[x^2] - E[x]^2`, which is wrong by 5 % for a
    mean of 100 deviations and NaN from 1000 on, while it fuses Keras' exact operations by itself.
    No public API reports this, but under XLA TensorFlow gives a slice another gradient.
    """
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    x = tf.zeros(2)
    (gradient,) = tf.gradients(tf.slice(x, [0], [1]), x)
    return gradient.op.type == "XlaDynamicUpdateSlice"


@keras.saving.register_keras_serializable(package="keras_se")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, with the same weights, configuration and results.

    In training on TensorFlow it calls TensorFlow's fused operation where the results are the same:
    for inputs of rank 4 in float32 or half precision, without a mask, `renorm` or `synchronized`,
    and not compiled by XLA. Otherwise, and always at inference, it is Keras' layer.

    `.weights.h5` files are interchangeable with those of Keras' layer.

    Args:
        *args: As for `keras.layers.BatchNormalization`.
        **kwargs: As for `keras.layers.BatchNormalization`.

    Input shape:
        Any shape with a known number of channels on `axis`, such as `(batch, height, width, C)`,
        or `(batch, C, height, width)` for `axis=1`.

    Output shape:
        The input's shape.

    Example:

    >>> layer = keras_se.layers.BatchNormalization()
    >>> y = np.asarray(layer(np.random.rand(8, 56, 56, 64).astype("float32"), training=True))
    >>> bool((abs(y.mean(axis=(0, 1, 2))) < 1e-3).all())
    True

    Reference:
        Ioffe and Szegedy, Batch Normalization (arXiv:1502.03167), Algorithm 1.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable and mask is None and self._fused(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        channels = inputs.shape[self.axis]
        gamma = tf.ones(channels) if self.gamma is None else ops.cast(self.gamma, "float32")
        beta = tf.zeros(channels) if self.beta is None else ops.cast(self.beta, "float32")
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            data_format=DATA_FORMATS[self.axis % 4],
            is_training=True,
        )
        # The operation returns the unbiased variance, undefined for one value; Keras uses the
        # biased one.
        count = tf.cast(tf.size(inputs, out_type=tf.int64), "float32") / channels
        variance = tf.math.multiply_no_nan(variance, (count - 1) / count)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            before = ops.cast(moving, "float32")
            moving.assign(before * self.momentum + value * (1.0 - self.momentum))
        return y

    def _fused(self, inputs: Any) -> bool:
        if keras.backend.backend() != "tensorflow" or self.renorm or self.synchronized:
            return False
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        data_format = DATA_FORMATS.get(self.axis % 4) if len(inputs.shape) == 4 else None
        return (
            data_format is not None
            and dtype in PRECISIONS
            and dtype == self.compute_dtype
            and _tensorflow_fuses(dtype, data_format)
            and not _compiled_by_xla()
        )
