"""`keras_se.embeddings`: the classifier's input, from arrays and streams."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from reference import noise_pictures, trained_like

import keras_se


@pytest.fixture(scope="module")
def network() -> keras.Model:
    model = keras_se.SEResNet20(weights=None, input_shape=(29, 32, 3), classes=7)
    return trained_like(model, 5)


def test_they_are_what_the_classifier_sees(network: keras.Model) -> None:
    pictures = noise_pictures(7, 29, 32)
    found = keras_se.embeddings(network, pictures, batch_size=3)
    assert found.shape == (7, 64)
    assert found.dtype == np.float32
    kernel, bias = network.get_layer("predictions").get_weights()
    scores = keras.ops.softmax(found @ kernel + bias)
    # Two computations of one float32 network.
    np.testing.assert_allclose(scores, network.predict(pictures, verbose=0), atol=1e-5)


@pytest.mark.parametrize("kind", ["tf.data", "pairs", "generator"])
def test_streams(kind: str, network: keras.Model) -> None:
    pictures, labels = noise_pictures(7, 29, 32), np.arange(7)
    data = {
        "tf.data": tf.data.Dataset.from_tensor_slices(pictures).batch(3),
        "pairs": tf.data.Dataset.from_tensor_slices((pictures, labels)).batch(3),
        "generator": (pictures[n : n + 3] for n in range(0, 7, 3)),
    }[kind]
    expected = keras_se.embeddings(network, pictures, batch_size=3)
    np.testing.assert_array_equal(keras_se.embeddings(network, data), expected)


def test_without_a_head(network: keras.Model) -> None:
    """Feature maps are averaged; a vector is returned as it is."""
    pictures = noise_pictures(2, 29, 32)
    maps = keras.Model(network.inputs, network.get_layer("stage4_block3_relu").output)
    vector = keras.Model(maps.inputs, layers.GlobalAveragePooling2D()(maps.output))
    expected = keras_se.embeddings(network, pictures)
    for model in (maps, vector):
        np.testing.assert_allclose(keras_se.embeddings(model, pictures), expected, rtol=1e-5)


def nested(network: keras.Model) -> keras.Model:
    inputs = keras.Input((29, 32, 3))
    return keras.Model(inputs, network(inputs))


def dense(network: keras.Model) -> keras.Model:
    return keras.Model(network.inputs, layers.Dense(8)(network.get_layer("avg_pool").output))


MISTAKES = {
    "model": (lambda n, x: keras_se.embeddings(None, x), "`model` must be a functional"),
    "images": (lambda n, x: keras_se.embeddings(n, x[:0]), "at least one image"),
    "batch": (lambda n, x: keras_se.embeddings(n, x, 0), "`batch_size` must be"),
    "nested": (lambda n, x: keras_se.embeddings(nested(n), x), "use the nested model"),
    "unknown": (lambda n, x: keras_se.embeddings(dense(n), x), "a classifier or an embedding"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, network: keras.Model) -> None:
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call(network, noise_pictures(2, 29, 32))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
