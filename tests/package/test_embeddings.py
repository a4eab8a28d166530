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


@pytest.mark.parametrize("kind", ["tf.data", "pairs", "generator", "list"])
def test_streams(kind: str, network: keras.Model) -> None:
    pictures, labels = noise_pictures(7, 29, 32), np.arange(7)
    data = {
        "tf.data": tf.data.Dataset.from_tensor_slices(pictures).batch(3),
        "pairs": tf.data.Dataset.from_tensor_slices((pictures, labels)).batch(3),
        "list": [pictures[n : n + 3] for n in range(0, 7, 3)],
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


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_unet_has_a_vector_of_its_channels(data_format: str) -> None:
    """Its classifier takes the channels last, whatever the data format."""
    keras.config.set_image_data_format(data_format)
    try:
        shape = (32, 64, 3) if data_format == "channels_last" else (3, 32, 64)
        backbone = keras_se.SEResNet18(include_top=False, weights=None, input_shape=shape)
        model = keras_se.UNet(backbone, 3, decoder_filters=(16, 16, 12, 12, 8))
        found = keras_se.embeddings(model, np.ones((2, *shape), "float32"))
    finally:
        keras.config.set_image_data_format("channels_last")
    assert found.shape == (2, 8)


def test_shared_layers() -> None:
    """The features are the model's own, wherever its layers were called first."""
    base = keras.Sequential(
        [
            keras.Input((12, 9, 3)),
            layers.Conv2D(8, 3, name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    pictures = noise_pictures(4, 12, 9).astype("float32")
    expected = keras_se.embeddings(base, pictures)
    assert expected.shape == (4, 8)
    again = keras.Sequential(base.layers)
    again.build((None, 12, 9, 3))
    assert keras_se.describe(again).answers == "probabilities"
    inputs = keras.Input((12, 9, 3))
    x = layers.Rescaling(2.0)(inputs)
    for layer in base.layers:
        x = layer(x)
    doubled = keras.Model(inputs, x)
    np.testing.assert_array_equal(keras_se.embeddings(again, pictures), expected)
    np.testing.assert_allclose(
        keras_se.embeddings(doubled, pictures), keras_se.embeddings(base, 2 * pictures), rtol=1e-5
    )
    new = keras_se.with_new_head(again, 3)
    assert new.output_shape == (None, 3)
    assert new.get_layer("conv") is base.get_layer("conv")


@pytest.mark.parametrize("keyword", [False, True])
def test_nested_classifier(network: keras.Model, keyword: bool) -> None:
    """What comes before a nested network counts."""
    inputs = keras.Input((29, 32, 3))
    x = layers.Rescaling(0.5)(inputs)
    outer = keras.Model(inputs, network(inputs=x) if keyword else network(x))
    pictures = noise_pictures(2, 29, 32)
    np.testing.assert_allclose(
        keras_se.embeddings(outer, pictures), keras_se.embeddings(network, pictures / 2), rtol=1e-4
    )


@pytest.mark.parametrize("shape", [(16, 3), (6, 8, 5, 2)], ids=str)
def test_signals_and_volumes(shape: tuple[int, ...]) -> None:
    pool = layers.GlobalAveragePooling1D if len(shape) == 2 else layers.GlobalAveragePooling3D
    conv = layers.Conv1D if len(shape) == 2 else layers.Conv3D
    model = keras.Sequential(
        [keras.Input(shape), conv(4, 3), pool(), layers.Dense(2, activation="softmax")]
    )
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    found = keras_se.embeddings(model, images)
    assert found.shape == (3, 4)
    maps = keras.Model(model.inputs, model.layers[0].output)
    # Means of float32 in another order.
    np.testing.assert_allclose(keras_se.embeddings(maps, images), found, rtol=1e-5, atol=1e-6)


def dense(network: keras.Model) -> keras.Model:
    return keras.Model(network.inputs, layers.Dense(8)(network.get_layer("avg_pool").output))


def two_inputs(network: keras.Model) -> keras.Model:
    a, b = (keras.Input((29, 32, 3), name=name) for name in "ab")
    return keras.Model([a, b], network(layers.Add()([a, b])))


def any_length() -> keras.Model:
    return keras_se.SEResNet18(weights=None, input_shape=(None, 12))


MISTAKES = {
    "inputs": (
        lambda n, x: keras_se.embeddings(two_inputs(n), [x, x]),
        "with one input and one output. Received: model of type Functional, 2 inputs, 1 outputs",
    ),
    "dict": (lambda n, x: keras_se.embeddings(n, {"images": x}), "Received: dict"),
    "short": (
        lambda n, x: keras_se.embeddings(any_length(), np.ones((4, 2, 12), "float32")),
        "`images` must be of a size that the model takes. Received: shape (4, 2, 12)",
    ),
    "model": (lambda n, x: keras_se.embeddings(None, x), "`model` must be a functional"),
    "images": (lambda n, x: keras_se.embeddings(n, x[:0]), "at least one image"),
    "batch": (lambda n, x: keras_se.embeddings(n, x, 0), "`batch_size` must be"),
    "single": (lambda n, x: keras_se.embeddings(n, x[0]), "one image needs an axis in front"),
    "unbatched": (lambda n, x: keras_se.embeddings(n, iter(x)), "one image needs an axis"),
    "text": (lambda n, x: keras_se.embeddings(n, "folder"), "an iterable of batches"),
    "none": (lambda n, x: keras_se.embeddings(n, None), "an iterable of batches"),
    "empty": (lambda n, x: keras_se.embeddings(n, iter(())), "at least one image"),
    "unknown": (lambda n, x: keras_se.embeddings(dense(n), x), "a classifier or an embedding"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, network: keras.Model) -> None:
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call(network, noise_pictures(2, 29, 32))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_nothing_is_left_behind(network: keras.Model) -> None:
    """Calls in a loop do not add to the network's graph."""
    pictures = noise_pictures(1, 29, 32)
    layer = network.get_layer("stage2_block1_conv1")
    keras_se.embeddings(network, pictures)
    before = len(layer._inbound_nodes)
    keras_se.embeddings(network, pictures)
    assert len(layer._inbound_nodes) == before
