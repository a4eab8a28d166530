"""Warm starts: the weights of plain networks, Squeeze-and-Excitation without an effect."""

from dataclasses import replace

import keras
import keras2_files
import numpy as np
import pytest

import keras_se
from keras_se import SEConfig, SqueezeExcite
from keras_se.weights.variable_file import named_variables

ENTRIES = [entry for entry in keras_se.list_weights() if entry.plain]
# Of the largest logit: float32 sums in another order, and biases that went into a mean.
TOLERANCE = 1e-5
SMALL = "se_mobilenet_0_25.keras_imagenet_backbone"
PREPROCESS = {
    "ResNet": keras.applications.resnet.preprocess_input,
    "DenseNet": keras.applications.densenet.preprocess_input,
    "InceptionV3": keras.applications.inception_v3.preprocess_input,
    "InceptionResNetV2": keras.applications.inception_resnet_v2.preprocess_input,
    "MobileNet": keras.applications.mobilenet.preprocess_input,
}


@pytest.fixture(autouse=True)
def _clean(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_SE_MIRROR", str(tmp_path))
    yield
    keras.backend.clear_session()


def published(entry, folder):
    """The plain network with random weights, and its entry, whose file is written.

    The entry has no hash: nobody has a file with the hash of the real one at hand.
    """
    name = entry.network.split("-")[0]
    options = {"alpha": entry.variant["alpha"]} if name == "MobileNet" else {}
    plain = getattr(keras.applications, name)(weights=None, classifier_activation=None, **options)
    keras2_files.random_values(plain, seed=1)
    keras2_files.write(plain, folder / entry.file)
    return plain, replace(entry, sha=None)


def pictures(size, count=2):
    shape = (count, size, size, 3)
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def entry_of(name):
    return next(entry for entry in ENTRIES if entry.name == name)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(e, marks=() if e.name == SMALL else pytest.mark.networks, id=e.name)
        for e in ENTRIES
    ],
)
def test_function_is_that_of_the_plain_network(entry, tmp_path):
    plain, entry = published(entry, tmp_path)
    family = max((key for key in PREPROCESS if entry.network.startswith(key)), key=len)
    x = pictures(entry.input_shape[0])
    expected = np.asarray(plain(PREPROCESS[family](x.copy())))
    build = getattr(keras_se, entry.model)
    options = {"weights": entry, "classifier_activation": None}
    model = build(**options)
    logits = np.asarray(model(x))
    assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max()
    # Powers of two lose nothing.
    np.testing.assert_array_equal(logits, build(**options, se=None)(x))

    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    assert blocks
    for block in blocks:
        channels = block.reduce_kernel.shape[0]
        gates = block.gates(np.random.default_rng(2).normal(size=(3, 2, 2, channels)))
        np.testing.assert_array_equal(gates, np.full((3, channels), 0.5, "float32"))
    features = build(weights=entry, include_top=False, pooling="avg")(x)
    assert features.shape == (2, model.layers[-1].kernel.shape[0])


@pytest.mark.weights
def test_gates_leave_one_half_in_training(tmp_path):
    _, entry = published(entry_of(SMALL), tmp_path)
    base = keras_se.SEMobileNet(weights=entry, include_top=False, pooling="avg")
    model = keras.Sequential([base, keras.layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(pictures(64, 6), np.arange(6) % 3, epochs=3, verbose=0)
    blocks = [layer for layer in base.layers if isinstance(layer, SqueezeExcite)]
    assert all(np.abs(block.expand_kernel.numpy()).max() > 0 for block in blocks)


def test_other_settings_of_squeeze_and_excitation(tmp_path):
    _, entry = published(entry_of(SMALL), tmp_path)
    x = pictures(64)
    options = {"weights": entry, "classifier_activation": None, "input_shape": (64, 64, 3)}
    expected = keras_se.SEMobileNet(**options, se=None)(x)
    for se in (
        SEConfig(ratio=4),
        SEConfig(squeeze=None),
        SEConfig(squeeze="max", gate="hard_sigmoid", use_bias=False),
        SEConfig(stages=(4, 5)),
    ):
        np.testing.assert_array_equal(keras_se.SEMobileNet(**options, se=se)(x), expected)
    with pytest.raises(ValueError, match="one half at zero"):
        keras_se.SEMobileNet(**options, se=SEConfig(gate="tanh"))
    with pytest.raises(ValueError, match=r"`placement` to be .* Received: placement='post'"):
        keras_se.SEResNet50(weights="imagenet_backbone", se=SEConfig(placement="post"))


def test_width_is_that_of_the_argument(tmp_path):
    names = {
        alpha: keras_se.weights.entries.resolve_weights(
            "imagenet_backbone", "SEMobileNet", {"alpha": alpha}
        ).name
        for alpha in (0.25, 0.5, 0.75, 1.0)
    }
    assert names == {
        0.25: "se_mobilenet_0_25.keras_imagenet_backbone",
        0.5: "se_mobilenet_0_50.keras_imagenet_backbone",
        0.75: "se_mobilenet_0_75.keras_imagenet_backbone",
        1.0: "se_mobilenet.keras_imagenet_backbone",
    }
    with pytest.raises(ValueError, match=r"alpha to be one of: 1.0, 0.75, .*: alpha=0.3"):
        keras_se.SEMobileNet(weights="imagenet_backbone", alpha=0.3)
    with pytest.raises(ValueError, match=r"fixes the variant .*alpha=0.25.* Received: alpha=1.0"):
        keras_se.SEMobileNet(weights=SMALL, alpha=1.0)


@pytest.mark.parametrize("name", ["SEMobileNet", "SEInceptionV3", "SEDenseNet121"])
def test_without_published_sets_the_warm_start_is_the_default(name):
    assert getattr(keras_se, name).defaults.weights == "imagenet_backbone"
    with pytest.raises(ValueError, match=r"'imagenet_backbone'.* Received: weights='imagenet'"):
        getattr(keras_se, name)(weights="imagenet")


def test_biases_of_convolutions_go_into_the_means(tmp_path):
    """`keras.applications.ResNet50`, shortened: only its names matter."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="conv1_conv")(inputs)
    x = keras.layers.BatchNormalization(name="conv1_bn")(x)
    plain = keras2_files.random_values(keras.Model(inputs, x), seed=3)
    from keras_se.weights.conversion import convert
    from keras_se.weights.tensors import open_tensors

    path = keras2_files.write(plain, tmp_path / "weights.h5")
    shapes = {"stem_conv/kernel": (1, 1, 3, 4)}
    shapes |= {f"stem_bn/{n}": (4,) for n in ("gamma", "beta", "moving_mean", "moving_variance")}
    with open_tensors(path) as file:
        found = convert(file, "keras_resnet", shapes, keras_se.SEResNet50.network)
        mean = np.asarray(found.arrays["stem_bn/moving_mean"])
    variables = named_variables(plain)
    expected = variables["conv1_bn/moving_mean"] - variables["conv1_conv/bias"]
    np.testing.assert_array_equal(mean, expected)
