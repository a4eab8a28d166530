"""`keras_se.feature_pyramid`: the last feature maps of stages 2 to 5, of every network."""

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from every_network import FOR_IMAGENET, SHALLOWEST
from quick_cases import marked
from reference import noise_pictures, trained_like

import keras_se

LEVELS = {"P2": 2, "P3": 3, "P4": 4, "P5": 5}
# Deeper and slower networks run with `tox -e networks`.
QUICK = {*SHALLOWEST} - {
    "SEBNInception", "SEInceptionResNetV2", "SEInceptionV3", "SEResNetRS50", "SEVGG16",
}  # fmt: skip


# The same operations on the same values.
EXACT = 0.0


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.config.set_image_data_format("channels_last")
    keras.backend.clear_session()


def size(name):
    """Height and width: small, of different shape, and no multiples of 32."""
    return (130, 161) if "Inception" in name else (66, 97)


def build(name, **options):
    return getattr(keras_se, name)(weights=None, **options)


def tap(pyramid, level):
    """The symbolic feature map, without the zeros that may have been put around it."""
    names = [layer.name for layer in pyramid.layers]
    padded = f"{level}_pad" in names
    return pyramid.get_layer(f"{level}_pad").input if padded else pyramid.pyramid_outputs[level]


@pytest.mark.parametrize("name", marked(FOR_IMAGENET, QUICK))
def test_maps_are_the_outputs_of_the_stages(name):
    height, width = size(name)
    model = build(name, input_shape=(height, width, 3), classes=7)
    pyramid = keras_se.feature_pyramid(model)
    assert isinstance(pyramid, keras.Model)
    assert list(pyramid.pyramid_outputs) == list(LEVELS)
    for level, stage in LEVELS.items():
        expected = (None, math.ceil(height / 2**stage), math.ceil(width / 2**stage))
        assert pyramid.pyramid_outputs[level].shape[:3] == expected
        # Keras refuses this unless the rest of the network needs the tapped map and no other.
        rest = keras.Model(tap(pyramid, level), model.output)
        assert not [layer for layer in rest.layers if layer.name.startswith(f"stage{stage}_")]


@pytest.mark.parametrize("name", marked(SHALLOWEST, QUICK))
def test_values_saved_and_loaded(name, tmp_path):
    model = trained_like(build(name, input_shape=(*size(name), 3), classes=7), seed=1)
    x = noise_pictures(2, *size(name))
    pyramid = keras_se.feature_pyramid(model)
    expected = pyramid(x)
    taps = keras.Model(model.inputs[0], {level: tap(pyramid, level) for level in LEVELS})(x)
    for level in LEVELS:
        assert np.abs(taps[level]).max() > 0
        missing = [a - b for a, b in zip(expected[level].shape, taps[level].shape, strict=True)]
        border = [(n // 2, n - n // 2) for n in missing]
        np.testing.assert_allclose(expected[level], np.pad(taps[level], border), rtol=0, atol=EXACT)

    pyramid.save(tmp_path / "pyramid.keras")
    loaded = keras.saving.load_model(tmp_path / "pyramid.keras")
    assert type(loaded) is type(pyramid)
    assert list(loaded.pyramid_outputs) == list(LEVELS)
    same(loaded(x), expected)


def same(found, expected):
    for level in LEVELS:
        np.testing.assert_allclose(found[level], expected[level], rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", ["SEResNet18", "SEMobileNet"])
def test_network_that_was_loaded_or_given_weights(name, tmp_path):
    model = trained_like(build(name, input_shape=(64, 64, 3), classes=7), seed=1)
    x = noise_pictures(2, 64, 64)
    expected = keras_se.feature_pyramid(model)(x)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    same(keras_se.feature_pyramid(loaded)(x), expected)
    fresh = build(name, input_shape=(64, 64, 3), classes=7)
    pyramid = keras_se.feature_pyramid(fresh)
    fresh.load_weights(tmp_path / "model.weights.h5")
    same(pyramid(x), expected)


@pytest.mark.parametrize("level", ["P1", "P6"])
def test_level_that_there_is_not(level):
    """A segmenter that wants more is told in one line which levels there are."""
    pyramid = keras_se.feature_pyramid(build("SEResNet18", include_top=False))
    with pytest.raises(KeyError, match="the levels P2 to P5") as caught:
        pyramid.pyramid_outputs[level]
    assert "RetinaNetBackbone" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert level not in pyramid.pyramid_outputs


def test_levels_are_outputs_of_a_model():
    """As KerasHub's DeepLabV3Backbone uses them."""
    pyramid = keras_se.feature_pyramid(build("SEResNet18", include_top=False))
    model = keras.Model(pyramid.inputs, pyramid.pyramid_outputs)
    pictures = noise_pictures(2, 64, 96)
    expected = pyramid.predict(pictures, verbose=0)
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    for found in (model.predict(pictures, verbose=0), copy.predict(pictures, verbose=0)):
        assert list(found) == list(expected)
        for level, maps in expected.items():
            np.testing.assert_array_equal(found[level], maps)


def test_weights_are_shared():
    model = build("SEResNet18", include_top=False)
    pyramid = keras_se.feature_pyramid(model)
    assert all(a is b for a, b in zip(pyramid.variables, model.variables, strict=True))


def test_loads_in_a_fresh_process(tmp_path):
    model = build("SEResNet18", include_top=False, input_shape=(64, 64, 3))
    keras_se.feature_pyramid(model).save(tmp_path / "pyramid.keras")
    code = (
        "import keras, keras_se; keras_se.feature_pyramid; "
        "print(*keras.saving.load_model('pyramid.keras').pyramid_outputs)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == list(LEVELS)


@pytest.mark.parametrize(
    "options",
    [
        {"variant": {"preactivation": True}},
        {"se": keras_se.SEConfig(placement="post")},
        {"se": None},
    ],
)
def test_variants(options):
    model = build("SEResNet18", input_shape=(64, 64, 3), **options)
    pyramid = keras_se.feature_pyramid(model)
    for level, stage in LEVELS.items():
        rest = keras.Model(tap(pyramid, level), model.output)
        assert not [layer for layer in rest.layers if layer.name.startswith(f"stage{stage}_")]


@pytest.mark.parametrize("shape", [(None, None), (None, 97), (33, None)])
def test_unknown_height_and_width(shape):
    pyramid = keras_se.feature_pyramid(build("SEResNet18", input_shape=(*shape, 3)))
    height, width = (n or 160 for n in shape)
    maps = pyramid(np.zeros((1, height, width, 3)))
    for level, stage in LEVELS.items():
        assert maps[level].shape[1:3] == (math.ceil(height / 2**stage), math.ceil(width / 2**stage))


def test_channels_first():
    keras.config.set_image_data_format("channels_first")
    pyramid = keras_se.feature_pyramid(build("SEResNet18", input_shape=(3, 64, 96)))
    assert [output.shape[1:] for output in pyramid.pyramid_outputs.values()] == [
        (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3)
    ]  # fmt: skip


def unpadded(shape, stages=(1, 2, 3, 4, 5)):
    """A network whose convolutions have no padding, two of them in every stage."""
    x = inputs = keras.Input(shape)
    for stage in stages:
        x = keras.layers.Conv2D(4, 3, strides=2, name=f"stage{stage}_conv1")(x)
        x = keras.layers.Conv2D(4, 1, name=f"stage{stage}_conv2")(x)
    return keras.Model(inputs, x, name="unpadded")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_zeros_replace_what_unpadded_convolutions_take(data_format):
    first = data_format == "channels_first"
    keras.config.set_image_data_format(data_format)
    pyramid = keras_se.feature_pyramid(unpadded((3, 129, 160) if first else (129, 160, 3)))
    sizes = [(33, 40), (17, 20), (9, 10), (5, 5)]
    for output, expected in zip(pyramid.pyramid_outputs.values(), sizes, strict=True):
        assert output.shape == ((None, 4, *expected) if first else (None, *expected, 4))
    if first:
        return
    x = noise_pictures(1, 129, 160)
    full, inner = pyramid(x)["P2"], keras.Model(pyramid.inputs[0], tap(pyramid, "P2"))(x)
    assert inner.shape == (1, 31, 39, 4)
    np.testing.assert_allclose(full[:, 1:-1, :-1], inner, rtol=0, atol=EXACT)
    for zeros in (full[:, 0], full[:, -1], full[:, :, -1]):
        assert not np.any(zeros)


def one_line(model):
    with pytest.raises(ValueError, match="`model` must") as error:
        keras_se.feature_pyramid(model)
    message = str(error.value)
    assert "\n" not in message
    return message


def subclassed():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    return Subclassed(name="mine")


def two_inputs():
    model = unpadded((64, 64, 3))
    other = keras.Input((1,))
    total = keras.layers.Add()([keras.layers.GlobalMaxPooling2D()(model.output), other])
    return keras.Model([*model.inputs, other], total, name="mine")


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: None, "model=None with stages []"),
        (subclassed, "model='mine' with stages []"),
        (lambda: keras.Sequential(name="mine"), "model='mine' with stages []"),
        (two_inputs, "model='mine' with stages [1, 2, 3, 4, 5]"),
        (lambda: build("SEResNet20"), "model='se_resnet20' with stages [2, 3, 4]"),
        (lambda: keras.applications.MobileNet(weights=None, name="mine"), "with stages []"),
    ],
)
def test_models_without_the_stages(make, received):
    message = one_line(make())
    assert "stage2_... to stage5_..." in message
    assert received in message


@pytest.mark.parametrize("size", [None, 224])
@pytest.mark.parametrize(
    ("name", "variant", "received"),
    [
        ("SEResNet18", {"stem_pool": None}, "stage 2 at"),
        ("SEResNet18", {"stem_stride": 4}, "stage 2 at"),
        ("SEResNet20", {"blocks": (1,) * 4, "widths": (16,) * 4}, "stage 2 at"),
    ],
)
def test_wrong_strides(name, variant, received, size):
    message = one_line(build(name, input_shape=(size, size, 3), variant=variant))
    assert "1/4, 1/8, 1/16 and 1/32" in message
    assert received in message


def test_unpadded_convolutions_need_a_known_size():
    message = one_line(unpadded((None, 64, 3)))
    assert "known height and width" in message
    assert "input_shape=(None, 64, 3)" in message
