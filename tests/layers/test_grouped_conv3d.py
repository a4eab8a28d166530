"""Convolutions of volumes that the package adds up from those of images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_se.layers import DepthwiseConv3D, GroupedConv1D, GroupedConv3D

# float32 sums of up to 3 x 3 x 3 x 4 terms in another order.
TOLERANCE = 1e-5
OPTIONS = [
    {"padding": "same"},
    {"padding": "valid", "strides": 2},
    {"padding": "same", "strides": 2, "use_bias": False},
    {"padding": "same", "dilation_rate": 2},
    {"padding": "valid", "dilation_rate": (2, 1, 1), "activation": "relu"},
]
DATA_FORMATS = ("channels_last", "channels_first")


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def answers(layer, x, compiled=False):
    """Output and gradients of a layer with weights that depend on their order only."""
    layer.build(x.shape)
    for index, weight in enumerate(layer.weights):
        weight.assign(random(weight.shape, seed=index + 1))

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * y)
        return y, *tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])

    if compiled:
        step = tf.function(step, input_signature=[tf.TensorSpec((None,) * x.ndim, tf.float32)])
    return step(tf.constant(x))


def assert_equal(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("options", OPTIONS)
def test_groups_equal_keras(options, data_format):
    """Sizes that the stride divides, and not."""
    for size in ((7, 6, 8), (6, 7, 6)):
        shape = (2, *size, 8) if data_format == "channels_last" else (2, 8, *size)
        x = random(shape)
        ours, theirs = (
            answers(kind(12, 3, groups=4, data_format=data_format, **options), x)
            for kind in (GroupedConv3D, keras.layers.Conv3D)
        )
        assert_equal(ours, theirs)


@pytest.mark.parametrize("options", OPTIONS)
def test_depthwise_is_one_group_per_channel(options):
    x = random((2, 7, 6, 8, 4))
    ours = answers(DepthwiseConv3D(3, depth_multiplier=2, **options), x)
    theirs = answers(keras.layers.Conv3D(8, 3, groups=4, **options), x)
    # The kernels are (..., channels, multiplier) and (..., 1, channels * multiplier).
    assert_equal([y.numpy().ravel() for y in ours], [y.numpy().ravel() for y in theirs])


def test_depthwise_with_the_channels_first():
    x = random((2, 7, 6, 8, 4))
    last = answers(DepthwiseConv3D(3, strides=2, padding="same"), x)
    first = answers(
        DepthwiseConv3D(3, strides=2, padding="same", data_format="channels_first"),
        np.moveaxis(x, -1, 1),
    )
    assert_equal([np.moveaxis(y, 1, -1) for y in first[:2]], last[:2])
    assert_equal(first[2:], last[2:])


def test_signals_in_groups_equal_keras():
    x = random((2, 9, 8))
    for options in ({"padding": "same"}, {"strides": 2}, {"dilation_rate": 2}):
        ours, theirs = (
            answers(kind(12, 3, groups=4, **options), x)
            for kind in (GroupedConv1D, keras.layers.Conv1D)
        )
        assert_equal(ours, theirs)


@pytest.mark.parametrize("kind", [GroupedConv3D, DepthwiseConv3D])
def test_unknown_sizes(kind):
    """In a graph whose sizes are not known, at a stride that pads by the size."""
    options = {"groups": 2, "filters": 8} if kind is GroupedConv3D else {}
    x = random((2, 6, 7, 8, 4))
    layers = [
        kind(kernel_size=3, strides=2, padding="same", use_bias=False, **options) for _ in range(2)
    ]
    layers[1].build((None, None, None, None, 4))
    inputs = keras.Input((None, None, None, 4))
    model = keras.Model(inputs, layers[1](inputs))
    eager = answers(layers[0], x)[0]
    layers[1].kernel.assign(layers[0].kernel)
    assert model.output_shape == (None, None, None, None, eager.shape[-1])
    assert_equal([model.predict(x, verbose=0)], [eager])
