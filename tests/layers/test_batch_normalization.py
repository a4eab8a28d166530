"""`BatchNormalization` is Keras' layer, whose training step is one operation on TensorFlow."""

import importlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden import listing

import keras_se
from keras_se.layers import BatchNormalization

# The same float32 sums in another order, relative to values of order one.
TOLERANCE = 1e-5
# Half precision rounds what the operations hand on: three units in the last place. The statistics
# are float32 on both sides.
HALF = {"mixed_float16": 3 * 2**-11, "mixed_bfloat16": 3 * 2**-8}
MODULE = importlib.import_module("keras_se.layers.batch_normalization")
OPTIONS = [
    {},
    {"epsilon": 1e-5, "momentum": 0.9},
    {"scale": False},
    {"center": False},
    {"scale": False, "center": False},
]


def random(shape, seed=0, mean=0.0, deviation=1.0):
    return (mean + deviation * np.random.default_rng(seed).normal(size=shape)).astype("float32")


@pytest.fixture
def fused(monkeypatch):
    """The data formats that the fused operation was called with while tracing or running."""
    calls = []
    inner = tf.raw_ops.FusedBatchNormV3

    def counted(**kwargs):
        if kwargs["x"].shape != (1, 2, 2, 2):  # The question whether there are kernels.
            calls.append(kwargs["data_format"])
        return inner(**kwargs)

    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", counted)
    return calls


def pair(shape, **options):
    """Keras' layer and this one with the same values."""
    layers = [kind(**options) for kind in (keras.layers.BatchNormalization, BatchNormalization)]
    for layer in layers:
        layer.build((None, *shape[1:]))
        for index, weight in enumerate(layer.weights):
            weight.assign(np.abs(random(weight.shape, seed=index + 1)) + 0.5)
    return layers


def step_of(layer, wrap):
    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.cast(y, "float32") * upstream)
        sources = [x, *[v.value for v in layer.trainable_variables]]
        return y, *[tf.cast(g, "float32") for g in tape.gradient(loss, sources)]

    return wrap(step)


def compare(shape, wrap=tf.function, steps=50, tolerance=TOLERANCE, **options):
    """Outputs, gradients and statistics of both layers over some steps, each on another batch."""
    expected, actual = pair(shape, **options)
    steps_of = [step_of(layer, wrap) for layer in (expected, actual)]
    for number in range(steps):
        x = tf.cast(random(shape, 100 + number, mean=0.5, deviation=2.0), expected.compute_dtype)
        upstream = tf.constant(random(shape, 200 + number))
        for one, other in zip(*(step(x, upstream) for step in steps_of), strict=True):
            assert one.dtype == other.dtype
            one, other = (np.asarray(tf.cast(value, "float32")) for value in (one, other))
            scale = max(1.0, np.abs(one).max(initial=0))
            np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * scale)
        statistics = expected.non_trainable_variables, actual.non_trainable_variables
        for one, other in zip(*statistics, strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("wrap", [tf.function, lambda step: step], ids=["graph", "eager"])
def test_equals_keras(options, wrap, fused):
    compare((4, 7, 5, 6), wrap, **options)
    assert set(fused) == {"NHWC"}


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 1, 3), (1, 13, 11, 1), (3, 1, 17, 5)])
@pytest.mark.parametrize("axis", [3, 1, -3])
def test_odd_sizes(shape, axis, fused):
    """One value a channel, too, of which a population has no variance."""
    shape = shape if axis == 3 else (shape[0], shape[3], *shape[1:3])
    compare(shape, steps=5, axis=axis)
    assert set(fused) == {"NHWC" if axis == 3 else "NCHW"}


@pytest.mark.parametrize("policy", HALF)
@pytest.mark.parametrize("axis", [-1, 1])
def test_half_precision(policy, axis, fused):
    compare((4, 6, 5, 6), axis=axis, dtype=policy, tolerance=HALF[policy])
    assert fused


@pytest.mark.parametrize("shape", [(0, 5, 5, 3), (2, 0, 4, 3)])
def test_empty_batch(shape, fused):
    """No values have no statistics: Keras' layer says NaN, and so does this one."""
    layers = pair(shape)
    x = tf.zeros(shape)
    outputs = [layer(x, training=True) for layer in layers]
    assert fused
    assert outputs[0].shape == outputs[1].shape == shape
    for layer in layers:
        assert all(np.isnan(v).all() for v in layer.non_trainable_variables)


def test_unknown_sizes(fused):
    """The count of the values is that of each batch."""
    expected, actual = pair((None, None, None, 4))
    signature = [tf.TensorSpec((None, None, None, 4))]
    steps = [
        tf.function(lambda x, y=layer: y(x, training=True), input_signature=signature)
        for layer in (expected, actual)
    ]
    for size in (1, 2, 5):
        one, other = (step(random((1, size, 1, 4), seed=size)) for step in steps)
        np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE)
    for one, other in zip(
        expected.non_trainable_variables, actual.non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE)
    assert len(fused) == 1


def frozen(layer, x):
    layer.trainable = False
    return layer(x, training=True)


@pytest.mark.parametrize(
    ("options", "shape", "call"),
    [
        ({}, (2, 3, 3, 4), lambda layer, x: layer(x)),
        ({}, (2, 3, 3, 4), lambda layer, x: layer(x, training=False)),
        ({}, (2, 3, 3, 4), frozen),
        (
            {}, (2, 3, 3, 4),
            lambda layer, x: layer(x, training=True, mask=tf.constant(x[..., 0] > 0)),
        ),
        ({"axis": 2}, (2, 3, 4, 5), lambda layer, x: layer(x, training=True)),
        ({"renorm": True}, (2, 3, 3, 4), lambda layer, x: layer(x, training=True)),
        ({"synchronized": True}, (2, 3, 3, 4), lambda layer, x: layer(x, training=True)),
        ({"dtype": "float64"}, (2, 3, 3, 4), lambda layer, x: layer(x, training=True)),
        (
            {"dtype": "mixed_bfloat16", "autocast": False}, (2, 3, 3, 4),
            lambda layer, x: layer(x, training=True),
        ),
        ({}, (8, 4), lambda layer, x: layer(x, training=True)),
        ({}, (2, 5, 4), lambda layer, x: layer(x, training=True)),
        ({}, (2, 3, 3, 3, 4), lambda layer, x: layer(x, training=True)),
    ],
    ids=[
        "default", "inference", "frozen", "mask", "axis", "renorm", "synchronized", "float64",
        "no autocast", "rank 2", "rank 3", "rank 5",
    ],
)  # fmt: skip
def test_keras_elsewhere(options, shape, call, fused):
    """The same operations, and so the same bits."""
    layers = pair(shape, **options)
    one, other = (np.asarray(call(layer, random(shape))) for layer in layers)
    np.testing.assert_array_equal(other, one)
    for one, other in zip(layers[0].variables, layers[1].variables, strict=True):
        np.testing.assert_array_equal(other, one)
    assert not fused


def test_no_kernels(monkeypatch, fused):
    monkeypatch.setattr(MODULE, "_tensorflow_fuses", lambda dtype, data_format: False)
    compare((2, 3, 3, 4), steps=1)
    assert not fused


@pytest.mark.parametrize("nested", [False, True])
def test_compiled_by_xla(nested, fused):
    """XLA's own variance of 1000 +- 1 is NaN's neighbour; Keras' operations keep it."""

    def wrap(step):
        inner = tf.function(step) if nested else step
        return tf.function(lambda *arguments: inner(*arguments), jit_compile=True)

    # XLA reorders sums and approximates the square root.
    compare((8, 7, 7, 4), wrap, steps=2, tolerance=3e-5)
    layer = pair((16, 14, 14, 4))[1]
    layer.momentum = 0.0
    wrap(lambda x: layer(x, training=True))(tf.constant(random((16, 14, 14, 4), mean=1000)))
    np.testing.assert_allclose(layer.moving_variance, np.ones(4), atol=0.1)
    assert not fused


def test_second_order(fused):
    """Gradients of gradients, from a tape that is asked twice."""
    results = []
    for layer in pair((3, 4, 4, 2)):
        x = tf.constant(random((3, 4, 4, 2)))
        weights = [v.value for v in layer.trainable_variables]
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                loss = tf.reduce_sum(layer(x, training=True) ** 3)
            first = tape.gradient(loss, x)
            norm = tf.reduce_sum(first**2) + sum(
                tf.reduce_sum(tape.gradient(loss, weight) ** 2) for weight in weights
            )
        results.append([first, *outer.gradient(norm, [x, *weights])])
    assert len(fused) == 1
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE * np.abs(one).max())


def networks(**options):
    """SE-ResNet-20 with this layer, and with Keras' in its place, with the same values."""
    new = keras_se.SEResNet20(weights=None, input_shape=(12, 12, 3), **options)

    def exchanged(layer):
        kind = type(layer)
        if kind is BatchNormalization:
            kind = keras.layers.BatchNormalization
        return kind.from_config(layer.get_config())

    old = keras.models.clone_model(new, clone_function=exchanged)
    for index, variable in enumerate(new.variables):
        variable.assign(np.abs(random(variable.shape, index, deviation=0.1)) + 0.01)
    old.set_weights(new.get_weights())
    return old, new


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_networks_have_it():
    old, new = networks()
    assert {type(layer) for layer in norms(new)} == {BatchNormalization}
    assert {type(layer) for layer in norms(old)} == {keras.layers.BatchNormalization}
    assert listing(old) == listing(new)
    assert keras_se.cost(old) == keras_se.cost(new)
    x = random((2, 12, 12, 3))
    np.testing.assert_array_equal(new(x), old(x))


@pytest.mark.parametrize("forwards", [True, False])
def test_weights_files(tmp_path, forwards):
    """A network written before reads the new one's weights, and the other way round."""
    old, new = networks()
    source, target = (old, new) if forwards else (new, old)
    target.set_weights([np.zeros_like(weight) for weight in target.get_weights()])
    source.save_weights(tmp_path / "a.weights.h5")
    target.load_weights(tmp_path / "a.weights.h5")
    for one, other in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(other, one)


def test_saved_networks(tmp_path):
    """Each file gives back the layers it was written with, and the same bits."""
    x = random((2, 12, 12, 3))
    for model in networks():
        model.save(tmp_path / "a.keras")
        loaded = keras.models.load_model(tmp_path / "a.keras")
        assert [type(layer) for layer in norms(loaded)] == [type(layer) for layer in norms(model)]
        np.testing.assert_array_equal(loaded(x), model(x))
        clone = keras.models.clone_model(model)
        assert [type(layer) for layer in norms(clone)] == [type(layer) for layer in norms(model)]


def test_configuration():
    layer = BatchNormalization(axis=1, momentum=0.5, epsilon=1e-4, scale=False, name="bn")
    other = keras.layers.BatchNormalization.from_config(layer.get_config())
    assert other.get_config() == layer.get_config()
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(twin) is BatchNormalization
    assert twin.get_config() == layer.get_config()
    assert keras.saving.get_registered_name(BatchNormalization) == "keras_se>BatchNormalization"


def test_fused_as_before():
    old, new = (keras_se.fuse(model) for model in networks())
    assert old.fusion == new.fusion
    assert not norms(new)
    x = random((2, 12, 12, 3))
    np.testing.assert_array_equal(new(x), old(x))


@pytest.mark.training
def test_fit(fused):
    """Inside `fit` the layer trains without being told to, and one learns what the other does."""
    results = []
    x, y = random((16, 12, 12, 3)), np.arange(16) % 10
    for model in networks(classifier_activation=None):
        model.compile(
            keras.optimizers.SGD(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
        results.append(model.get_weights())
    assert len(fused) == len(norms(model))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-4 * max(1.0, np.abs(one).max()))


MIRRORED = """
import keras, numpy as np, tensorflow as tf
from keras_se.layers import BatchNormalization
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
x, y = np.random.default_rng(0).normal(size=(8, 4, 4, 3)), np.zeros((8, 4, 4, 3))
for synchronized in (False, True):
    results = []
    for kind in (keras.layers.BatchNormalization, BatchNormalization):
        with strategy.scope():
            model = keras.Sequential([keras.Input((4, 4, 3)), kind(synchronized=synchronized)])
            model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5)
print("the same")
"""
ELSEWHERE = """
import sys, keras, numpy as np, keras_se
x = np.random.default_rng(0).normal(size=(8, 4, 4, 3)).astype("float32")
layers = keras.layers.BatchNormalization(), keras_se.layers.BatchNormalization()
for layer in layers:
    layer(x, training=True)
for one, other in zip(layers[0].variables, layers[1].variables, strict=True):
    one, other = (keras.ops.convert_to_numpy(variable) for variable in (one, other))
    np.testing.assert_array_equal(other, one)
assert "tensorflow" not in sys.modules
print("the same")
"""


@pytest.mark.training
@pytest.mark.parametrize(
    ("backend", "code"), [("tensorflow", MIRRORED), ("jax", ELSEWHERE), ("torch", ELSEWHERE)]
)
def test_in_another_process(backend, code, tmp_path):
    """Under a strategy of two replicas, whose devices are set up first; on another backend."""
    pytest.importorskip(backend)
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.stdout.endswith("the same\n"), done.stderr
