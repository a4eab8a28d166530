"""`GroupedConv2D` is Keras' Conv2D with groups, on whichever path TensorFlow has."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_se
from keras_se.layers import GroupedConv2D
from keras_se.layers.grouped_conv2d import _tensorflow_groups_natively

# float32 sums of 3 x 3 x 4 terms in another order.
TOLERANCE = 1e-5
OPTIONS = [
    {"padding": "same"},
    {"padding": "valid", "strides": 2},
    {"padding": "same", "strides": (2, 1), "use_bias": False},
    {"padding": "same", "dilation_rate": 2},
    {"padding": "same", "activation": "relu"},
]


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def compare(options, groups, compiled):
    """Output and gradients of both layers on the same weights."""
    layers = [
        kind(24, 3, groups=groups, **options) for kind in (keras.layers.Conv2D, GroupedConv2D)
    ]
    x = tf.constant(random((2, 11, 10, 4 * groups)))
    results = []
    for layer in layers:
        layer.build(x.shape)
        for index, weight in enumerate(layer.weights):
            weight.assign(random(weight.shape, seed=index + 1))

        def step(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x)
                loss = tf.reduce_sum(y * y)
            return y, *tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])

        results.append((tf.function(step) if compiled else step)(x))
    return results


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("groups", [2, 8])
@pytest.mark.parametrize("compiled", [False, True])
def test_equals_keras(options, groups, compiled):
    for expected, actual in zip(*compare(options, groups, compiled), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("native", [True, False])
def test_no_rows(native):
    """With TensorFlow's oneDNN operations, and without: the shape that Keras gives."""
    code = """
import numpy as np, keras, keras_se, tensorflow as tf
x = np.zeros((0, 6, 5, 8), "float32")
for options in ({}, {"use_bias": False}, {"strides": 2}, {"activation": "relu"}):
    layers = [
        kind(16, 3, groups=4, padding="same", **options)
        for kind in (keras_se.layers.GroupedConv2D, keras.layers.Conv2D)
    ]
    for call in (lambda layer: layer(x), lambda layer: tf.function(layer)(tf.constant(x))):
        ours, theirs = map(call, layers)
        assert ours.shape == theirs.shape and theirs.shape[-1] == 16, (options, ours.shape)
"""
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": str(int(native))}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_same_weights_and_configuration():
    options = {"filters": 8, "kernel_size": 3, "groups": 2, "padding": "same", "name": "conv"}
    ours, theirs = GroupedConv2D(**options), keras.layers.Conv2D(**options)
    for layer in (ours, theirs):
        layer.build((None, 5, 5, 4))
    ours_config, theirs_config = ours.get_config(), theirs.get_config()
    for config in (ours_config, theirs_config):
        config.pop("kernel_initializer"), config.pop("bias_initializer")
    assert ours_config == theirs_config
    assert [(v.path, v.shape) for v in ours.weights] == [(v.path, v.shape) for v in theirs.weights]
    assert type(GroupedConv2D.from_config(ours.get_config())) is GroupedConv2D


def operations(function):
    graph = function.get_concrete_function(tf.TensorSpec((1, 8, 8, 8))).graph
    return {operation.type for operation in graph.get_operations()}


def test_takes_the_native_path_exactly_where_tensorflow_has_it():
    layer = GroupedConv2D(8, 3, groups=2)
    layer.build((1, 8, 8, 8))
    native = _tensorflow_groups_natively("float32")
    assert native == (os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0")
    assert ("Conv2D" in operations(tf.function(layer))) == native


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("SEResNeXt50", (3, 4, 6, 3)),
        pytest.param("SENet154", (3, 8, 36, 3), marks=pytest.mark.networks),
    ],
)
def test_every_grouped_convolution_of_the_networks_is_one(name, blocks):
    model = getattr(keras_se, name)(weights=None)
    grouped = [layer for layer in model.layers if getattr(layer, "groups", 1) > 1]
    assert len(grouped) == sum(blocks)
    assert all(isinstance(layer, GroupedConv2D) for layer in grouped)


WITHOUT_ONEDNN = """
import sys
import keras, numpy as np, tensorflow as tf, keras_se
from keras_se.layers.grouped_conv2d import _tensorflow_groups_natively
expected = dict(np.load(sys.argv[1]))
assert not _tensorflow_groups_natively("float32")
model = keras_se.SEResNeXt50(weights=None, input_shape=(64, 64, 3), classes=7,
                             variant={"blocks": (1, 1, 1, 1)})
model.load_weights(sys.argv[2])
@tf.function
def step(x):
    with tf.GradientTape() as tape:
        y = model(x, training=False)
        loss = tf.reduce_sum(y[:, 0])
    return y, tape.gradient(loss, [v.value for v in model.trainable_variables])
y, gradients = step(tf.constant(expected["x"]))
np.testing.assert_allclose(y, expected["y"], rtol=0, atol=1e-5)
for index, gradient in enumerate(gradients):
    wanted = expected[f"gradient{index}"]
    # of the norm: rounding puts single units on the other side of their ReLU
    assert np.linalg.norm(gradient - wanted) <= 1e-2 * np.linalg.norm(wanted) + 1e-7, index
print("compared", len(gradients))
"""


@pytest.mark.skipif(
    os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0", reason="compares with a process that has oneDNN"
)
def test_same_outputs_and_gradients_without_onednn(tmp_path):
    model = keras_se.SEResNeXt50(
        weights=None, input_shape=(64, 64, 3), classes=7, variant={"blocks": (1, 1, 1, 1)}
    )
    x = tf.constant(random((2, 64, 64, 3)) * 50 + 120)
    with tf.GradientTape() as tape:
        y = model(x, training=False)
        loss = tf.reduce_sum(y[:, 0])
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    named = {f"gradient{i}": gradient for i, gradient in enumerate(gradients)}
    np.savez(tmp_path / "expected.npz", x=x, y=y, **named)
    model.save_weights(tmp_path / "model.weights.h5")
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONEDNN, "expected.npz", "model.weights.h5"],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"compared {len(gradients)}"


NO_ROWS = """
import keras, keras_se, numpy as np
def rows(build):
    try:
        model = build()
        x = np.zeros((0, *(n or 64 for n in model.input_shape[1:])), "float32")
        return tuple(model(x).shape), tuple(model.predict_on_batch(x).shape)
    except Exception as error:
        return type(error).__name__
for name in ("ResNet50", "MobileNet", "DenseNet121", "VGG16"):
    theirs = rows(lambda: getattr(keras.applications, name)(weights=None))
    ours = rows(lambda: getattr(keras_se, f"SE{name}")(weights=None))
    print(name, theirs == ours, theirs)
for name in ("SEResNet20", "SEResNeXt50", "SEShuffleNet", "SEInceptionV3", "SEBNInception"):
    print(name, rows(lambda: getattr(keras_se, name)(weights=None)))
"""


@pytest.mark.networks
def test_builders_take_no_rows_where_keras_does():
    """With oneDNN TensorFlow's convolution gives another number of channels, Keras' networks fail,
    and so do these.
    """
    result = subprocess.run(
        [sys.executable, "-c", NO_ROWS], env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    many, few = "((0, 1000), (0, 1000))", "((0, 10), (0, 10))"
    assert found.pop("SEResNet20") == few
    for name, value in found.items():
        assert value == (many if name.startswith("SE") else f"True {many}"), name
