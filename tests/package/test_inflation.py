"""Networks for volumes from networks for images.

On a volume of equal slices the centre of every kernel sees what the image's kernel sees; the
average does too, except where it reaches beyond the first or last slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from every_network import NAMES, VARIANTS, smallest
from keras import layers, ops
from mistakes import one_line
from reference import trained_like
from small_variants import SMALL
from user_networks import random_values

import keras_se
from keras_se.layers import AdaptiveAveragePooling2D

# Of the largest feature: sums of float32 in another order.
TOLERANCE = 1e-5
DEPTH = 17
# Name and arguments of networks of `keras.applications`, small or large.
APPLICATIONS: dict[str, dict[str, Any]] = {
    "MobileNet": {"alpha": 0.25},
    "MobileNetV2": {"alpha": 0.35},
    "MobileNetV3Small": {"alpha": 0.75},
}
LARGE: dict[str, dict[str, Any]] = {
    "ResNet50": {}, "ResNet50V2": {}, "VGG16": {}, "DenseNet121": {}, "EfficientNetB0": {},
    "InceptionV3": {}, "ConvNeXtTiny": {}, "InceptionResNetV2": {},
}  # fmt: skip


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    x = np.random.default_rng(0).integers(0, 256, (2, height, width, channels))
    return x.astype("float32")


def stacked(x: np.ndarray, depth: int = DEPTH) -> np.ndarray:
    return np.repeat(x[:, None], depth, 1)


def assert_equal_slices(volume: np.ndarray, image: np.ndarray) -> None:
    """Every slice of the features is the image's; vectors are equal."""
    if volume.ndim > image.ndim:
        image = image[:, None]
    scale = np.abs(image).max()
    assert scale > 0
    np.testing.assert_allclose(
        volume / scale, np.broadcast_to(image / scale, volume.shape), rtol=0, atol=TOLERANCE
    )


def check_centre(model: keras.Model, x: np.ndarray, depth: int = DEPTH) -> keras.Model:
    volume = keras_se.inflate(model, (depth, *x.shape[1:]), "centre")
    actual = volume.predict(stacked(x, depth), verbose=0)
    assert_equal_slices(actual, model.predict(x, verbose=0))
    return volume


@pytest.mark.parametrize(
    ("name", "include_top"),
    [*((name, False) for name in SMALL), ("SEResNet50", True), ("SEVGG16", True)],
)
def test_centre_of_small_networks(name: str, include_top: bool) -> None:
    """At sizes that no stride divides; the last layer has logits."""
    build = getattr(keras_se, name)
    model = build(
        include_top, weights=None, classes=5, classifier_activation=None,
        input_shape=(33, 38, 3), **SMALL[name],
    )  # fmt: skip
    # MobileNet's stride is 32 also in the small network.
    check_centre(trained_like(model, 0), picture(33, 38), 33 if name == "SEMobileNet" else DEPTH)


DEEP = {
    **SMALL, "SEVGG16": {"variant": {"blocks": (1, 1, 1, 1, 1), "widths": (8, 16, 16, 16, 16)}},
}  # fmt: skip


def unet(name: str = "SEResNet50", attention: str | None = None, first: bool = False) -> Any:
    backbone = getattr(keras_se, name)(
        include_top=False, weights=None, input_shape=(3, 33, 38) if first else (33, 38, 3),
        **DEEP[name],
    )  # fmt: skip
    model = keras_se.UNet(
        backbone, 3, decoder_filters=(16, 12, 8, 8, 8), attention=attention,
        classifier_activation=None,
    )  # fmt: skip
    return trained_like(model, 0)


@pytest.mark.parametrize(
    ("name", "attention", "depth"),
    [("SEResNet50", None, 32), ("SEResNet50", "scse", 17), ("SEVGG16", None, 35)],
)
def test_centre_of_a_unet(name: str, attention: str | None, depth: int) -> None:
    """A trained decoder, too, goes from images to volumes; VGG's pools leave out an odd slice."""
    check_centre(unet(name, attention), picture(33, 38), depth)


def test_a_unet_of_other_channels() -> None:
    """Its input also says the size of the mask, which has no weights to adapt."""
    model = unet()
    volume = keras_se.inflate(model, (32, 33, 38, 1), "centre")
    x = picture(33, 38, 1)
    y = volume.predict(stacked(x, 32), verbose=0)
    assert_equal_slices(y, model.predict(np.repeat(x, 3, -1), verbose=0))
    assert keras_se.inflate(model, (32, 33, 38, 5)).get_layer("stem_conv").kernel.shape[3] == 5
    two = keras.Model(model.inputs, [model.outputs[0], layers.Conv2D(2, 3)(model.inputs[0])])
    one_line(lambda: keras_se.inflate(two, (32, 33, 38, 1)), "input_shape", "1 channels")


def test_a_unet_with_the_channels_first(request: pytest.FixtureRequest) -> None:
    """Its classifier has them last."""
    request.addfinalizer(lambda: keras.config.set_image_data_format("channels_last"))
    keras.config.set_image_data_format("channels_first")
    model = unet(first=True)
    volume = keras_se.inflate(model, (3, 32, 33, 38), "centre")
    assert volume.output_shape == (None, 32, 33, 38, 3)
    x = np.moveaxis(picture(33, 38), -1, 1)
    y = volume.predict(np.repeat(x[:, :, None], 32, 2), verbose=0)
    assert_equal_slices(y, model.predict(x, verbose=0))


@pytest.mark.networks
@pytest.mark.parametrize("name", NAMES)
def test_centre_of_every_network(name: str) -> None:
    size = smallest(name)
    variant = VARIANTS.get(name)
    model = getattr(keras_se, name)(
        False, weights=None, input_shape=(size, size + 6, 3), variant=variant
    )
    check_centre(trained_like(model, 0), picture(size, size + 6), max(size, 32))


def application(name: str, options: dict[str, Any]) -> keras.Model:
    size = 75 if "Inception" in name else 64
    build = getattr(keras.applications, name)
    return random_values(
        build(include_top=False, weights=None, input_shape=(size, size, 3), **options)
    )


@pytest.mark.parametrize("name", APPLICATIONS)
def test_centre_of_other_networks(name: str) -> None:
    model = application(name, APPLICATIONS[name])
    check_centre(model, picture(64, 64), 32)


@pytest.mark.networks
@pytest.mark.parametrize("name", LARGE)
def test_centre_of_large_networks(name: str) -> None:
    model = application(name, LARGE[name])
    check_centre(model, picture(*model.input_shape[1:3]), 75 if "Inception" in name else 32)


def plain() -> keras.Model:
    return trained_like(
        keras_se.SEResNet20(
            weights=None, input_shape=(16, 17, 3), classes=5, se=None,
            variant={"blocks": (1, 1, 1)},
        ),
        0,
    )  # fmt: skip


def test_average_of_each_layer() -> None:
    """Far from the first and last slice every layer is the image's."""
    model, depth = plain(), 65
    volume = keras_se.inflate(model, (depth, 16, 17, 3))
    x = picture(16, 17)
    names = [layer.name for layer in model.layers if len(layer.output.shape) == 4][1:]
    assert len(names) > 20
    probes = (
        keras.Model(network.inputs, [network.get_layer(name).output for name in names])
        for network in (model, volume)
    )
    images = next(probes).predict(x, verbose=0)
    volumes = next(probes).predict(stacked(x, depth), verbose=0)
    for image, features in zip(images, volumes, strict=True):
        middle = features.shape[1] // 2
        assert_equal_slices(features[:, middle - 1 : middle + 2], image)
    # The borders differ.
    assert not np.allclose(volumes[-1][:, 0], images[-1], atol=0.01 * np.abs(images[-1]).max())


@pytest.mark.parametrize("how", ["average", "centre"])
def test_kernels(how: str) -> None:
    """Variables by name: the slices of a kernel add up to the image's; all others are equal."""
    model = plain()
    volume = keras_se.inflate(model, (16, 16, 17, 3), how)
    assert [y.path for y in volume.weights] == [y.path for y in model.weights]
    assert volume.name == model.name
    for ours, theirs in zip(volume.weights, model.weights, strict=True):
        ours, theirs = ours.numpy(), theirs.numpy()
        if theirs.ndim != 4:
            np.testing.assert_array_equal(ours, theirs)
            continue
        size = len(theirs)
        expected = np.zeros_like(ours)
        if how == "average":
            expected[:] = theirs / size
        else:
            expected[(size - 1) // 2] = theirs
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


CHAINS: dict[str, Callable[[Any], Any]] = {
    "even kernels": lambda x: layers.Conv2D(4, 4, strides=2, padding="same")(
        layers.Conv2D(4, 2, padding="same")(x)
    ),
    "kernels that are not square": lambda x: layers.Conv2D(4, (7, 1), padding="same")(
        layers.Conv2D(4, (1, 7), strides=(1, 2), padding="same")(x)
    ),
    "dilation": lambda x: layers.Conv2D(4, 3, dilation_rate=2, padding="same")(x),
    "groups": lambda x: layers.Conv2D(6, 3, groups=3, padding="same")(x),
    "negative values before a padded pool": lambda x: layers.MaxPooling2D(3, 2)(
        layers.ZeroPadding2D(1)(layers.Rescaling(-1.0)(x))
    ),
    "averages that count their padding": lambda x: layers.AveragePooling2D(3, 1)(
        layers.ZeroPadding2D(1)(x)
    ),
    "averages that do not": lambda x: layers.AveragePooling2D(3, 2, padding="same")(x),
    "shift before a 1x1 convolution": lambda x: layers.Conv2D(4, 1, strides=2)(
        layers.ZeroPadding2D(((1, 0), (1, 0)))(layers.Cropping2D(((0, 1), (0, 1)))(x))
    ),
    "padding on two sides alone": lambda x: layers.Conv2D(4, (1, 3))(
        layers.ZeroPadding2D(((0, 0), (1, 1)))(x)
    ),
    "transposed": lambda x: layers.Conv2DTranspose(4, 2, strides=2)(x),
    "transposed with overlap": lambda x: layers.Conv2DTranspose(
        4, 4, strides=2, padding="same"
    )(x),
    "transposed with an odd kernel": lambda x: layers.Conv2DTranspose(
        4, 3, strides=2, padding="same"
    )(x),
    "upsampling": lambda x: layers.UpSampling2D(2)(x),
    "normalisation and positive axes": lambda x: layers.Concatenate(3)(
        [layers.BatchNormalization(3)(x), layers.LayerNormalization(-1)(x)]
    ),
    "gates of its own": lambda x: layers.Multiply()(
        [x, layers.Reshape((1, 1, 3))(layers.GlobalAveragePooling2D()(x))]
    ),
    "operations": lambda x: ops.relu(x - ops.mean(x, axis=(1, 2), keepdims=True)) * 2.0,
    "padded channels": lambda x: ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 2]]),
    "slopes": lambda x: layers.PReLU(shared_axes=(1, 2))(layers.Rescaling(-1.0)(x)),
    "flattened": lambda x: layers.Dense(4)(layers.Flatten()(layers.MaxPooling2D(4)(x))),
    "flattened after a pool to a fixed size": lambda x: layers.Dense(4)(
        layers.Flatten()(AdaptiveAveragePooling2D(5)(x))
    ),
    "flattened with the channels first": lambda x: layers.Dense(4)(
        layers.ReLU()(layers.Flatten("channels_first")(layers.MaxPooling2D(4)(x)))
    ),
    "channels that move": lambda x: layers.Permute((2, 3, 1))(
        layers.BatchNormalization(1)(
            layers.Conv2D(4, 3, data_format="channels_first")(
                layers.Permute((3, 1, 2))(layers.Conv2D(4, 1)(x))
            )
        )
    ),
    "a nested model": lambda x: keras.Sequential(
        [layers.Input((16, 18, 3)), layers.Conv2D(4, 3), layers.ReLU(6.0)]
    )(x),
    "dropout": lambda x: layers.Dropout(0.5, noise_shape=(None, 1, 1, 3))(
        layers.SpatialDropout2D(0.5)(x)
    ),
}  # fmt: skip


def chain(name: str) -> keras.Model:
    x = layers.Input((16, 18, 3))
    return random_values(keras.Model(x, CHAINS[name](x)))


@pytest.mark.parametrize("name", CHAINS)
def test_centre_of_layers(name: str) -> None:
    volume = check_centre(chain(name), picture(16, 18))
    if "transposed" not in name and "flattened" not in name:
        # Half the slices by half the strides.
        model = chain(name)
        assert volume.output_shape[2:] == model.output_shape[1:]


@pytest.mark.parametrize("name", sorted(CHAINS.keys() - {"flattened"}))
def test_average_of_layers(name: str) -> None:
    """In the middle of a deep volume."""
    model, depth = chain(name), 32
    volume = keras_se.inflate(model, (depth, 16, 18, 3))
    x = picture(16, 18)
    y = volume.predict(stacked(x, depth), verbose=0)
    middle = slice(y.shape[1] // 2 - 1, y.shape[1] // 2 + 1) if y.ndim == 5 else slice(None)
    assert_equal_slices(y[:, middle], model.predict(x, verbose=0))


def test_flattened_average() -> None:
    """The features of each slice count alike."""
    model = chain("flattened")
    volume = keras_se.inflate(model, (16, 16, 18, 3))
    kernel, before = (network.layers[-1].kernel.numpy() for network in (volume, model))
    np.testing.assert_allclose(kernel, np.tile(before / 4, (4, 1)))


def test_channels_first(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: keras.config.set_image_data_format("channels_last"))
    keras.config.set_image_data_format("channels_first")
    model = trained_like(
        keras_se.SEPreResNet110(
            weights=None, input_shape=(3, 16, 17), classes=5, variant={"blocks": (1, 1, 1)}
        ),
        0,
    )
    volume = keras_se.inflate(model, (3, DEPTH, 16, 17), "centre")
    x = np.moveaxis(picture(16, 17), -1, 1)
    y = volume.predict(np.repeat(x[:, :, None], DEPTH, 2), verbose=0)
    assert_equal_slices(y, model.predict(x, verbose=0))


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_flattened_channels_first(order: str, depth: int) -> None:
    """Keras' `Flatten` takes channels first as they lie, unless it is told."""
    inputs = layers.Input((3, 6, 7))
    x = layers.Conv2D(4, 3, padding="same", data_format="channels_first")(inputs)
    x = layers.Dropout(0.5)(layers.Flatten(data_format=order)(x))
    model = random_values(keras.Model(inputs, layers.Dense(5)(x)))
    volume = keras_se.inflate(model, (3, depth, 6, 7), "centre")
    x = np.moveaxis(picture(6, 7), -1, 1)
    y = volume.predict(np.repeat(x[:, :, None], depth, 2), verbose=0)
    assert_equal_slices(y, model.predict(x, verbose=0))


def test_flattened_features_that_are_joined() -> None:
    """Which slice a weight belongs to is no longer known."""
    inputs = layers.Input((6, 7, 3))
    parts = [layers.Flatten()(layers.Conv2D(n, 3)(inputs)) for n in (2, 3)]
    model = keras.Model(inputs, layers.Dense(5, name="head")(layers.Concatenate()(parts)))
    message = one_line(
        lambda: keras_se.inflate(model, (4, 6, 7, 3)), "input_shape", "an input that needs"
    )
    assert "layer 'head'" in message


@pytest.mark.parametrize(
    ("own", "channels", "preprocessing"),
    [(1, 5, True), (1, 3, False), (3, 1, True), (3, 5, True), (3, 1, False), (3, 6, False)],
)
def test_other_channels(own: int, channels: int, preprocessing: bool) -> None:
    """As the builders adapt weights: a picture of equal channels counts as it did."""
    model = trained_like(
        keras_se.SEResNet20(
            weights=None, input_shape=(16, 18, own), include_preprocessing=preprocessing,
            classifier_activation=None, variant={"blocks": (1, 1)} | {"widths": (16, 32)},
        ),
        0,
    )  # fmt: skip
    if preprocessing and own == 3:
        # The channels that repeat need equal statistics.
        config = model.get_layer("normalization").get_config()
        config["mean"], config["std"] = [0.5] * 3, [0.25] * 3
        inputs = keras.Input((16, 18, 3))
        x = keras_se.layers.PictureNormalization.from_config(config)(inputs)
        rest = keras.Model(model.get_layer("normalization").output, model.outputs)
        model = keras.Model(inputs, rest(x))
    volume = keras_se.inflate(model, (DEPTH, 16, 18, channels), "centre")
    x = picture(16, 18, 1)
    y = volume.predict(stacked(np.repeat(x, channels, -1)), verbose=0)
    assert_equal_slices(y, model.predict(np.repeat(x, own, -1), verbose=0))


def test_a_set_whose_channels_cannot_adapt() -> None:
    """One channel before statistics of red, green and blue, as the builder for images."""
    model = keras_se.SEResNet20(
        weights=None, include_preprocessing=False,
        variant={"input_norm": True, "preactivation": True, "blocks": (1, 1, 1)},
    )  # fmt: skip
    one_line(lambda: keras_se.inflate(model, (16, 32, 32, 1)), "input_shape", "1 channels")


def test_the_builder_inflates() -> None:
    """Weights for images, by name, are those of `inflate`; so is the description."""
    shape = (12, 28, 28, 1)
    model = keras_se.SEResNet20(weights="fashion_mnist", input_shape=shape)
    inflated = keras_se.inflate(keras_se.SEResNet20(weights="fashion_mnist"), shape, name="other")
    x = stacked(picture(28, 28, 1), 12)
    np.testing.assert_array_equal(model.predict(x, verbose=0), inflated.predict(x, verbose=0))
    assert (model.name, inflated.name) == ("se_resnet20", "other")
    assert model.output_shape == (None, 10)
    known = keras_se.describe(inflated)
    assert known.labels is not None
    assert (known.labels[9], known.spatial) == ("Ankle_boot", (12, 28, 28))


def test_a_copy() -> None:
    """The model is unchanged, frozen layers stay frozen, unknown sizes stay unknown."""
    model = keras_se.SEResNet20(weights="fashion_mnist", input_shape=(None, None, 1))
    model.get_layer("stem_conv").trainable = False
    before = [y.numpy() for y in model.weights]
    volume = keras_se.inflate(model, (None, None, None, 1))
    assert volume.input_shape == (None, None, None, None, 1)
    assert not volume.get_layer("stem_conv").trainable
    assert volume.get_layer("stage2_block1_conv1").trainable
    for weight in volume.weights:
        weight.assign(ops.zeros_like(weight))
    for now, then in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(now, then)


def refusing(layer: Any) -> keras.Model:
    x = layers.Input((16, 16, 3))
    return keras.Model(x, layer(layers.Conv2D(4, 3, name="conv")(x)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Resizing(8, 8, name="mine"),
        layers.UpSampling2D(2, interpolation="bilinear", name="mine"),
        layers.SeparableConv2D(4, 3, name="mine"),
        layers.Lambda(lambda x: x, name="mine"),
        layers.Permute((2, 1, 3), name="mine"),
        layers.Reshape((196, 4), name="mine"),
        layers.PReLU(name="mine"),
        layers.Conv2DTranspose(4, 2, strides=3, name="mine"),
    ],
)
def test_layers_without_a_form(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = refusing(layer)

    def refuse(self: Any, *_: object) -> None:
        raise AssertionError("a weight was created")

    monkeypatch.setattr(layers.Conv3D, "build", refuse)
    one_line(lambda: keras_se.inflate(model, (16, 16, 16, 3)), "model", "layer 'mine' of type")


def test_an_fpn() -> None:
    """It interpolates, and volumes repeat; its backbone inflates, and an FPN stands on that."""
    backbone = keras_se.SEResNet50(
        include_top=False, weights=None, input_shape=(33, 38, 3), **SMALL["SEResNet50"]
    )
    model = keras_se.FPN(backbone, 3, 8, 8)
    one_line(
        lambda: keras_se.inflate(model, (32, 33, 38, 3)), "model",
        "layer 'logits_up' of type UpSampling2D with interpolation='bilinear'",
    )  # fmt: skip
    volume = keras_se.FPN(keras_se.inflate(backbone, (32, 33, 38, 3)), 3, 8, 8)
    assert volume.output_shape == (None, 32, 33, 38, 3)


def test_bad_arguments() -> None:
    model = plain()
    message = one_line(
        lambda: keras_se.inflate(model, (16, 16, 16, 3), "center"), "how", "'center'"
    )
    assert "Did you mean 'centre'?" in message
    for shape in ((16, 16, 3), (16, 16, 16, 16, 3), (16, 16, 16, None), (0, 16, 16, 3), 16, None):
        one_line(lambda shape=shape: keras_se.inflate(model, shape), "input_shape", shape)
    one_line(lambda: keras_se.inflate(layers.Dense(3), (16, 16, 16, 3)), "model", "Dense")
    vector = keras.Sequential([layers.Input((3,)), layers.Dense(3)])
    one_line(lambda: keras_se.inflate(vector, (16, 16, 16, 3)), "model", "(None, 3)")
    mixing = keras.Sequential([layers.Input((16, 16, 3)), layers.BatchNormalization()])
    one_line(lambda: keras_se.inflate(mixing, (16, 16, 16, 2)), "input_shape", 2)
    pooled = keras.Sequential([layers.Input((16, 16, 3)), layers.MaxPooling2D(8, name="pool")])
    message = one_line(
        lambda: keras_se.inflate(pooled, (4, 16, 16, 3)), "input_shape", "(None, 4, 16"
    )
    assert "layer 'pool' with an input of" in message
    flat = chain("flattened")
    one_line(lambda: keras_se.inflate(flat, (16, 32, 9, 3)), "input_shape", "(4, 8, 2, 3)")
    one_line(
        lambda: keras_se.SEResNet50(weights=None, input_shape=(2, 64, 64, 1)),
        "input_shape", (2, 64, 64, 1),
    )  # fmt: skip
