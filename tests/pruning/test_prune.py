"""`prune` and `drop_stage`: what they remove, and that the rest computes what it did."""

import functools
import itertools

import keras
import numpy as np
import pytest
import user_networks
from excitation_networks import pictures as noise
from excitation_networks import small
from keras import layers, ops
from mistakes import one_line
from quick_cases import marked
from reference import noise_pictures, trained_like
from user_networks import (
    classifier,
    conv,
    conv_bn_relu,
    evaluate,
    pictures,
    random_values,
    state,
)

import keras_se
from keras_se import Excitations, SEConfig, SqueezeExcite, drop_stage, prune
from keras_se.graph.editable import EditableGraph
from keras_se.layers import ScaleOffset
from keras_se.pruning.blocks import blocks_in

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
LARGE = ("SEInceptionV3", "SEBNInception", "SEInceptionResNetV2", "SEShakeShake26")


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.config.set_image_data_format("channels_last")
    keras.backend.clear_session()


def network(name, **options):
    options = {"classes": 7, "classifier_activation": None} | NETWORKS.get(name, {}) | options
    return trained_like(getattr(keras_se, name)(weights=None, **options), seed=1)


def gates_of(model, seed=2):
    """Excitations of the model's blocks with mean gates from 0 to 1, all different."""
    random = np.random.default_rng(seed)
    widths = {
        name: part.source.reduce_kernel.shape[0]
        for name, part in blocks_in(EditableGraph(model)).items()
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
    y = call(x, **options)
    if keras.config.image_data_format() == "channels_first":
        kept = kept.reshape(-1, *[1] * (len(y.shape) - 2))
    return y * kept


def assert_near(received, expected, tolerance=TOLERANCE):
    for y, z in zip(received, expected, strict=True):
        assert y.shape == z.shape
        assert np.isfinite(z).all()
        assert np.ptp(z) > 0
        assert np.abs(y - z).max() <= tolerance * np.abs(z).max()


def pruned(model, monkeypatch, x=None, keep=0.6, **options):
    """`prune`, checked for what holds of every call."""
    x = pictures(model) if x is None else x
    found, before, expected = gates_of(model), state(model), evaluate(model, x)
    smaller = prune(model, found, keep, **options)
    assert state(model) == before
    assert not {id(v) for v in model.variables} & {id(v) for v in smaller.variables}
    assert smaller.count_params() < model.count_params()
    size = [tuple(n or 12 for n in array.shape[1:]) for array in model.inputs]
    assert keras_se.cost(smaller, size).macs < keras_se.cost(model, size).macs
    assert smaller.name == model.name
    assert smaller.pruning.kept
    kinds = {name.rpartition("/")[2]: type(layer) for name, layer in named(model)}
    # But for those that are renamed, since two networks had one of that name.
    known = [layer for layer in smaller.layers if layer.weights and layer.name in kinds]
    assert known
    assert all(kinds[layer.name] is type(layer) for layer in known)
    assert_near(evaluate(smaller, x), masked(model, smaller.pruning, x, monkeypatch))
    # The masks do something, and nothing of them is left.
    assert_near(evaluate(model, x), expected, 0)
    assert max(np.abs(y - z).max() for y, z in zip(evaluate(smaller, x), expected, strict=True))
    return smaller


@pytest.mark.parametrize("name", marked(NETWORKS, {"SEResNet20", "SEVGG16"}))
def test_network(name, monkeypatch):
    model = network(name)
    x = noise_pictures(2, *model.input_shape[1:3])
    smaller = pruned(model, monkeypatch, x)
    assert not smaller.pruning.left


@pytest.mark.networks
@pytest.mark.parametrize("name", LARGE)
def test_large_network(name, monkeypatch):
    size = max(getattr(keras_se, name).defaults.min_size, 32)
    model = network(name, input_shape=(size, size + 1, 3))
    pruned(model, monkeypatch, noise_pictures(2, size, size + 1))


@pytest.mark.parametrize(
    "placement", marked(["pre", "post", "identity", "conv3x3"], {"post", "conv3x3"})
)
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


def shared():
    """One convolution, and one network, called twice, with blocks in and behind them."""
    inputs = keras.Input((8, 8, 3))
    tower, twice = user_networks.small("tower"), layers.Conv2D(16, 3, padding="same", name="twice")
    x = tower(conv_bn_relu(inputs, "stem"))
    x = tower(layers.ReLU()(twice(twice(x))))
    return classifier(inputs, x)


def added():
    """Sums, operations in place of layers, one of numbers among them."""
    inputs = keras.Input((8, 8, 3))
    x = conv(inputs, "stem")
    for name in ("a", "b"):
        x = ScaleOffset()(x)
        x = ops.relu(x + 0.5 * conv(ops.relu(conv(x, f"{name}1")), f"{name}2"))
    return classifier(inputs, x)


# The network and where its blocks are put.
OTHERS = {
    "concatenation": (user_networks.concatenation, "^b$|both|^a$"),
    "nested": (user_networks.nested, None),
    "shared": (shared, "twice|tower/a_relu"),
    "added": (added, None),
    "u-net": (user_networks.unet, None),
    "1-D": (lambda: user_networks.kinds(3), ["a", "b", "c"]),
    "2-D": (lambda: user_networks.kinds(4), ["a", "b", "c"]),
    "3-D": (lambda: user_networks.kinds(5), None),
    "gates of its own": (user_networks.own_gates, ["a"]),
}


@pytest.mark.parametrize("name", marked(OTHERS, {"concatenation", "nested", "shared", "added"}))
def test_network_that_was_given_blocks(name, monkeypatch):
    build, where = OTHERS[name]
    model = random_values(keras_se.add_squeeze_excite(build(), where))
    smaller = pruned(model, monkeypatch)
    x = pictures(model)
    assert_near(evaluate(keras_se.fuse(smaller), x), evaluate(smaller, x), FUSED_TOLERANCE)


SEGMENTATION = {
    "unet": (keras_se.UNet, {"decoder_filters": (16, 16, 8, 8, 4)}),
    "unet with attention": (
        keras_se.UNet, {"decoder_filters": (16, 16, 8, 8, 4), "attention": "scse"},
    ),
    "fpn": (keras_se.FPN, {"pyramid_filters": 16, "segmentation_filters": 4}),
}  # fmt: skip
# The rank, and whether the channels come first.
FORMS = [*itertools.product(SEGMENTATION, (1, 2, 3), (False, True))]
QUICK_FORMS = {("unet", 2, True), ("unet with attention", 3, False), ("fpn", 1, True)}


@pytest.mark.parametrize(("name", "rank", "first"), [
    pytest.param(*form, marks=() if form in QUICK_FORMS else pytest.mark.networks)
    for form in FORMS
])  # fmt: skip
def test_segmentation(name, rank, first, monkeypatch):
    """The sizes of other maps, which the decoders look at, keep no channels."""
    build, options = SEGMENTATION[name]
    keras.config.set_image_data_format("channels_first" if first else "channels_last")
    # An odd size, so that maps are cropped.
    size = [33] * rank
    model = trained_like(build(
        keras_se.SEResNet18(
            include_top=False, weights=None, input_shape=(3, *size) if first else (*size, 3),
            include_preprocessing=False, variant={"blocks": (1, 1, 1, 1), "widths": (16,) * 4},
        ),
        3, **options, classifier_activation=None,
    ), 1)  # fmt: skip
    smaller = pruned(model, monkeypatch, keep=0.5)
    assert not smaller.pruning.left
    if "attention" in options:
        # One end at least of each convolution in the decoder has gates.
        assert keras_se.cost(smaller).macs < 0.51 * keras_se.cost(model).macs


def test_fine_tuned_network(monkeypatch):
    pruned(fine_tuned(), monkeypatch)


def test_kept_channels_are_those_of_the_highest_scores():
    """Mean gate, each class alike, times L1 norm; for what is added, the sum."""
    model = network("SEVGG16")
    found = gates_of(model)
    kept = prune(model, found, 0.5).pruning.kept["stage2_conv1"]
    norms = np.abs(model.get_layer("stage2_conv1").kernel.numpy()).sum((0, 1, 2))
    scores = norms * found.mean["stage2_se1"].mean(0)
    assert set(kept) == set(np.argsort(-scores)[:16])
    kept = prune(model, found, 0.5, by="norm").pruning.kept["stage2_conv1"]
    assert set(kept) == set(np.argsort(-norms)[:16])

    model = network("SEResNet20")
    found = gates_of(model)
    scores = 0
    for layer, block in {
        "stage3_block1_conv2": "stage3_block1_se",
        "stage3_block2_conv2": "stage3_block2_se",
        "stage3_block1_shortcut_conv": None,
    }.items():
        norms = np.abs(model.get_layer(layer).kernel.numpy()).sum((0, 1, 2))
        scores += norms * (found.mean[block].mean(0) if block else 1)
    kept = prune(model, found, 0.5).pruning.kept
    for layer in ("stage3_block1_conv2", "stage3_block2_bn2", "stage3_block1_shortcut_conv"):
        assert set(kept[layer]) == set(np.argsort(-scores)[:16])
    assert "stage3_block1_conv1" not in kept


def test_random():
    model = network("SEVGG16")
    found = gates_of(model)
    kept = [
        prune(model, found, 0.5, by="random", seed=seed).pruning.kept["stage2_conv1"].tolist()
        for seed in (0, 0, 1)
    ]
    assert kept[0] == kept[1] != kept[2]


def test_shut_gates():
    """Channels that are zero and that no squeeze sees go first, and nothing changes."""
    model = network("SEVGG16")
    shut = {"stage1_se1": [0, 3, 7, 15], "stage2_se1": list(range(1, 32, 4))}
    for name, channels in shut.items():
        kernel, bias = model.get_layer(name).expand_kernel, model.get_layer(name).expand_bias
        value = bias.numpy()
        value[channels] = -200
        bias.assign(value)
        kernel.assign(kernel * (value > -200))
        kernel = model.get_layer(name).reduce_kernel
        kernel.assign(kernel * (value > -200)[:, None])
    x, labels = noise(14)
    x = x[:, :16, :15]
    smaller = prune(model, keras_se.excitations(model, x, labels), 0.75)
    for name, channels in shut.items():
        kept = smaller.pruning.kept[name.replace("se", "conv")]
        assert set(range(smaller.pruning.widths[name])) - set(kept) == set(channels)
    assert_near(evaluate(smaller, x), evaluate(model, x))


def test_everything_is_kept():
    model = network("SEResNet20")
    same = prune(model, gates_of(model), 1)
    x = noise_pictures(2, 17, 16)
    assert_near(evaluate(same, x), evaluate(model, x), 0)
    assert not same.pruning.kept


def test_one_channel_is_kept():
    model = network("SEResNet20")
    smaller = prune(model, gates_of(model), 1e-9)
    assert {len(kept) for kept in smaller.pruning.kept.values()} == {1}
    assert np.isfinite(evaluate(smaller, noise_pictures(2, 17, 16))[0]).all()


def test_settings_stay():
    """Names, what trains, and the hidden width of the blocks."""
    model = fine_tuned()
    smaller = prune(model, gates_of(model), 0.5)
    old = {name.rpartition("/")[2]: layer for name, layer in named(model)}
    new = {layer.name: layer for layer in smaller.layers}
    assert {"stage3_block2_se", "stem_conv"} <= new.keys() & old.keys()
    for name in new.keys() & old.keys():
        assert [v.trainable for v in new[name].variables] == [
            v.trainable for v in old[name].variables
        ]
    assert any(v.trainable for v in new["stage3_block2_se"].variables)
    assert not any(v.trainable for v in new["stem_conv"].variables)
    for name, block in new.items():
        if isinstance(block, SqueezeExcite):
            assert block.reduce_kernel.shape[1] == old[name].reduce_kernel.shape[1]


def test_saved_and_learns(tmp_path):
    model = network("SEResNet20")
    smaller = prune(model, gates_of(model))
    smaller.save(tmp_path / "smaller.keras")
    loaded = keras.models.load_model(tmp_path / "smaller.keras")
    x = noise_pictures(8, 17, 16)
    assert_near(evaluate(loaded, x), evaluate(smaller, x), 0)
    means = loaded.get_layer("stage3_block2_bn1").moving_mean.numpy()
    loaded.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    losses = [loaded.train_on_batch(x, np.eye(8, 7)) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert (loaded.get_layer("stage3_block2_bn1").moving_mean.numpy() != means).all()
    assert str(smaller.pruning).splitlines()[0].split() == ["layer", "channels", "of"]
    # And once more.
    assert prune(loaded, gates_of(loaded)).count_params() < loaded.count_params()


@pytest.mark.networks
def test_fuses():
    model = network("SEMobileNet")
    smaller = prune(model, gates_of(model))
    x = noise_pictures(2, 32, 33)
    fused = keras_se.fuse(smaller)
    assert_near(evaluate(fused, x), evaluate(smaller, x), FUSED_TOLERANCE)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in fused.layers)


@pytest.mark.export
def test_exports(tmp_path):
    import tensorflow as tf

    model = network("SEResNet20", input_shape=(16, 16, 3), classifier_activation="softmax")
    smaller = prune(model, gates_of(model))
    path = keras_se.export(smaller, tmp_path / "served", image_bytes=False, top_k=3).path
    serve = tf.saved_model.load(str(path)).signatures["serve_images"]
    x = noise_pictures(2, 16, 16)
    received = serve(images=tf.constant(x, "float32"))["probabilities"].numpy()
    assert_near([received], evaluate(smaller, x), FUSED_TOLERANCE)


def left_alone(layer):
    """Two blocks, behind the first of which is a layer that is not understood."""
    inputs = x = keras.Input((8, 8, 3))
    for name in ("one", "two"):
        x = SqueezeExcite(4, name=f"{name}_se")(conv_bn_relu(x, name))
        x = layer(x) if name == "one" else x
    return classifier(inputs, x)


class Mine(layers.ReLU):
    pass


UNKNOWN = {
    "Lambda": lambda: layers.Lambda(lambda x: x[..., ::-1], name="odd"),
    "GroupNormalization": lambda: layers.GroupNormalization(4, name="odd"),
    "Activation": lambda: layers.Activation("softmax", name="odd"),
    "Mine": lambda: Mine(name="odd"),
    "Conv2D": lambda: layers.Conv2D(16, 3, groups=4, name="odd"),
    "Multiply": lambda: lambda x: layers.Multiply(name="odd")([x, conv(x, "gate", 1)]),
    "Rescaling": lambda: layers.Rescaling(0.5, offset=0.1, name="odd"),
    "Reshape": lambda: layers.Reshape((4, 16, 16), name="odd"),
    "Dropout": lambda: layers.Dropout(0.1, noise_shape=(None, 1, 1, 16), name="odd"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_understood_is_left(kind):
    model = left_alone(UNKNOWN[kind]())
    smaller = prune(model, gates_of(model), 0.6)
    reason = f"layer 'odd' of type {kind} takes them"
    assert smaller.pruning.left == {"one_se": reason}
    assert reason in str(smaller.pruning)
    assert smaller.get_layer("one_conv").filters == 16
    assert smaller.get_layer("two_conv").filters == 10


@pytest.mark.parametrize("odd", [True, False])
def test_what_fixes_the_channels_that_are_added(odd):
    """It is named: the layer that is not understood, or the input."""
    inputs = x = keras.Input((8, 8, 16))
    x = layers.Lambda(lambda x: -x, name="odd")(conv(x, "one")) if odd else x
    x = SqueezeExcite(4, name="se")(layers.Add()([conv_bn_relu(inputs, "two"), x]))
    model = classifier(inputs, SqueezeExcite(4)(conv(x, "three")))
    reason = "layer 'odd' of type Lambda outputs them" if odd else "they are the model's input"
    assert prune(model, gates_of(model), 0.6).pruning.left == {"se": reason}


def test_average_of_channels_is_left():
    inputs = keras.Input((16, 16, 3))
    x = SqueezeExcite(4)(conv(inputs, "one"))
    model = keras.Model(inputs, layers.Dense(3)(ops.average(x, axis=3)))
    one_line(lambda: prune(model, gates_of(model)), "model", "of type Average takes them")


def test_feature_maps_that_are_put_out_stay(monkeypatch):
    model = network("SEResNet20", include_top=False)
    smaller = pruned(model, monkeypatch, noise_pictures(2, 17, 16))
    assert smaller.output_shape == model.output_shape
    assert set(smaller.pruning.left) == {"stage3_block1_se", "stage3_block2_se"}
    assert "the model outputs them" in smaller.pruning.left.values()


def without_blocks():
    return keras_se.SEResNet20(weights=None, se=None)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def other_widths(model):
    found = gates_of(model)
    return Excitations(
        found.classes, found.counts, {name: x[:, 1:] for name, x in found.mean.items()},
        found.std, found.high, found.low,
    )  # fmt: skip


MISTAKES = {
    "keep of 0": (lambda m: prune(m, gates_of(m), 0), "keep", "keep=0"),
    "keep above 1": (lambda m: prune(m, gates_of(m), 1.01), "keep", "keep=1.01"),
    "keep nan": (lambda m: prune(m, gates_of(m), float("nan")), "keep", "keep=nan"),
    "keep True": (lambda m: prune(m, gates_of(m), True), "keep", "keep=True"),
    "keep text": (lambda m: prune(m, gates_of(m), "0.7"), "keep", "keep='0.7'"),
    "by": (lambda m: prune(m, gates_of(m), by="gates"), "by", "by='gates'. Did you mean 'gate'?"),
    "seed": (lambda m: prune(m, gates_of(m), by="random", seed=-1), "seed", "seed=-1"),
    "no blocks": (lambda m: prune(without_blocks(), gates_of(m)), "model", "which has none"),
    "subclassed": (lambda m: prune(Subclassed(), gates_of(m)), "model", "type Subclassed"),
    "no excitations": (lambda m: prune(m, {}), "excitations", "of type dict"),
    "other names": (lambda m: prune(m, gates_of(small())), "excitations", "which only"),
    "other widths": (
        lambda m: prune(m, other_widths(m)), "excitations", "channels, not 16 as in the model",
    ),
    "nothing to remove": (
        lambda m: prune(
            whole := keras_se.add_squeeze_excite(user_networks.branches()), gates_of(whole)
        ),
        "model",
        "must keep them:",
    ),
    "unknown stage": (lambda m: drop_stage(m, 5), "stage", "stage=5"),
    "stage True": (lambda m: drop_stage(m, True), "stage", "stage=True"),
    "stage without blocks": (
        lambda m: drop_stage(network("SEResNet20", se=SEConfig(stages=(3,))), 2),
        "stage",
        "stage=2",
    ),
    "names without stages": (lambda m: drop_stage(small(), 2), "stage", "stage=2"),
    "stage, no blocks": (lambda m: drop_stage(without_blocks(), 4), "model", "which has none"),
    "stage, other excitations": (
        lambda m: drop_stage(m, 3, gates_of(small())), "excitations", "which only",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def valid():
    return network("SEResNet20")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name, valid):
    call, argument, received = MISTAKES[name]
    one_line(lambda: call(valid), argument, received)


def test_drop_stage():
    model = network("SEResNet20")
    before, x = state(model), noise_pictures(2, 17, 16)
    dropped = drop_stage(model, 3)
    assert state(model) == before
    assert list(blocks_in(EditableGraph(dropped))) == ["stage2_block1_se"]
    expected = network("SEResNet20", se=SEConfig(stages=(2,)))
    for layer in expected.layers[1:]:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    assert_near(evaluate(dropped, x), evaluate(expected, x), 0)
    assert keras_se.cost(dropped) == keras_se.cost(expected)


def test_drop_stage_with_mean_gates():
    """Where the gates do not depend on the picture, nothing changes; and they fold away."""
    model = network("SEResNet20")
    for name in ("stage3_block1_se", "stage3_block2_se"):
        model.get_layer(name).expand_kernel.assign(model.get_layer(name).expand_kernel * 0)
    x, labels = noise(14)
    x = x[:, :17, :16]
    found = keras_se.excitations(model, x, labels)
    dropped = drop_stage(model, 3, found)
    assert_near(evaluate(dropped, x), evaluate(model, x))
    constants = [layer.name for layer in dropped.layers if isinstance(layer, ScaleOffset)]
    assert constants == ["stage3_block1_se", "stage3_block2_se"]
    fused = keras_se.fuse(dropped)
    assert_near(evaluate(fused, x), evaluate(model, x), FUSED_TOLERANCE)
    assert not {layer.name for layer in fused.layers} & set(constants)


def test_drop_stage_of_a_fine_tuned_network():
    model = fine_tuned()
    dropped = drop_stage(model, 3)
    assert list(blocks_in(EditableGraph(dropped))) == ["stage2_block1_se"]
    assert dropped.output_shape == model.output_shape
