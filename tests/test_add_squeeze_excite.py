"""SE in other people's networks: the same bits out, gates of one half that learn."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_se
from keras_se import SEConfig, SqueezeExcite, add_squeeze_excite

# When compiled, sums and products are fused and come in another order.
COMPILED_TOLERANCE = 1e-5
CLASSES = 7
# Height and width, and how many blocks a network gets: one a residual branch, or one a convolution.
APPLICATIONS = {
    "ResNet50": (64, 16),
    "ResNet50V2": (64, 16),
    "VGG16": (64, 13),
    "DenseNet121": (64, 120),
    "InceptionV3": (139, 94),
    "InceptionResNetV2": (80, 40),
    "Xception": (75, 12),
    "MobileNet": (64, 14),
    "MobileNetV2": (64, 10),
    "MobileNetV3Small": (64, 6),
    "EfficientNetB0": (64, 9),
    "ConvNeXtTiny": (64, 18),
}
QUICK = ("MobileNetV3Small",)


@pytest.fixture(autouse=True)
def _clean():
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


def random_values(model, seed=1):
    """Weights and statistics such as trained ones, in nested models too."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.split("/")[-1]
        if "kernel" in name:
            depthwise = "depthwise" in variable.path or variable.path.count("dwconv")
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            value = random.normal(0, np.sqrt(1.5 / fan_in), shape)
        elif "variance" in name:
            value = random.uniform(0.7, 2, shape)
        elif "gamma" in name:
            value = random.uniform(0.3, 1.0, shape)
        elif name in ("beta", "bias", "moving_mean"):
            value = random.uniform(-0.3, 0.3, shape)
        else:
            continue
        variable.assign(value)
    return model


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def blocks_of(model):
    """Blocks by the path of their layer."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, SqueezeExcite):
            found[layer.name] = layer
        elif isinstance(layer, keras.Model):
            found |= {f"{layer.name}/{name}": block for name, block in blocks_of(layer).items()}
    return found


def outputs(model, x, **kwargs):
    return [np.asarray(y) for y in keras.tree.flatten(model(x, **kwargs))]


def assert_same_bits(one, other, x):
    for received, expected in zip(outputs(other, x), outputs(one, x), strict=True):
        np.testing.assert_array_equal(received, expected)


def gradients(model, blocks, x, y):
    """Of the first and the last kernel of every block."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(y, model(x, training=True), True)
        )
    kernels = [v.value for b in blocks for v in (b.reduce_kernel, b.expand_kernel)]
    found = [np.abs(gradient).max() for gradient in tape.gradient(loss, kernels)]
    return found[::2], found[1::2]


def train(model, x, y, steps):
    if not model.compiled:
        model.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    model.fit(x, y, batch_size=len(x), epochs=steps, verbose=0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.networks) for n in APPLICATIONS],
)
def test_networks_of_keras_applications(name, tmp_path):
    size, count = APPLICATIONS[name]
    plain = random_values(
        getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), classes=CLASSES,
            classifier_activation=None,
        )
    )  # fmt: skip
    # Some take pixels, and normalise them.
    x = noise(4, size, size, 3) * (60 if "V3S" in name or name[0] in "EC" else 1)
    before = plain.get_weights()
    model = add_squeeze_excite(plain)

    assert_same_bits(plain, model, x)
    compiled, expected = model.predict(x, verbose=0), plain.predict(x, verbose=0)
    assert np.abs(compiled - expected).max() <= COMPILED_TOLERANCE * np.abs(expected).max()
    blocks = list(blocks_of(model).values())
    assert len(blocks) == count
    for block in blocks:
        channels = block.reduce_kernel.shape[0]
        gates = block.gates(noise(2, 3, 3, channels))
        np.testing.assert_array_equal(gates, np.full((2, channels), 0.5, "float32"))
    for old, new in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert plain.get_layer(index=-1).output.shape == (None, CLASSES)

    model.save(tmp_path / "model.keras")
    assert_same_bits(model, keras.saving.load_model(tmp_path / "model.keras"), x)

    y = np.arange(4)
    _, last = gradients(model, blocks, x, y)
    assert all(gradient > 0 for gradient in last)
    train(model, x, y, 2)
    first, _ = gradients(model, blocks, x, y)
    assert all(gradient > 0 for gradient in first)
    train(model, x, y, 18)
    for block in blocks:
        gates = np.asarray(block.gates(np.abs(noise(2, 3, 3, block.reduce_kernel.shape[0]))))
        assert np.abs(gates - 0.5).max() > 0


def nested():
    """A model within a model, called twice."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", name="conv")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    inner = keras.Model(inputs, x, name="inner")
    outer = keras.Input((16, 16, 3))
    x = layers.Concatenate()([inner(outer), inner(layers.Rescaling(2.0)(outer))])
    x = layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D()(x))
    return random_values(keras.Model(outer, x, name="outer"))


def shared():
    """A convolution called twice, a ReLU behind each call."""
    inputs = keras.Input((16, 16, 3))
    conv = layers.Conv2D(16, 3, padding="same", name="conv")
    x = layers.ReLU()(conv(layers.Conv2D(16, 1, name="first")(inputs)))
    x = layers.ReLU()(conv(x))
    return random_values(keras.Model(inputs, layers.GlobalAveragePooling2D()(x)))


def sequential():
    return random_values(
        keras.Sequential(
            [
                keras.Input((16, 16, 3)),
                layers.Conv2D(16, 3, activation="relu", name="conv"),
                layers.MaxPooling2D(),
                layers.SeparableConv2D(32, 3, name="separable"),
                layers.BatchNormalization(scale=False, name="norm"),
                layers.LeakyReLU(name="leaky"),
                layers.GlobalMaxPooling2D(),
                layers.Dense(5, name="scores"),
            ]
        )
    )


def autoencoder():
    """With a skip connection and two outputs, one of them in the middle."""
    inputs = keras.Input((16, 16, 3))
    down = layers.Conv2D(16, 3, padding="same", activation="relu", name="down")(inputs)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="bottom")(
        layers.MaxPooling2D()(down)
    )
    x = layers.Conv2DTranspose(16, 2, 2, name="up")(x)
    x = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(layers.Concatenate()([down, x]))
    return random_values(keras.Model(inputs, [x, down]))


def bounded():
    """Convolutions whose own activation is bounded."""
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(16, 3, activation="relu6", name="six")(inputs)
    x = layers.Conv2D(16, 3, activation="sigmoid", name="sigmoid")(x)
    return random_values(keras.Model(inputs, x))


def operations():
    """Bare operations in place of layers."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 1, name="first")(inputs)
    y = layers.Conv2D(16, 3, padding="same", name="branch")(keras.ops.relu(x))
    return random_values(keras.Model(inputs, keras.ops.relu(x + y)))


@pytest.mark.parametrize(
    ("build", "where", "expected"),
    [
        (nested, None, ["inner/relu_se"]),
        (nested, ["inner/norm"], ["inner/norm_se"]),
        (nested, ["conv", "relu"], ["inner/conv_se", "inner/relu_se"]),
        (nested, "relu$", ["inner/relu_se"]),
        (nested, re.compile("^inner/n"), ["inner/norm_se"]),
        (nested, lambda layer: isinstance(layer, layers.ReLU), ["inner/relu_se"]),
        (shared, None, ["first_se", "conv_se"]),
        (shared, ["conv"], ["conv_se"]),
        (sequential, None, ["conv_se", "leaky_se"]),
        (sequential, ["max_pooling2d"], ["max_pooling2d_se"]),
        (sequential, ["separable"], ["separable_se"]),
        (sequential, ["norm", "leaky"], ["norm_se", "leaky_se"]),
        (autoencoder, None, ["down_se", "bottom_se", "up_se"]),
        # Nothing before it takes the factor of two: the kernel behind it does.
        (bounded, None, ["six_se"]),
        (operations, None, ["branch_se"]),
    ],
)
def test_places(build, where, expected, tmp_path):
    keras.backend.clear_session()
    plain = build()
    model = add_squeeze_excite(plain, where)
    assert list(blocks_of(model)) == expected
    x = noise(2, 16, 16, 3)
    assert_same_bits(plain, model, x)
    assert model.name == f"se_{plain.name}"
    model.save(tmp_path / "model.keras")
    assert_same_bits(plain, keras.saving.load_model(tmp_path / "model.keras"), x)


@pytest.mark.parametrize(
    "se",
    [
        SEConfig(ratio=4),
        SEConfig(squeeze="max"),
        SEConfig(squeeze=None),
        SEConfig(gate="hard_sigmoid"),
        SEConfig(activation="tanh"),
        SEConfig(use_bias=False),
    ],
    ids=str,
)
def test_settings(se):
    plain = nested()
    model = add_squeeze_excite(plain, se=se, name="mine")
    assert model.name == "mine"
    (block,) = blocks_of(model).values()
    assert (block.ratio, block.squeeze, block.gate, block.use_bias) == (
        se.ratio, se.squeeze, se.gate, se.use_bias
    )  # fmt: skip
    assert_same_bits(plain, model, noise(2, 16, 16, 3))


def test_gradients_at_the_start_and_after_a_step():
    """A block of a single hidden unit, too: 16 channels, ratio 16."""
    model = add_squeeze_excite(nested())
    x, y = noise(4, 16, 16, 3), np.array([0, 1, 2, 0])
    blocks = list(blocks_of(model).values())
    first, last = gradients(model, blocks, x, y)
    assert max(first) == 0
    assert min(last) > 0
    train(model, x, y, 1)
    first, _ = gradients(model, blocks, x, y)
    assert min(first) > 0


def test_several_inputs_by_name():
    inputs = {name: keras.Input((16, 16, 3), name=name) for name in ("left", "right")}
    x = layers.Conv2D(16, 3)(layers.Add()(list(inputs.values())))
    plain = random_values(keras.Model(inputs, {"maps": x}))
    model = add_squeeze_excite(plain)
    given = {"left": noise(2, 16, 16, 3), "right": noise(2, 16, 16, 3, seed=1)}
    np.testing.assert_array_equal(model(given)["maps"], plain(given)["maps"])


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank):
    shape = (8,) * rank
    conv = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    inputs = keras.Input((*shape, 2))
    plain = random_values(keras.Model(inputs, conv(16, 3, activation="relu")(inputs)))
    assert_same_bits(plain, add_squeeze_excite(plain), noise(2, *shape, 2))


def test_channels_first():
    inputs = keras.Input((3, 16, 16))
    x = layers.Conv2D(32, 3, data_format="channels_first", name="conv")(inputs)
    x = layers.BatchNormalization(axis=1, name="norm")(x)
    model = add_squeeze_excite(keras.Model(inputs, layers.ReLU()(x)), ["norm"])
    (block,) = blocks_of(model).values()
    assert block.data_format == "channels_first"
    assert block.reduce_kernel.shape == (32, 2)


def test_frozen_model_and_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    plain = sequential()
    keras.config.set_dtype_policy("float32")
    plain.trainable = False
    model = add_squeeze_excite(plain)
    blocks = list(blocks_of(model).values())
    assert all(block.compute_dtype == "bfloat16" for block in blocks)
    trainable = {id(v) for v in model.trainable_variables}
    assert trainable == {id(v) for block in blocks for v in block.trainable_variables}
    assert_same_bits(plain, model, noise(2, 16, 16, 3))


def test_compiled_model_stays_compiled_and_the_copy_is_not():
    plain = sequential()
    plain.compile("sgd", "mse")
    model = add_squeeze_excite(plain)
    assert plain.compiled
    assert not model.compiled


def test_normalisation_without_a_scale_is_given_one():
    plain = sequential()
    model = add_squeeze_excite(plain, ["norm"])
    assert plain.get_layer("norm").gamma is None
    np.testing.assert_array_equal(model.get_layer("norm").gamma, np.full(32, 2, "float32"))


def test_factor_never_goes_through_a_relu6():
    """Behind it, it goes into the kernel of what follows."""
    plain = random_values(
        keras.applications.MobileNet(
            weights=None, alpha=0.5, input_shape=(32, 32, 3), classes=CLASSES
        )
    )
    model = add_squeeze_excite(plain, ["conv_pw_1_relu"])
    for name, factor in (("conv_pw_1_bn", 1), ("conv_dw_2", 2)):
        for old, new in zip(
            plain.get_layer(name).weights, model.get_layer(name).weights, strict=True
        ):
            np.testing.assert_array_equal(new, factor * old)
    assert_same_bits(plain, model, noise(2, 32, 32, 3))
    features = keras.Model(plain.input, plain.get_layer("conv_pw_13_relu").output)
    with pytest.raises(ValueError, match=r"Received: layer 'conv_pw_13_relu'"):
        add_squeeze_excite(features, ["conv_pw_13_relu"])


class Subclassed(keras.Model):
    def call(self, x):
        return x


def unknown_channels():
    inputs = keras.Input((8, 8, None))
    return keras.Model(inputs, layers.ReLU(name="relu")(inputs))


@pytest.mark.parametrize(
    ("build", "options", "words"),
    [
        (Subclassed, {}, "`model` must be a functional"),
        (keras.Sequential, {}, "`model` must be a functional"),
        (
            nested,
            {"where": ["cnov"]},
            r"`where` must be one of: .*Did you mean 'conv'|'inner/conv'",
        ),
        (nested, {"where": "cnov"}, r"`where` must match .* Received: where='cnov'"),
        (nested, {"where": "("}, r"`where` must be a regular expression. Received: where='\('"),
        (nested, {"where": []}, "`where` must name a layer"),
        (nested, {"where": 5}, "`where` must be one of: .* Received: where=5"),
        (nested, {"where": lambda layer: False}, "`where` must be true of a layer"),
        (nested, {"where": ["scores"]}, r"feature maps of rank 3, 4 or 5. Received: .*'scores'"),
        (bounded, {"where": ["sigmoid"]}, "Received: layer 'sigmoid'"),
        (unknown_channels, {"where": ["relu"]}, "known number of channels. Received: layer 'relu'"),
        (unknown_channels, {}, "`model` must have a convolution"),
        (
            nested,
            {"se": SEConfig(ratio=17)},
            "`ratio` must be at most .* 16, of layer 'inner/relu'",
        ),
        (nested, {"se": SEConfig(gate="tanh")}, "`gate` must be one of"),
        (nested, {"se": SEConfig(placement="pre")}, "`se` must have placement='standard'"),
        (nested, {"se": SEConfig(stages=(2,))}, "`se` must have .* stages=None"),
        (nested, {"se": None}, "`se` must be a `keras_se.SEConfig`. Received: se=None"),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value)[:40],
)
def test_bad_input(build, options, words):
    model = build()
    before = [np.array(v) for v in model.weights]
    with pytest.raises(ValueError, match=words) as error:
        add_squeeze_excite(model, **options)
    assert "\n" not in str(error.value)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_networks_of_this_package_without_se():
    plain = keras_se.SEResNet20(weights=None, se=None)
    random_values(plain)
    model = add_squeeze_excite(plain)
    assert len(blocks_of(model)) == 9
    x = 100 + 50 * noise(2, 32, 32, 3)
    assert_same_bits(plain, model, x)
