"""Keras' own exports of the networks, also after they were called: no constant is left behind."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_se

# float32 sums in another order.
TOLERANCE = 1e-5


def nested() -> keras.Model:
    base = keras_se.SEResNet20(weights="fashion_mnist", include_top=False, pooling="avg")
    return keras.Sequential([keras.Input((28, 28, 1)), base, keras.layers.Dense(3)])


NETWORKS = {
    "of a set": lambda: keras_se.SEResNet20(weights="fashion_mnist"),
    "of colours": lambda: keras_se.SEResNet20(weights="fashion_mnist", input_shape=(28, 28, 3)),
    "with a head": nested,
    "fused": lambda: keras_se.fuse(keras_se.SEResNet20(weights="fashion_mnist")),
    "MobileNet": lambda: keras_se.SEMobileNet(weights="fashion_mnist"),
}


def called(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, and what the model answers."""
    shape = tuple(n or 28 for n in model.input_shape[1:])
    x = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype("float32")
    return x, model.predict(x, verbose=0)


def constants(model: keras.Model) -> int:
    """Tensors, other than variables, that a graph of the model takes from outside."""
    spec = tf.TensorSpec((None, *(n or 28 for n in model.input_shape[1:])))
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    return sum(tensor.dtype != tf.resource for tensor in graph.captured_inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_graphs_hold_their_constants(name: str) -> None:
    model = NETWORKS[name]()
    called(model)
    assert constants(model) == 0


def test_constants_would_be_seen() -> None:
    """Keras' own layer makes them when it is called."""
    layer = keras.layers.Normalization(mean=3.0, variance=4.0)
    model = keras.Sequential([keras.Input((2, 2, 1)), layer])
    called(model)
    assert constants(model) == 2


@pytest.mark.export
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "fused"])
def test_onnx(name: str, tmp_path: Path) -> None:
    """A fused network has operations of XLA, which `keras_se.export` leaves out."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model = NETWORKS[name]()
    x, expected = called(model)
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (received,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(received, expected, atol=TOLERANCE)


@pytest.mark.export
def test_saved_model(tmp_path: Path) -> None:
    model = nested()
    x, expected = called(model)
    model.export(tmp_path / "m", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "m")
    received = loaded.serve(x)
    np.testing.assert_allclose(received, expected, atol=TOLERANCE)
