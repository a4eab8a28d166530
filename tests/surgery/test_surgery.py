"""`add_squeeze_excite`: the function stays, the user's model stays, the new blocks learn.

This file is also the program that the tests of the other backends start.
"""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import user_networks
from every_network import APPLICATIONS
from keras import layers, ops
from mistakes import one_line
from processes import environment
from reference import trained_like
from user_networks import (
    CASES,
    classifier,
    conv,
    conv_bn_relu,
    evaluate,
    leaves,
    pictures,
    random_values,
    state,
)

import keras_se
from keras_se import SEConfig, SqueezeExcite, add_squeeze_excite
from keras_se.surgery.insertion import start_neutral

# Of outputs of the order of one: a compiler orders the float32 sums of some hundred layers anew.
COMPILED_TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _clean_session():
    """Names that Keras gives start at nought; so do random initial values."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


def blocks(model):
    return [layer for layer in leaves(model) if isinstance(layer, SqueezeExcite)]


def assert_same_bits(received, expected):
    for y, z in zip(received, expected, strict=True):
        assert y.dtype == z.dtype
        np.testing.assert_array_equal(y, z)


def gates(block):
    """Of any input."""
    ((axis, channels),) = block.input_spec.axes.items()
    shape = [2] + [3] * (block.input_spec.ndim - 1)
    shape[axis] = channels
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    return ops.convert_to_numpy(block.gates(x))


def operated(model, *arguments, **settings):
    """`add_squeeze_excite` of them, checked for what holds of every call."""
    x = pictures(model)
    model.compile("sgd", "mse")
    expected, before = evaluate(model, x), state(model)
    assert all(np.isfinite(y).all() and np.ptp(y) > 0 for y in expected)
    copy = add_squeeze_excite(model, *arguments, **settings)
    assert state(model) == before
    assert_same_bits(evaluate(copy, x), expected)
    assert not {id(v) for v in model.variables} & {id(v) for v in copy.variables}
    assert not copy.compiled
    assert [x.shape for x in copy.inputs] == [x.shape for x in model.inputs]
    assert blocks(copy)
    for block in blocks(copy):
        np.testing.assert_array_equal(gates(block), 0.5)
    return copy


class Signs(keras.optimizers.SGD):
    """Steps of the same size however small a gradient is, but for that of zero."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(ops.sign(gradient), variable, learning_rate)


def assert_learns(model, x, epochs=1, rate=2e-3, **compilation):
    """A gradient reaches the last kernels at step 0, the first ones at step 2; gates move."""
    random = np.random.default_rng(2)
    y = [random.normal(0, 1, output.shape) for output in evaluate(model, x)]
    y = y[0] if len(y) == 1 else keras.tree.pack_sequence_as(model.output, y)
    loss = keras.tree.map_structure(lambda _: "mse", y)
    model.compile(Signs(rate), loss, **compilation)
    for step in range(3):
        before = [ops.convert_to_numpy(block.reduce_kernel).copy() for block in blocks(model)]
        model.fit(x, y, batch_size=4, epochs=epochs if step == 2 else 1, verbose=0)
        for block, kernel in zip(blocks(model), before, strict=True):
            assert np.any(ops.convert_to_numpy(block.expand_kernel)), block.name
            moved = not np.array_equal(ops.convert_to_numpy(block.reduce_kernel), kernel)
            # At step 0 the last kernel is zero.
            assert moved == (step > 0), block.name
    for block in blocks(model):
        assert np.isfinite(gates(block)).all()
        assert np.abs(gates(block) - 0.5).max() > 1e-4, block.name


@pytest.mark.parametrize("name", CASES)
def test_same_bits(name):
    build, where, names = CASES[name]
    copy = operated(build(), where)
    assert [block.name for block in blocks(copy)] == names


@pytest.mark.parametrize(
    "build",
    [
        user_networks.sequential,
        user_networks.autoencoder,
        user_networks.shared_model,
        user_networks.own_gates,
    ],
)
def test_saved(build, tmp_path):
    model = build()
    copy = add_squeeze_excite(model)
    copy.save(tmp_path / "copy.keras")
    loaded = keras.models.load_model(tmp_path / "copy.keras")
    assert len(blocks(loaded)) == len(blocks(copy))
    x = pictures(model)
    assert_same_bits(evaluate(loaded, x), evaluate(model, x))


# Settings, with the hidden units of 16 channels: pairs, and one and three.
SETTINGS = [
    SEConfig(8),
    SEConfig(8, squeeze="max", use_bias=False),
    SEConfig(8, squeeze=None, activation="tanh"),
    SEConfig(8, gate="hard_sigmoid"),
    SEConfig(16),
    SEConfig(5, use_bias=False),
]


@pytest.mark.parametrize("se", SETTINGS)
def test_settings(se):
    copy = operated(user_networks.residual(), se=se)
    (block,) = blocks(copy)
    for field in ("ratio", "squeeze", "gate", "use_bias"):
        assert getattr(block, field) == getattr(se, field)
    assert block.activation is keras.activations.get(se.activation)
    assert_learns(copy, pictures(copy), run_eagerly=True)


@pytest.mark.parametrize("build", [user_networks.nested, user_networks.shared_model])
def test_learns(build):
    copy = add_squeeze_excite(build(), se=SEConfig(8))
    assert_learns(copy, pictures(copy), run_eagerly=True)


def test_another_time():
    copy = operated(operated(user_networks.chain(), name="once"), name="twice")
    assert copy.name == "twice"
    names = [block.name for block in blocks(copy)]
    assert names == ["a_relu_se2", "a_relu_se", "b_relu_se2", "b_relu_se"]


WHERE = {
    "list": (["c_bn", "b_conv"], ["b_conv", "c_bn"]),
    "tuple of a nested name": (("middle/b_bn",), ["b_bn"]),
    "deeper": (["middle/small/a_relu"], ["a_relu"]),
    "name in two networks": (["a_relu"], ["a_relu", "a_relu"]),
    "names once each": (["b_bn", "middle/b_bn"], ["b_bn"]),
    "regular expression": ("^middle/.*bn$", ["a_bn", "b_bn"]),
    "compiled": (re.compile("C_CONV", re.IGNORECASE), ["c_conv"]),
    "function": (
        lambda layer: isinstance(layer, layers.Conv2D),
        ["a_conv"] * 2 + ["b_conv", "c_conv"],
    ),
    "network": (["middle"], ["middle"]),
}


@pytest.mark.parametrize("name", WHERE)
def test_where(name):
    where, places = WHERE[name]
    copy = operated(user_networks.nested(), where)
    assert [block.name for block in blocks(copy)] == [f"{place}_se" for place in places]


def test_names():
    """`se_` and the model's; a block's is free, also where an input has the nearest one."""
    inputs = layers.Input((8, 8, 3), name="a_se")
    x = layers.ReLU(name="a_se2")(conv(inputs, "a"))
    model = keras.Model(inputs, x, name="mine")
    copy = add_squeeze_excite(model, ["a"])
    assert copy.name == "se_mine"
    assert [layer.name for layer in copy.layers] == ["a_se", "a", "a_se3", "a_se2"]
    assert copy.input.name == model.input.name


def factor(copy, model, layer, variable="kernel"):
    """The one by which the copy's values are multiplied."""
    new, old = (
        ops.convert_to_numpy(getattr(network.get_layer(layer), variable))
        for network in (copy, model)
    )
    ratios = np.unique(new[old != 0] / old[old != 0])
    assert len(ratios) == 1
    return ratios[0]


def test_factors():
    """Of two for each block; never through a ReLU6."""
    model = user_networks.relu6()
    copy = add_squeeze_excite(model, ["a", "a6", "b", "b6", "c"])
    assert factor(copy, model, "a") == factor(copy, model, "a", "bias") == 2
    # Of its own block, and for that before it, which bias does not see.
    assert factor(copy, model, "b") == 4
    assert factor(copy, model, "b", "bias") == 2
    assert factor(copy, model, "b_bn", "gamma") == factor(copy, model, "b_bn", "beta") == 1
    assert factor(copy, model, "c", "depthwise_kernel") == 2
    assert factor(copy, model, "c", "pointwise_kernel") == factor(copy, model, "c", "bias") == 2
    model = user_networks.concatenation()
    copy = add_squeeze_excite(model, ["a", "both", "pool", "b_bn"])
    assert factor(copy, model, "a") == factor(copy, model, "b_bn", "gamma") == 8
    assert factor(copy, model, "b") == 1
    model = user_networks.pooled_twice(False)
    assert factor(add_squeeze_excite(model, ["pool"]), model, "a") == 4


@pytest.mark.parametrize("center", [True, False])
def test_batch_norm_without_a_scale(center):
    model = user_networks.chain(scale=False, center=center)
    copy = operated(model, ["b_bn"])
    assert copy.get_layer("a_bn").gamma is not None
    np.testing.assert_array_equal(copy.get_layer("b_bn").gamma, 2)
    assert [v.name for v in model.get_layer("b_bn").variables if v.name == "gamma"] == []


def test_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = user_networks.operations()
    keras.config.set_dtype_policy("float32")
    copy = operated(model, ["a2", "b1", "relu"])
    for block in blocks(copy):
        assert block.compute_dtype == "bfloat16"
        assert block.reduce_kernel.dtype == "float32"


def test_other_policy_than_the_process():
    keras.config.set_dtype_policy("float64")
    model = user_networks.chain()
    keras.config.set_dtype_policy("float32")
    assert {block.compute_dtype for block in blocks(operated(model))} == {"float64"}


def test_channels_first():
    """Also in a part without a convolution, whatever the format of Flatten, which is seldom set."""
    inputs = layers.Input((16, 4, 5))
    x = layers.ReLU(name="act")(layers.BatchNormalization(1)(inputs))
    norm = keras.Model(inputs, layers.Dropout(0.1, name="drop")(x))
    inputs = layers.Input((3, 4, 5))
    x = layers.Conv2D(16, 3, padding="same", data_format="channels_first", name="a")(inputs)
    x = layers.Flatten()(norm(x))
    copy = add_squeeze_excite(keras.Model(inputs, x), ["a", "act", "drop"])
    assert [block.data_format for block in blocks(copy)] == ["channels_first"] * 3
    assert {block.reduce_kernel.shape for block in blocks(copy)} == {(16, 1)}


def trainable(model):
    return {variable.path.split("/", 1)[-1] for variable in model.trainable_variables}


@pytest.mark.parametrize("frozen", ["whole", "nested", "layers", "variable"])
def test_frozen(frozen):
    """What does not train in the model does not in the copy; the blocks do."""
    model = user_networks.nested()
    if frozen == "whole":
        model.trainable = False
    elif frozen == "nested":
        model.get_layer("middle").trainable = False
    elif frozen == "layers":
        for layer in model.layers[:4]:
            layer.trainable = False
    else:
        model.get_layer("c_conv").kernel.trainable = False
    # A network that is frozen when it is made; its layers do not know of it.
    late = keras.Model(model.input, model.output, trainable=frozen != "whole")
    expected = len(model.trainable_variables)
    assert len(late.trainable_variables) == expected
    for original in (model, late):
        copy = operated(original)
        added = [v for block in blocks(copy) for v in block.trainable_variables]
        assert len(added) == 16
        assert len(copy.trainable_variables) == expected + 16
        names = {v.path for v in added}
        trained = [v.path for v in copy.trainable_variables if v.path not in names]
        assert trained == [v.path for v in original.trainable_variables]


def test_functions():
    """A user's functions need no name that Keras knows; Lambda layers keep what they refer to."""
    threshold = 0.25

    def shifted(x):
        return ops.relu(x - threshold)

    inputs = layers.Input((8, 8, 3))
    x = layers.Activation(shifted)(conv(inputs, "a", activation=lambda x: ops.tanh(x) * threshold))
    x = layers.Lambda(lambda x: ops.relu(x) * threshold)(conv(x, "b", activation=shifted))
    x = layers.Lambda(shifted)(conv(x, "c"))
    x = layers.Lambda(lambda x: x[:, ::2] + threshold, output_shape=lambda s: (s[0], 4, *s[2:]))(x)
    copy = operated(classifier(inputs, conv(x, "d")), ["c", "d"])
    assert len(blocks(copy)) == 2


class Standardised(layers.Conv2D):
    """Its output does not depend on the scale of its kernel."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / ops.std(kernel))


class Doubled(keras.Model):
    """A functional model with a `call` of its own."""

    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.convolution = layers.Conv2D(16, 3, padding="same", name="hidden")

    def call(self, inputs):
        return self.convolution(inputs)


class Tied(layers.Layer):
    """Another layer's transpose."""

    def __init__(self, other, **options):
        super().__init__(**options)
        self.other = other

    def call(self, inputs):
        return ops.matmul(inputs, ops.transpose(self.other.kernel))

    def get_config(self):
        return {**super().get_config(), "other": self.other}


class Undescribed(layers.Layer):
    def __init__(self, other, **options):
        super().__init__(**options)
        self.other = other

    def call(self, inputs):
        return self.other(inputs)


def test_foreign_layers():
    """Those of a user's own class are copied, but take no factor of two."""
    inputs = layers.Input((8, 8, 16))
    x = Standardised(16, 3, padding="same", name="standardised")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = conv(Doubled(inputs, conv_bn_relu(inputs, "inner"))(Subclassed()(x)), "a")
    model = classifier(inputs, x)
    copy = operated(model)
    assert [block.name for block in blocks(copy)] == ["re_lu_se", "a_se"]
    assert_refused(model, {"where": ["standardised"]}, "where", "'standardised'")


@pytest.mark.parametrize("where", [None, ["a", "b"], "^a$"])
def test_layers_narrower_than_the_ratio(where):
    """The default ratio leaves them one hidden unit."""
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(8, 3, activation="relu", name="a"),
            layers.Conv2D(1, 3, activation="relu", name="b"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    random_values(model)
    copy = add_squeeze_excite(model, where)
    x = pictures(copy)
    np.testing.assert_array_equal(evaluate(copy, x), evaluate(model, x))
    widths = {block.name: tuple(block.reduce_kernel.shape) for block in blocks(copy)}
    assert widths == {"a_se": (8, 1)} | ({} if where == "^a$" else {"b_se": (1, 1)})
    copy.compile(keras.optimizers.SGD(0.1), "mse")
    before = [np.array(block.expand_kernel) for block in blocks(copy)]
    copy.fit(x, np.zeros((len(x), 4)), verbose=0)
    for block, value in zip(blocks(copy), before, strict=True):
        assert np.isfinite(block.expand_kernel).all()
        assert np.abs(block.expand_kernel - value).max() > 0


def assert_refused(model, arguments, argument, received):
    before = state(model)
    message = one_line(lambda: add_squeeze_excite(model, **arguments), argument, received)
    assert state(model) == before
    return message


# Arguments for `relu6`, the one that the message must name, and what it must show as received.
BAD_ARGUMENTS = {
    "unknown name": ({"where": ["a", "a7"]}, "where", "'a7'. Did you mean 'a'?"),
    "unknown nested name": ({"where": ["small/a"]}, "where", "'small/a'"),
    "no name": ({"where": []}, "where", "[]"),
    "number": ({"where": 3}, "where", 3),
    "layer": ({"where": layers.ReLU(name="own")}, "where", "ReLU name=own"),
    "layers": ({"where": [layers.ReLU(name="own")]}, "where", "ReLU name=own"),
    "pattern of nothing": ({"where": "^y"}, "where", "'^y'"),
    "broken pattern": ({"where": "a("}, "where", "'a('"),
    "bytes": ({"where": re.compile(b"a")}, "where", "b'a'"),
    "function of nothing": ({"where": lambda layer: False}, "where", "function"),
    "pictures' vector": ({"where": ["head"]}, "where", "'head' with (None, 3)"),
    "pattern of everything": ({"where": ""}, "where", "'global_average_pooling2d'"),
    "too high a ratio": ({"se": SEConfig(17)}, "ratio", 17),
    "too high a ratio of a layer": ({"se": SEConfig(17), "where": ["a"]}, "ratio", 17),
    "gate": ({"se": SEConfig(gate="tanh")}, "gate", "'tanh'"),
    "placement": ({"se": SEConfig(placement="pre")}, "placement", "'pre'"),
    "stages": ({"se": SEConfig(stages=(2,))}, "stages", "(2,)"),
    "no settings": ({"se": None}, "se", None),
    "settings in words": ({"se": "default"}, "se", "default"),
    "number as name": ({"name": 3}, "name", 3),
    "slash in the name": ({"name": "a/b"}, "name", "a/b"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_argument(name):
    assert_refused(user_networks.relu6(), *BAD_ARGUMENTS[name])


def test_bad_settings():
    for gate in ("tanh", "relu"):
        message = assert_refused(user_networks.chain(), {"se": SEConfig(gate=gate)}, "gate", gate)
        assert "'sigmoid', 'hard_sigmoid'" in message


def built(model):
    model(np.zeros((1, 8, 8, 16), "float32"))
    return model


def model_of(*parts):
    inputs = x = layers.Input((8, 8, 16))
    for part in parts:
        x = part(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def constant_added(x):
    return layers.ReLU(name="sum")(layers.Add()([conv(x, "a"), np.ones((1, 8, 8, 16), "float32")]))


def used_twice(x):
    shared = layers.Conv2D(16, 1)
    return shared(ops.tanh(layers.ReLU(name="r")(shared(x))))


def tied(x):
    dense = layers.Dense(16)
    return Tied(dense)(dense(conv(x, "a")))


# With `where`, the argument that the message must name, and what it must show as received.
BAD_MODELS = {
    "subclassed": (lambda: built(Subclassed()), None, "model", "Subclassed"),
    "unbuilt": (lambda: keras.Sequential([layers.Conv2D(16, 3)]), None, "model", "Sequential"),
    "a call of its own": (
        lambda: Doubled(*(lambda m: (m.input, m.output))(user_networks.chain())),
        None, "model", "Doubled",
    ),
    "no model": (lambda: "resnet", None, "model", "str"),
    "no network": (lambda: None, None, "model", "NoneType"),
    "layer": (lambda: layers.Conv2D(16, 3), None, "model", "Conv2D"),
    "no convolution": (lambda: model_of(layers.Dense(16)), None, "model", "'functional'"),
    "unknown channels": (
        lambda: keras.Model(x := layers.Input((8, 8, None)), layers.ReLU(name="act")(x)),
        ["act"], "where", "'act' with (None, 8, 8, None)",
    ),
    "integers": (
        lambda: model_of(lambda x: ops.cast(x, "int32"), lambda x: ops.cast(x, "float32")),
        "^cast$", "where", "'cast' with (None, 8, 8, 16) of int32",
    ),
    "two outputs": (
        lambda: model_of(lambda x: ops.split(conv(x, "a"), 2, -1)[0]), "split", "where", "'split'",
    ),
    "nothing beside it": (
        lambda: model_of(lambda x: layers.Activation("swish", name="act")(conv(x, "a"))),
        ["act"], "where", "'act'",
    ),
    "an array added": (lambda: model_of(constant_added), ["sum"], "where", "'sum'"),
    "shared with another use": (
        lambda: model_of(used_twice), ["r"], "where", "'r'",
    ),
    "within a wrapper": (
        lambda: keras.Model(
            x := layers.Input((5, 8, 8, 16)), layers.TimeDistributed(user_networks.small())(x)
        ),
        None, "model", "'functional'",
    ),
    "no configuration": (
        lambda: model_of(lambda x: Undescribed(layers.Dense(3))(conv(x, "a"))),
        None, "model", "'undescribed' of type Undescribed",
    ),
    "tied weights": (lambda: model_of(tied), None, "model", "'tied' of type Tied"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_model(name):
    build, where, argument, received = BAD_MODELS[name]
    model = build()
    if isinstance(model, keras.Model):
        assert_refused(model, {"where": where}, argument, received)
    else:
        one_line(lambda: add_squeeze_excite(model, where), argument, received)


@pytest.mark.parametrize("placement", ["standard", "pre", "conv3x3"])
def test_start_neutral(placement):
    """A network with new blocks and the weights of its plain twin computes what that does."""
    options = {"weights": None, "input_shape": (32, 32, 3), "classes": 5}
    plain = trained_like(keras_se.SEResNet18(se=None, **options), seed=1)
    model = keras_se.SEResNet18(se=SEConfig(placement=placement), **options)
    for layer in plain.layers[1:]:
        model.get_layer(layer.name).set_weights(layer.get_weights())
    x = pictures(model, scale=50)
    assert not np.array_equal(*evaluate(model, x), *evaluate(plain, x))
    start_neutral(model, {block.name for block in blocks(model)})
    assert len(blocks(model)) == 8
    assert_same_bits(evaluate(model, x), evaluate(plain, x))
    doubled = "stage5_block2_bn1" if placement == "conv3x3" else "stage5_block2_bn2"
    if placement != "pre":
        assert factor(model, plain, doubled, "gamma") == 2


def test_start_neutral_without_weights_beside():
    options = {"weights": None, "input_shape": (32, 32, 3), "classes": 5}
    model = keras_se.SEResNet20(se=SEConfig(placement="post"), **options)
    names = {block.name for block in blocks(model)}
    before = state(model)
    one_line(lambda: start_neutral(model, names), "model", "'stage2_block1_se'")
    assert state(model) == before


def test_small_application():
    """Of `keras.applications`: behind every branch, and behind every ReLU6 before a convolution."""
    model = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=7)
    random_values(model)
    copy = operated(model, se=SEConfig(8))
    assert [block.name for block in blocks(copy)] == [
        f"block_{number}_project_BN_se" for number in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    ]
    copy = operated(model, "expand_relu$|depthwise_relu$", SEConfig(8))
    assert len(blocks(copy)) == 33


@pytest.mark.networks
@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(name, tmp_path):
    size, scale, count = APPLICATIONS[name]
    shape = (size, size, 3)
    model = getattr(keras.applications, name)(weights=None, input_shape=shape, classes=7)
    x = pictures(random_values(model), scale=scale)
    with_moderate_logits(model, x)
    expected = evaluate(model, x)
    assert np.ptp(expected[0], axis=0).max() > 0.01, "all pictures look alike"

    copy = operated(model)
    assert len(blocks(copy)) == count
    assert_same_bits(evaluate(copy, x), expected)
    compiled = [network.predict(x, verbose=0) for network in (copy, model)]
    np.testing.assert_allclose(*compiled, rtol=0, atol=COMPILED_TOLERANCE)

    copy.save(tmp_path / "copy.keras")
    assert_same_bits(evaluate(keras.models.load_model(tmp_path / "copy.keras"), x), expected)
    # Longer steps would saturate VGG16's softmax.
    assert_learns(copy, x, epochs=18, rate=2e-4, jit_compile=False)


def with_moderate_logits(model, x):
    """Scale the classifier so that no probability is nought or one, with which gradients end."""
    last = [layer for layer in model.layers if hasattr(layer, "kernel")][-1]
    features = keras.Model(model.input, last.input)(x)
    rms = float(np.sqrt(np.mean(np.square(features))))
    assert np.isfinite(rms)
    last.kernel.assign(last.kernel / rms)


def on_another_backend():
    """Bits, channels first, a save and a step of training, in a process of another backend."""
    keras.config.set_image_data_format("channels_first")
    copy = operated(user_networks.residual((3, 8, 8)))
    assert [block.data_format for block in blocks(copy)] == ["channels_first"]
    copy.save("copy.keras")
    x = pictures(copy)
    assert_same_bits(evaluate(keras.models.load_model("copy.keras"), x), evaluate(copy, x))
    assert_learns(copy, x)
    keras.config.set_image_data_format("channels_last")
    for name in ("nested", "shared model", "before and behind", "normalisations"):
        build, where, names = CASES[name]
        assert [block.name for block in blocks(operated(build(), where))] == names


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(backend, tmp_path):
    process = subprocess.run(
        [sys.executable, __file__],
        env=environment(backend),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-4000:]


if __name__ == "__main__":
    on_another_backend()
