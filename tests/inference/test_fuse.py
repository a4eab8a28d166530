"""`fuse`: the same function with fewer operations, and the user's model as it was.

This file is also the program that the tests of the other backends start.
"""

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import user_networks
from every_network import APPLICATIONS, NAMES, VARIANTS, smallest
from keras import layers, ops
from mistakes import one_line
from processes import environment
from quick_cases import marked
from reference import noise_pictures, trained_like
from user_networks import classifier, conv, conv_bn_relu, leaves, pictures, random_values, state

import keras_se
from keras_se import SEConfig, SqueezeExcite, add_squeeze_excite, fuse
from keras_se.graph.facts import FACTS
from keras_se.inference.fusion import REWRITES
from keras_se.layers import MultiplyAdd, ScaleOffset, ShakeShake, StochasticDepth

# Of the largest activation: float32 has 6e-8, and random networks of some hundred layers amplify
# the rounding of another order of operations up to 2e-5.
TOLERANCE = 1e-4
# One block or layer: a few roundings.
ROUNDING = {"float32": 2e-6, "float64": 1e-14}
# Of float16's 5e-4 and bfloat16's 4e-3, added up over some layers.
HALF_TOLERANCE = {"mixed_float16": 0.02, "mixed_bfloat16": 0.1}

TRAINING_ONLY = {name for name, facts in FACTS.items() if facts.training_only}

SHORT = {"blocks": (1, 2), "widths": (32, 64)}
UNIT = {"blocks": (1,), "widths": (32,)}
QUICK = {"SEResNet20"}
# Where a BatchNorm follows a sum or a concatenation that others take too.
PREACTIVATED = ("SEPreResNet", "SEWRN", "SEDenseNet")


@pytest.fixture(autouse=True)
def _settings():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


def evaluate(model, x):
    # Not just `model(x)`: some layers of Keras then put those behind them into training.
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(x, training=False))]


def deviation(received, expected):
    """The largest difference, of the largest value, of the outputs one by one."""
    found = []
    for y, z in zip(received, expected, strict=True):
        assert y.dtype == z.dtype
        assert y.shape == z.shape
        assert np.isfinite(z).all()
        assert np.ptp(z) > 0
        y, z = y.astype("float64"), z.astype("float64")
        found.append(np.abs(y - z).max() / np.abs(z).max())
    return max(found)


def count(model, kind):
    return sum(isinstance(layer, kind) for layer in leaves(model))


def names(model, kind):
    return [layer.name for layer in leaves(model) if isinstance(layer, kind)]


def fused(model, *arguments, x=None, tolerance=TOLERANCE):
    """`fuse` of them, checked for what holds of every call."""
    x = pictures(model) if x is None else x
    model.compile("sgd", "mse")
    expected, before = evaluate(model, x), state(model)
    new = fuse(model, *arguments)
    assert state(model) == before
    assert deviation(evaluate(new, x), expected) < tolerance
    assert not {id(v) for v in model.variables} & {id(v) for v in new.variables}
    assert not new.compiled
    assert new.name == model.name
    for ends in ("inputs", "outputs"):
        old, now = getattr(model, ends), getattr(new, ends)
        assert [(x.shape, x.dtype) for x in old] == [(x.shape, x.dtype) for x in now]
    assert [x.name for x in model.inputs] == [x.name for x in new.inputs]
    return new


def network(name, **options):
    options = {"variant": VARIANTS.get(name), **options}
    return trained_like(getattr(keras_se, name)(weights=None, **options), seed=1)


@pytest.mark.parametrize("name", marked(NAMES, QUICK))
def test_network(name):
    """At three sizes, one of them odd, one odd in one direction."""
    model = network(name, input_shape=(None, None, 3), classes=7, classifier_activation=None)
    low = max(smallest(name), 16)
    new = fuse(model)
    keras.backend.clear_session()
    for size in ((low, low), (2 * low + 1, low + 5), (low + 13, 2 * low)):
        x = noise_pictures(2, *size).astype("float32")
        assert deviation(evaluate(new, x), evaluate(model, x)) < TOLERANCE, size
    assert count(new, layers.BatchNormalization) == 0
    left = count(new, ScaleOffset) - len(names(new, layers.Normalization))
    normalisation = "normalization" in names(new, ScaleOffset)
    assert (left - normalisation > 0) == name.startswith(PREACTIVATED)
    assert len(new.fusion.left) >= left - normalisation


@pytest.mark.networks
@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_network(name):
    size, scale, _ = APPLICATIONS[name]
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=7, classifier_activation=None
    )
    random_values(model)
    new = fused(model, x=pictures(model, scale=scale))
    assert count(new, layers.BatchNormalization) == 0
    with_blocks = add_squeeze_excite(model)
    fused(with_blocks, x=pictures(model, scale=scale))


@pytest.mark.parametrize(
    "build",
    dict.fromkeys(case[0] for case in user_networks.CASES.values()),
    ids=lambda b: b.__name__,
)
def test_any_model(build, tmp_path):
    """Nested, shared, recurrent ...: the same function, saved too; nothing is left of BatchNorm."""
    model = random_values(build())
    new = fused(model)
    assert count(new, layers.BatchNormalization) == 0
    new.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = pictures(model)
    for y, z in zip(evaluate(loaded, x), evaluate(new, x), strict=True):
        np.testing.assert_array_equal(y, z)


def block(se, before="pointwise", rank=4, channels=8, filters=32, options=None):
    """A residual unit: a linear layer, BatchNorm, a block, the sum and ReLU."""
    convolution = {3: layers.Conv1D, 4: layers.Conv2D, 5: layers.Conv3D}[rank]
    first = keras.config.image_data_format() == "channels_first"
    shape = [5, 7, 6][: rank - 2]
    inputs = layers.Input((channels, *shape) if first else (*shape, channels))
    options = options or {}
    linear = {
        "pointwise": lambda: convolution(filters, 1, name="conv", **options),
        "3x3": lambda: convolution(filters, 3, padding="same", name="conv"),
        "strided": lambda: convolution(filters, 1, strides=2, name="conv"),
        "activated": lambda: convolution(filters, 1, activation="relu", name="conv"),
        "dense": lambda: layers.Dense(filters, name="conv"),
    }[before]
    x = linear()(inputs)
    shortcut = convolution(filters, 1, strides=2 if before == "strided" else 1)(inputs)
    if before != "activated":
        x = layers.BatchNormalization(1 if first else -1, name="bn")(x)
    x = SqueezeExcite(
        se.ratio, squeeze=se.squeeze, gate=se.gate, activation=se.activation, use_bias=se.use_bias,
        name="se",
    )(x)  # fmt: skip
    x = layers.ReLU(name="relu")(layers.Add(name="add")([x, shortcut]))
    return random_values(keras.Model(inputs, x))


BLOCKS = {
    "paper": ({}, {}),
    "max": ({"squeeze": "max"}, {}),
    "none": ({"squeeze": None}, {}),
    "without biases": ({"use_bias": False}, {}),
    "without any bias": ({"use_bias": False}, {"options": {"use_bias": False}}),
    "tanh": ({"gate": "tanh"}, {}),
    "relu": ({"gate": "relu"}, {}),
    "hard sigmoid": ({"gate": "hard_sigmoid"}, {}),
    "activation": ({"activation": "elu"}, {}),
    "1-D": ({}, {"rank": 3}),
    "3-D": ({}, {"rank": 5}),
    "groups": ({}, {"options": {"groups": 4}}),
    "dense": ({}, {"before": "dense"}),
    "3x3": ({}, {"before": "3x3"}),
    "strided": ({}, {"before": "strided"}),
    "activated": ({}, {"before": "activated"}),
    "not wider": ({}, {"channels": 32}),
}
NOT_MOVED = {"max", "none", "3x3", "strided", "activated", "not wider"}


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", BLOCKS)
def test_squeeze(name, dtype):
    """Exact to the rounding; where it cannot be moved the block is as it was."""
    se, options = BLOCKS[name]
    keras.config.set_dtype_policy(dtype)
    model = block(SEConfig(4, **se), **options)
    new = fused(model, ["fold", "squeeze"], tolerance=ROUNDING[dtype])
    moved = name not in NOT_MOVED
    assert new.fusion.done["squeeze"] == (("se",) if moved else ())
    assert names(new, SqueezeExcite) == ([] if moved else ["se"])
    assert ("se" in new.fusion.left) != moved
    if moved:
        assert tuple(new.get_layer("se_reduce").kernel.shape) == (8, 8)
        assert new.get_layer("se_squeeze").input is new.input
    whole = fused(model, tolerance=ROUNDING[dtype])
    assert names(whole, MultiplyAdd) == ([] if name in {"max", "none"} else ["relu"])


def test_squeeze_channels_first():
    keras.config.set_image_data_format("channels_first")
    try:
        new = fused(block(SEConfig(4)), tolerance=ROUNDING["float32"])
    finally:
        keras.config.set_image_data_format("channels_last")
    assert new.fusion.done["squeeze"] == ("se",)
    assert names(new, MultiplyAdd) == ["relu"]


@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "conv3x3"])
def test_placement(placement):
    model = network(
        "SEResNet50", se=SEConfig(placement=placement), variant=SHORT, input_shape=(33, 47, 3),
        classifier_activation=None,
    )  # fmt: skip
    new = fused(model)
    moved = {"standard": 3, "identity": 1}  # The projection of the first unit has no stride.
    assert len(new.fusion.done["squeeze"]) == moved.get(placement, 0)
    assert count(new, MultiplyAdd) == {"standard": 3, "identity": 3}.get(placement, 0)


@pytest.mark.parametrize("same", [True, False])
def test_shared_block(same):
    """One block behind one convolution called twice, or behind two of them."""
    inputs = [layers.Input((5, 7, 8)) for _ in range(2)]
    convs = [layers.Conv2D(32, 1) for _ in range(2)]
    se = SqueezeExcite(4, name="se")
    outputs = [se(convs[0 if same else n](x)) for n, x in enumerate(inputs)]
    new = fused(random_values(keras.Model(inputs, outputs)))
    assert bool(new.fusion.done["squeeze"]) == same


def kinds():
    """Linear layers of every kind, on feature maps of 8 channels."""
    for rank, n in ((3, 1), (4, 2), (5, 3)):
        convolution = getattr(layers, f"Conv{n}D")
        yield rank, lambda c=convolution: c(12, 3, padding="same", use_bias=False)
        yield rank, lambda c=convolution: c(12, 2, strides=2)
        yield rank, lambda c=convolution: c(12, 3, groups=4, padding="same", dilation_rate=1)
        yield rank, lambda n=n: getattr(layers, f"Conv{n}DTranspose")(12, 3, strides=2)
        if n < 3:
            yield rank, lambda n=n: getattr(layers, f"DepthwiseConv{n}D")(3, depth_multiplier=2)
            yield rank, lambda n=n: getattr(layers, f"SeparableConv{n}D")(12, 3, padding="same")
        yield rank, lambda: layers.Dense(12)
    yield 2, lambda: layers.Dense(12, use_bias=False)
    yield 4, lambda: keras_se.layers.GroupedConv2D(12, 3, padding="same", groups=4)
    yield 4, lambda: layers.Conv2D(12, (1, 3), dilation_rate=2, kernel_regularizer="l2")


@pytest.mark.parametrize(
    ("number", "affine"),
    [
        *((number, {}) for number in range(len(list(kinds())))),
        (0, {"scale": False}),
        (0, {"center": False}),
        (0, {"center": False, "scale": False}),
    ],
)
def test_batch_norm_behind(number, affine):
    rank, make = list(kinds())[number]
    inputs = layers.Input((*[9] * (rank - 2), 8))
    x = layers.BatchNormalization(name="bn", **affine)(make()(inputs))
    new = fused(random_values(keras.Model(inputs, x)), tolerance=ROUNDING["float32"])
    assert [type(layer).__name__ for layer in new.layers][2:] == []
    assert new.fusion.done["fold"] == ("bn",)


@pytest.mark.parametrize("number", range(len(list(kinds()))))
def test_batch_norm_before(number):
    """Exact without padding only; a transposed convolution's borders see less of the offset."""
    rank, make = list(kinds())[number]
    inputs = layers.Input((*[9] * (rank - 2), 8))
    layer = make()
    x = layer(layers.BatchNormalization(name="bn")(inputs))
    new = fused(random_values(keras.Model(inputs, x)), tolerance=ROUNDING["float32"])
    kind = type(layer).__name__
    padded = getattr(layer, "padding", "valid") == "same"
    exact = not padded and not kind.endswith("Transpose") and not kind.startswith("Separable")
    assert (len(new.layers) == 2) == exact
    assert ("bn" in new.fusion.left) != exact


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_normalisation_before(padding):
    """Of pictures: where zeros are padded behind it, it is one multiplication and addition."""
    inputs = layers.Input((9, 9, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x)
    x = layers.Conv2D(8, 3, padding=padding)(x)
    model = random_values(keras.Model(inputs, x))
    x = noise_pictures(4, 9, 9).astype("float32")
    new = fused(model, x=x, tolerance=1e-5)  # Pixels of 255 where there were numbers of one.
    assert count(new, ScaleOffset) == (padding == "same")
    assert len(new.layers) == 2 + (padding == "same")


def behind(use):
    """A convolution's output; BatchNorm is one of those who take it."""
    inputs = layers.Input((8, 8, 3))
    x = conv(inputs, "conv")
    return keras.Model(inputs, use(x, layers.BatchNormalization(name="bn")(x), inputs))


def two_norms():
    """A convolution with two calls, a BatchNorm behind each."""
    inputs = [layers.Input((8, 8, 3)) for _ in range(2)]
    shared = layers.Conv2D(8, 3, name="conv")
    return keras.Model(
        inputs, [layers.BatchNormalization(name=f"bn{n}")(shared(x)) for n, x in enumerate(inputs)]
    )


def one_without():
    """A convolution with two calls, a BatchNorm behind one."""
    inputs = [layers.Input((8, 8, 3)) for _ in range(2)]
    shared = layers.Conv2D(8, 3, name="conv")
    a, b = map(shared, inputs)
    return keras.Model(inputs, [layers.BatchNormalization(name="bn")(a), b])


def shared_norm():
    """A BatchNorm behind two convolutions and, third, behind none."""
    inputs = layers.Input((8, 8, 3))
    bn = layers.BatchNormalization(name="bn")
    a, b = conv(inputs, "a"), conv(inputs, "b")
    x = layers.Add()([bn(a), bn(b)])
    return keras.Model(inputs, bn(layers.ReLU()(x)))


def shared_pair():
    """A convolution and its BatchNorm, called twice."""
    inputs = [layers.Input((8, 8, 3)) for _ in range(2)]
    shared, bn = layers.Conv2D(8, 3), layers.BatchNormalization(name="bn")
    return keras.Model(inputs, [bn(shared(x)) for x in inputs])


def two_readers():
    """A BatchNorm that two layers take, one of which could take it in."""
    inputs = layers.Input((8, 8, 3))
    x = layers.BatchNormalization(name="bn")(inputs)
    return keras.Model(inputs, [layers.Conv2D(8, 3)(x), layers.Conv2D(8, 3, padding="same")(x)])


def twice_the_same():
    """A concatenation of a tensor with itself."""
    inputs = layers.Input((8, 8, 3))
    x = conv(inputs, "conv")
    return keras.Model(inputs, layers.BatchNormalization(name="bn")(layers.Concatenate()([x, x])))


def wrong_axis():
    inputs = layers.Input((8, 8, 3))
    return keras.Model(inputs, layers.BatchNormalization(1, name="bn")(conv(inputs, "conv")))


SHARED = {
    "output used elsewhere": (lambda: behind(lambda x, y, _: layers.Add()([x, y])), 1),
    "output of the model": (lambda: behind(lambda x, y, _: [x, y]), 1),
    "two norms": (two_norms, 2),
    "one call without": (one_without, 1),
    "shared norm": (shared_norm, 1),
    "shared pair": (shared_pair, 0),
    "two readers": (two_readers, 1),
    "concatenated with itself": (twice_the_same, 1),
    "wrong axis": (wrong_axis, 1),
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_layers(name):
    build, left = SHARED[name]
    new = fused(random_values(build()), tolerance=1e-5)
    assert count(new, ScaleOffset) == left
    assert len(new.fusion.left) == left


def test_concatenation():
    """Every branch takes its share."""
    model = random_values(user_networks.concatenation())
    (both,) = (layer for layer in model.layers if layer.name == "both")
    x = layers.BatchNormalization(name="last_bn")(both.output)
    new = fused(random_values(keras.Model(model.input, x)), tolerance=1e-5)
    assert count(new, (ScaleOffset, layers.BatchNormalization)) == 0


# What their constructors need.
SETTINGS = {
    "GaussianNoise": {"stddev": 1.0},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomTranslation": {"height_factor": 0.5, "width_factor": 0.5},
    "RandomZoom": {"height_factor": 0.5},
    "RandomPosterization": {"factor": 4},
    **{name: {"rate": 0.5} for name in TRAINING_ONLY if "Dropout" in name},
    **{
        f"Random{name}": {"factor": 0.5}
        for name in ("Brightness", "Contrast", "Hue", "Rotation", "Saturation", "Sharpness")
    },
}


@pytest.mark.parametrize("name", sorted(n for n in TRAINING_ONLY if hasattr(layers, n)))
def test_training_only_does_nothing_at_inference(name):
    rank = int(name[-2]) + 2 if name.startswith("Spatial") else 4
    inputs = layers.Input([8] * (rank - 2) + [3])
    model = keras.Model(inputs, getattr(layers, name)(**SETTINGS.get(name, {}))(inputs))
    x = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    np.testing.assert_array_equal(model(x, training=False), x)
    assert len(fuse(model).layers) == 1


def regularised():
    inputs = layers.Input((8, 8, 3))
    x = layers.RandomFlip()(inputs)
    x = conv_bn_relu(layers.GaussianNoise(0.5)(x), "a")
    x = layers.SpatialDropout2D(0.5)(x)
    y = layers.Activation("linear")(layers.BatchNormalization()(layers.Dropout(0.5)(conv(x, "b"))))
    x = ShakeShake(name="shake")([x, StochasticDepth(0.5)(y)])
    x = layers.Add()([x, layers.Identity()(x)])
    return classifier(inputs, layers.Dropout(0.5, name="last")(x))


def test_training_only():
    new = fused(regularised(), tolerance=1e-5)
    kept = {type(layer).__name__ for layer in new.layers}
    assert not kept & (TRAINING_ONLY | {"ShakeShake", "BatchNormalization", "Identity"})
    assert "Average" in kept
    assert set(new.fusion.done["training_only"]) >= {"shake", "last"}


def test_monte_carlo_dropout_is_left():
    inputs = layers.Input((8, 8, 3))
    x = layers.Dropout(0.5, name="monte_carlo")(conv(inputs, "a"), training=True)
    x = layers.BatchNormalization(name="of_the_batch")(conv(x, "b"), training=True)
    inner = keras.Model(inputs, layers.Dropout(0.5)(x), name="inner")
    outer = keras.Model(inputs, layers.Dropout(0.5, name="idle")(inner(inputs, training=True)))
    new = fuse(outer)
    assert count(new, layers.Dropout) == 2
    assert new.fusion.left == {"inner": "called with training=True"}
    new = fuse(inner)
    assert new.fusion.left == dict.fromkeys(
        ("monte_carlo", "of_the_batch"), "called with training=True"
    )
    x = pictures(inner)
    assert np.ptp(np.asarray(new(x)) - np.asarray(new(x))) > 0


def own_head(dtype="float32"):
    """Transfer learning as in Keras' guide: a frozen network in a network, a head of one's own."""
    base = keras_se.SEResNet50(weights=None, include_top=False, variant=SHORT)
    base.trainable = False
    inputs = layers.Input((40, 33, 3), dtype=dtype)
    x = base(inputs, training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    x = layers.BatchNormalization(name="head_bn")(layers.Dense(16, name="stem_conv")(x))
    return random_values(keras.Model(inputs, layers.Dense(5)(layers.ReLU()(x))))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_own_head(dtype):
    """The network of the package is dissolved, its names given way to the outer ones."""
    model = own_head(dtype)
    new = fused(model, x=noise_pictures(3, 40, 33).astype(dtype))
    assert count(new, (layers.BatchNormalization, layers.Dropout)) == 0
    assert len(new.fusion.done["squeeze"]) == 3
    assert isinstance(new.get_layer("stem_conv"), layers.Dense)
    assert isinstance(new.get_layer("se_resnet50_stem_conv"), layers.Conv2D)


def test_added_blocks():
    """Blocks of `add_squeeze_excite`, trained a little."""
    model = add_squeeze_excite(user_networks.residual(), se=SEConfig(4))
    new = fused(random_values(model))
    assert len(names(new, MultiplyAdd)) == 1


def test_subclass():
    """A nested model that does more than its graph is left; a whole one is refused."""

    @keras.saving.register_keras_serializable("test_fuse")
    class Doubled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs)

    inputs = layers.Input((8, 8, 3))
    doubled = Doubled(inputs, conv_bn_relu(inputs, "a"), name="doubled")
    model = random_values(keras.Model(inputs, conv_bn_relu(doubled(inputs), "b")))
    new = fused(model, tolerance=1e-5)
    assert list(new.fusion.left) == ["doubled"]
    assert count(new, layers.BatchNormalization) == 1
    assert "without a `call` of its own" in one_line(lambda: fuse(doubled), "model", "Doubled")


class Scaled(layers.Conv2D):
    def call(self, inputs):
        return 3 * super().call(inputs) ** 2


def test_users_layers_are_left():
    inputs = layers.Input((8, 8, 3))
    x = layers.BatchNormalization()(Scaled(8, 3, name="mine")(inputs))
    x = layers.Lambda(lambda x: x + 1)(x)
    new = fused(random_values(keras.Model(inputs, x)), tolerance=1e-5)
    assert count(new, ScaleOffset) == 1


@pytest.mark.parametrize(
    ("name", "policy"), [("SEResNet50", "mixed_bfloat16"), ("SEPreResNet110", "mixed_float16")]
)
def test_half_precision(name, policy):
    options = {"variant": UNIT, "input_shape": (33, 32, 3), "classifier_activation": None}
    keras.config.set_dtype_policy(policy)
    new = fused(network(name, **options), tolerance=HALF_TOLERANCE[policy])
    assert count(new, layers.BatchNormalization) == 0
    # The squeeze and the gate are in float32 as before.
    assert {new.get_layer(n).dtype for n in names(new, layers.Dense)} == {"float32"}
    assert new.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("chosen", [*[[name] for name in REWRITES], [], ["squeeze", "fold"]])
def test_rewrites(chosen):
    """Each alone does its part and no more."""
    model = network("SEResNet50", variant={**UNIT, "dropout": 0.3}, input_shape=(33, 32, 3))
    new = fused(model, chosen)
    assert list(new.fusion.done) == [name for name in REWRITES if name in chosen]
    # BatchNorms that stay are ScaleOffset, which has less to compute.
    assert count(new, layers.BatchNormalization) == 0
    assert (count(new, ScaleOffset) < 5) == ("fold" in chosen)
    assert (count(new, layers.Dropout) == 0) == ("training_only" in chosen)
    assert (count(new, MultiplyAdd) == 1) == ("sums" in chosen)
    compiled = [getattr(layer, "jit_compile", False) for layer in new.layers if layer.weights]
    assert any(compiled) == ("compile" in chosen)


@pytest.mark.parametrize("kind", ["Dense", "Conv1D"])
def test_masks(kind):
    """The squeeze of a masked block stays; a mask that a convolution drops does not come back."""
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(inputs)
    linear = layers.Dense(16) if kind == "Dense" else layers.Conv1D(16, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The convolution's, about the mask.
        x = SqueezeExcite(4, name="se")(linear(x))
        x = layers.GlobalAveragePooling1D()(layers.Activation("relu")(x))
        model = random_values(keras.Model(inputs, layers.Dense(3)(x)))
        ids = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 0], [1, 1, 2, 5, 3, 8]])
        new = fused(model, x=ids)
    assert names(new, SqueezeExcite) == ["se"]
    assert "mask" in new.fusion.left["se"]


def test_one_rewrite_by_name():
    model = network("SEResNet20", variant=SHORT)
    assert list(fuse(model, "fold").fusion.done) == ["fold"]


def test_wrong_arguments():
    model = network("SEResNet20", variant=SHORT)
    message = one_line(lambda: fuse(model, ["sqeeze"]), "rewrites", "sqeeze")
    assert "Did you mean 'squeeze'?" in message
    for wrong in (keras.Sequential([layers.Dense(3)]), layers.Dense(3), None):
        one_line(lambda wrong=wrong: fuse(wrong), "model", type(wrong).__name__)


def test_report():
    model = network("SEPreResNet110", variant={"blocks": (1, 1), "widths": (16, 32)})
    text = str(fuse(model).fusion)
    assert "post_bn" in text
    assert "squeeze" in text


def operations(model):
    """How many operations TensorFlow runs."""
    import tensorflow as tf

    spec = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(*spec).graph
    passive = {"Placeholder", "Const", "ReadVariableOp", "NoOp", "Identity"}
    return sum(op.type not in passive for op in graph.get_operations())


def test_fewer_operations():
    """Than before, and than the plain network as built."""
    options = {"variant": SHORT, "input_shape": (64, 64, 3)}
    model = network("SEResNet50", **options)
    new, plain = fuse(model), network("SEResNet50", se=None, **options)
    assert operations(new) < 0.7 * operations(model)
    assert operations(new) < operations(plain)


GROUPED = """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], model.serve(np.load(sys.argv[2])).numpy())
"""


@pytest.mark.networks
@pytest.mark.parametrize("onednn", ["0", "1"])
def test_saved_model_runs_with_and_without_onednn(onednn, tmp_path):
    """A bias after a grouped convolution is what breaks there."""
    model = network("SEResNeXt50", variant={"blocks": (1, 1, 1, 1)}, input_shape=(64, 64, 3))
    new = fuse(model)
    x = noise_pictures(2, 64, 64).astype("float32")
    new.export(tmp_path / "model", verbose=False)
    np.save(tmp_path / "x.npy", x)
    process = subprocess.run(
        [sys.executable, "-c", GROUPED, tmp_path / "model", tmp_path / "x.npy", tmp_path / "y.npy"],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    received = np.load(tmp_path / "y.npy")
    assert deviation([received], evaluate(model, x)) < TOLERANCE


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_backend(backend, tmp_path):
    """A network fused and saved here loads there, and one fused there computes the same."""
    model = network("SEResNet50", variant=SHORT, input_shape=(33, 32, 3))
    new = fuse(model)
    x = noise_pictures(2, 33, 32).astype("float32")
    model.save(tmp_path / "model.keras")
    new.save(tmp_path / "fused.keras")
    np.save(tmp_path / "x.npy", x)
    process = subprocess.run(
        [sys.executable, __file__, tmp_path],
        env=environment(backend),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    for name in ("loaded", "fused"):
        received = np.load(tmp_path / f"{name}.npy")
        assert deviation([received], evaluate(model, x)) < TOLERANCE


def test_every_network_is_tested():
    assert set(NAMES) >= QUICK


if __name__ == "__main__":
    from pathlib import Path

    folder = Path(sys.argv[1])
    x = np.load(folder / "x.npy")
    for name, model in (
        ("loaded", keras.models.load_model(folder / "fused.keras")),
        ("fused", fuse(keras.models.load_model(folder / "model.keras"))),
    ):
        np.save(folder / f"{name}.npy", ops.convert_to_numpy(model(x)))
