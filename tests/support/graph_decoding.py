"""Pictures decoded inside a TensorFlow graph, as exported networks do it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

import keras_se
from keras_se.pictures import MAX_PIXELS
from keras_se.serving.decoding import Transform, decode


def transform_of(
    entry: keras_se.Weights, max_pixels: int = MAX_PIXELS, strict: bool = False
) -> Transform:
    _, _, channels = entry.input_shape
    rule = entry.preprocessing
    return Transform(
        rule.size, rule.size, channels, rule.crop, rule.interpolation, max_pixels, strict
    )


Decode = Callable[[list[bytes]], tuple[np.ndarray, np.ndarray, np.ndarray]]


def decoder(transform: Transform) -> Decode:
    """`decode` in a graph, traced once."""
    spec = tf.TensorSpec((None,), tf.string)
    function = tf.function(lambda files: decode(files, transform), [spec], autograph=False)
    return lambda files: tuple(x.numpy() for x in function(tf.constant(files, tf.string)))
