"""`prune` and `drop_stage`: what they remove, and that the rest computes what it did."""

import functools

import keras
import numpy as np
import pytest
import test_surgery
from excitation_networks import pictures as noise
from excitation_networks import small
from keras import layers, ops
from reference import noise_pictures, trained_like
from test_bad_input import one_line
from test_surgery import (
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
from keras_se import Excitations, SEConfig, SqueezeExcite, drop_stage, prune
from keras_se.layers import ScaleOffset
from keras_se.pruning.blocks import blocks_in
from keras_se.inference.network import Network

# Of the largest output: sums of fewer terms in another order, over some dozen layers of float32.
TOLERANCE = 1e-5
# Folded weights, too.
FUSED_TOLERANCE = 1e-4

NETWORKS = {
    "SEResNet20": {"variant": {"blocks": (1, 2), "widths": (16, 32)}, "input_shape": (17, 16, 3)},
    "SEResNet50": {
        "variant": {"blocks": (1, 1), "widths": (16, 32)}, "input_shape": (32, 33, 3),
    },
    "SEResNeXt50": {
        "variant": {"blocks": (1, 1), "widths": (64, 64)}, "input_shape": (32, 33, 3),
    },
    "SEPreResNet164": {
        "variant": {"blocks": (2, 1), "widths": (8, 16)}, "input_shape": (16, 17, 3),
    },
    "SEMobileNet": {"alpha": 0.25, "input_shape": (32, 33, 3)},
    "SEVGG16": {
        "variant": {"blocks": (1, 1), "widths": (16, 32), "fully_connected": (24,)},
        "input_shape": (16, 15, 3),
    },
    "SEDenseNet121": {"variant": {"blocks": (1, 2)}, "input_shape": (33, 32, 3)},
}  # fmt: skip
SLOW_NETWORKS = ("SEInceptionV3", "SEBNInception", "SEInceptionResNetV2", "SEShakeShake26")


@pytest.fixture(autouse=True)
def _clean_session():
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()


def network(name, **options):
    options = {"classes": 7, "classifier_activation": None} | NETWORKS.get(name, {}) | options
    return trained_like(getattr(keras_se, name)(weights=None, **options), seed=1)


def gates_of(model, seed=2):
    """Excitations of the model's blocks with mean gates from 0 to 1, all different."""
    random = np.random.default_rng(seed)
    widths = {
        name: part.source.reduce_kernel.shape[0] for name, part in blocks_in(Network(model)).items()
    }
    mean = {name: random.uniform(0, 1, (2, width)) for name, width in widths.items()}
    shares = dict.fromkeys(mean, np.zeros(2))
    return Excitations(("a", "b"), np.array([3, 5]), mean, mean, shares, shares)


def named(model, path=""):
    """The layers of a model and of those in it by their names in `Pruning`."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from named(layer, f"{path}{layer.name}/")
        else:
            yield f"{path}{layer.name}", layer


def masked(model, pruning, x, monkeypatch):
    """What the model computes with zeros for the channels that are not kept."""
    with monkeypatch.context() as patch:
        for name, layer in named(model):
            if name in pruning.kept:
                mask = np.zeros(pruning.widths[name], "float32")
                mask[pruning.kept[name]] = 1
                patch.setattr(layer, "call", functools.partial(zeroed, layer.call, mask))
        return evaluate(model, x)


def zeroed(call, kept, x, **options):
    return call(x, **options) * kept


def assert_near(received, expected, tolerance=TOLERANCE):
    for y, z in zip(received, expected, strict=True):
        assert y.shape == z.shape
        assert np.isfinite(z).all() and np.ptp(z) > 0
        assert np.abs(y - z).max() <= tolerance * np.abs(z).max()


def pruned(model, monkeypatch, x=None, keep=0.6, **options):
    """`prune`, checked for what holds of every call."""
    x = pictures(model) if x is None else x
    found, before, expected = gates_of(model), state(model), evaluate(model, x)
    smaller = prune(model, found, keep, **options)
    assert state(model) == before
    assert not {id(v) for v in model.variables} & {id(v) for v in smaller.variables}
    assert smaller.count_params() < model.count_params()
    assert keras_se.cost(smaller).macs < keras_se.cost(model).macs
    assert smaller.name == model.name
    assert smaller.pruning.kept
    assert_near(evaluate(smaller, x), masked(model, smaller.pruning, x, monkeypatch))
    # The masks do something, and nothing of them is left.
    assert_near(evaluate(model, x), expected, 0)
    assert max(np.abs(y - z).max() for y, z in zip(evaluate(smaller, x), expected, strict=True))
    return smaller


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name, monkeypatch):
    model = network(name)
    x = noise_pictures(2, *model.input_shape[1:3])
    smaller = pruned(model, monkeypatch, x)
    widths = {
        part.source.reduce_kernel.shape for part in blocks_in(Network(smaller)).values()
    }
    assert widths
    left = set(smaller.pruning.left)
    assert not left, left


@pytest.mark.networks
@pytest.mark.parametrize("name", SLOW_NETWORKS)
def test_large_network(name, monkeypatch):
    size = max(getattr(keras_se, name).defaults.min_size, 32)
    model = network(name, input_shape=(size, size + 1, 3))
    pruned(model, monkeypatch, noise_pictures(2, size, size + 1))


@pytest.mark.parametrize("placement", ["pre", "post", "identity", "conv3x3"])
def test_placement(placement, monkeypatch):
    model = network("SEResNet20", se=SEConfig(4, placement=placement))
    smaller = pruned(model, monkeypatch, noise_pictures(2, 17, 16))
    inner = "stage3_block2_conv1" in smaller.pruning.kept
    assert inner == (placement == "conv3x3")


def fine_tuned():
    """A head of one's own on a network, frozen but for its last block."""
    base = network("SEResNet20", include_top=False)
    base.trainable = False
    base.get_layer("stage3_block2_se").trainable = True
    inputs = keras.Input((17, 16, 3))
    x = layers.Flatten()(layers.Dropout(0.1)(base(inputs)))
    x = layers.Dense(5, activation="softmax")(layers.Dense(12, activation="relu")(x))
    return keras.Model(inputs, x, name="mine")


@pytest.mark.parametrize(
    "build",
    [
        fine_tuned,
        lambda: keras_se.add_squeeze_excite(test_surgery.concatenation(), "^b$|both|^a$"),
        lambda: keras_se.add_squeeze_excite(test_surgery.branches()),
        lambda: keras_se.add_squeeze_excite(test_surgery.nested()),
        lambda: keras_se.add_squeeze_excite(test_surgery.shared_convolution(), ["a"]),
        lambda: keras_se.add_squeeze_excite(test_surgery.shared_model()),
        lambda: keras_se.add_squeeze_excite(test_surgery.unet()),
        lambda: keras_se.add_squeeze_excite(test_surgery.kinds(3), ["a", "b", "c"]),
        lambda: keras_se.add_squeeze_excite(test_surgery.kinds(4), ["a", "b", "c"]),
        lambda: keras_se.add_squeeze_excite(test_surgery.kinds(5)),
    ],
)
def test_any_model(build, monkeypatch):
    model = build()
    if model.name != "mine":
        random_values(model)
    try:
        smaller = pruned(model, monkeypatch)
    except ValueError as error:
        pytest.fail(str(error))
    assert_near(evaluate(keras_se.fuse(smaller), pictures(model)), evaluate(smaller, pictures(model)), FUSED_TOLERANCE)
