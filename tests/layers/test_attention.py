"""The attention blocks beside Squeeze-and-Excitation, and one interface for all of them."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se import (
    ECAConfig,
    EfficientChannelAttention,
    SCSEConfig,
    SEConfig,
    SpatialChannelSqueezeExcite,
)
from keras_se.layers import AttentionConfig, ChannelAttention
from keras_se.layers.efficient_channel_attention import paper_kernel_size

CONFIGS = [SEConfig(), ECAConfig(), SCSEConfig(ratio=2)]
SHAPES = {3: (2, 9, 20), 4: (2, 7, 6, 20), 5: (2, 3, 5, 4, 20)}
# float32 sums of some hundred terms in another order.
TOLERANCE = 1e-6


def kind(config):
    return type(config).__name__


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def trained_like(model, seed=0):
    """Values such as a trained network has."""
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.rsplit("/", 1)[-1]
        if name in ("moving_variance", "gamma"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
        elif name in ("moving_mean", "beta", "expand_bias", "position_bias"):
            variable.assign(generator.normal(0, 0.2, variable.shape))
        elif name == "kernel" and len(variable.shape) == 1:
            variable.assign(generator.normal(0, 1, variable.shape))
    return model


def small(**options):
    """SE-ResNet-20 with one unit a stage."""
    return keras_se.SEResNet20(weights=None, variant={"blocks": (1, 1, 1)}, **options)


@pytest.fixture(scope="module", params=CONFIGS, ids=kind)
def network(request):
    keras.utils.set_random_seed(0)
    return trained_like(small(classes=7, se=request.param))


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def found(network, pictures):
    return keras_se.excitations(network, np.repeat(pictures, 2, 0), np.arange(16) % 7)


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_equations_of_eca(rank, data_format, gate):
    """Equation 7 of the paper: one kernel along the channels, zeros beyond the ends."""
    layer = EfficientChannelAttention(5, gate=gate, data_format=data_format)
    x, kernel = random(SHAPES[rank]), random((5,), 1)
    last = data_format == "channels_last"
    given = x if last else np.moveaxis(x, -1, 1)
    layer.build(given.shape)
    layer.kernel.assign(kernel)
    z = x.astype("float64").mean(tuple(range(1, rank - 1)))
    logits = np.stack([np.convolve(row, kernel[::-1], "same") for row in z])
    gates = sigmoid(logits) if gate == "sigmoid" else np.clip(logits / 6 + 0.5, 0, 1)
    y = np.asarray(layer(given))
    y = y if last else np.moveaxis(y, 1, -1)
    expected = x * gates.reshape(2, *[1] * (rank - 2), 20)
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    np.testing.assert_allclose(layer.gates(given), gates, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_equations_of_scse(rank, data_format, use_bias):
    """Section 2 of the paper: the sum of the input scaled by channel and by position."""
    layer = SpatialChannelSqueezeExcite(4, use_bias=use_bias, data_format=data_format)
    x = random(SHAPES[rank])
    last = data_format == "channels_last"
    given = x if last else np.moveaxis(x, -1, 1)
    layer.build(given.shape)
    for number, variable in enumerate(layer.weights):
        variable.assign(random(variable.shape, number + 1))
    w = {v.name: np.asarray(v, "float64") for v in layer.weights}
    z = x.astype("float64").mean(tuple(range(1, rank - 1)), keepdims=True)
    hidden = np.maximum(z @ w["reduce_kernel"] + w.get("reduce_bias", 0), 0)
    channel = sigmoid(hidden @ w["expand_kernel"] + w.get("expand_bias", 0))
    position = sigmoid(x @ w["position_kernel"] + w.get("position_bias", 0))
    expected = x * channel + x * position
    y = np.asarray(layer(given))
    y = y if last else np.moveaxis(y, 1, -1)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("channels", "size"),
    [(4, 3), (8, 3), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)],
)
def test_kernel_size_of_the_paper(channels, size):
    assert paper_kernel_size(channels) == size
    layer = EfficientChannelAttention()
    layer.build((None, None, None, channels))
    assert layer.kernel.shape == (size,)


@pytest.mark.parametrize("config", [ECAConfig(3), SCSEConfig(4)], ids=kind)
def test_positions_outside_of_a_mask_do_not_count(config):
    x, mask = random((2, 9, 20)), np.arange(9) < np.array([[9], [4]])
    layer = config.layer(20)
    layer.build(x.shape)
    gates = np.asarray(layer.gates(x, mask))[1:]
    # scSE has gates at every position.
    gates = gates[:, :4] if gates.ndim == 3 else gates
    np.testing.assert_allclose(gates, layer.gates(x[1:, :4]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EfficientChannelAttention(4), "`kernel_size` must be odd"),
        (lambda: EfficientChannelAttention(gate="tanh"), "`gate` must be one of"),
        (lambda: EfficientChannelAttention(positions=[0, 2]), "must be given together"),
        (
            lambda: EfficientChannelAttention(positions=[2, 0], of_channels=4),
            "`positions` must be ascending integers from 0 to 3",
        ),
        (lambda: ECAConfig((3, 4)), "`kernel_size` must be odd"),
        (lambda: SCSEConfig(gate="relu"), "`gate` must be one of"),
        (lambda: SCSEConfig(ratio=0), "`ratio` must be an integer of at least 1"),
        (
            lambda: keras_se.SEResNet20(weights=None, se=SCSEConfig(ratio=40)),
            "`ratio` must be at most the number of channels, 16 in stage 2",
        ),
        (
            lambda: keras_se.SEResNet20(weights=None, se=ECAConfig((3, 5))),
            "`kernel_size` must have one number per stage",
        ),
        (
            lambda: keras_se.SEResNet20(weights=None, se="eca"),
            "`se` must be None or settings such as `keras_se.SEConfig",
        ),
        (
            lambda: keras_se.SEResNet20(weights="fashion_mnist", se=ECAConfig()),
            "was trained with se=SEConfig",
        ),
        (
            lambda: AttentionConfig.from_settings({"type": "ECA"}),
            "`se.type` must be one of",
        ),
        (
            lambda: AttentionConfig.from_settings({"type": "ECAConfig", "ratio": 4}),
            "`se` must be one of",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("config", [*CONFIGS, ECAConfig((3, 5, 7))], ids=kind)
def test_settings_and_back(config):
    assert AttentionConfig.from_settings(config.settings()) == config
    assert "type" not in SEConfig(ratio=8).settings()


def test_kernel_size_of_each_stage():
    model = keras_se.SEResNet20(weights=None, se=ECAConfig((3, 5, 7), stages=(3, 4)))
    blocks = [layer for layer in model.layers if isinstance(layer, ChannelAttention)]
    assert [block.kernel.shape[0] for block in blocks] == [5, 5, 5, 7, 7, 7]


@pytest.mark.parametrize(
    ("config", "params"),
    [
        # 2 C^2 / r + C / r + C in each of three blocks, of C = 16, 32, 64.
        (SEConfig(), 2373),
        # Three values in each of nine blocks.
        (ECAConfig(), 27),
        # C^2 + C / 2 + C of the channel gates and C + 1 of the position gate.
        (SCSEConfig(ratio=2), 3 * sum(c * c + c // 2 + c + c + 1 for c in (16, 32, 64))),
    ],
    ids=["SEConfig", "ECAConfig", "SCSEConfig"],
)
def test_counts(config, params):
    plain = keras_se.cost(keras_se.SEResNet20(weights=None, se=None))
    model = keras_se.SEResNet20(weights=None, se=config)
    cost = keras_se.cost(model)
    assert cost.se_params == params == cost.params_total - plain.params_total
    # Behind 1x1 squeezes: scaling is one multiplication for each element, by either kind of gate.
    elements = 3 * sum(c * n * n for c, n in ((16, 32), (32, 16), (64, 8)))
    gates = {
        "SEConfig": 3 * sum(2 * c * (c // 16) for c in (16, 32, 64)),
        "ECAConfig": 3 * sum(3 * c for c in (16, 32, 64)),
        "SCSEConfig": 3 * sum(c * c for c in (16, 32, 64)) + 2 * elements,
    }[kind(config)]
    assert cost.se_macs == elements + gates == cost.macs - plain.macs


def test_files(network, pictures, tmp_path):
    """`.keras` and `.weights.h5`, which tells the kind of its blocks."""
    expected = network.predict(pictures, verbose=0)
    network.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again.predict(pictures, verbose=0), expected)
    network.save_weights(tmp_path / "net.weights.h5")
    again = keras_se.SEResNet20(weights=tmp_path / "net.weights.h5")
    np.testing.assert_array_equal(again.predict(pictures, verbose=0), expected)
    kinds = {type(layer) for layer in network.layers if isinstance(layer, ChannelAttention)}
    other = ECAConfig() if kinds == {keras_se.SqueezeExcite} else SEConfig()
    with pytest.raises(ValueError, match="was written by a network with se="):
        keras_se.SEResNet20(weights=tmp_path / "net.weights.h5", se=other)


@pytest.mark.parametrize("config", CONFIGS, ids=kind)
def test_added_without_a_change(config, pictures):
    keras.utils.set_random_seed(2)
    plain = trained_like(small(se=None))
    model = keras_se.add_squeeze_excite(plain, se=config)
    blocks = [layer for layer in model.layers if isinstance(layer, ChannelAttention)]
    assert len(blocks) == 3
    assert {type(block) for block in blocks} == {config.block}
    np.testing.assert_array_equal(model(pictures), plain(pictures))
    # Every block learns.
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [[np.array(v) for v in block.trainable_variables] for block in blocks]
    model.fit(pictures, np.arange(8), epochs=2, verbose=0)
    for block, values in zip(blocks, before, strict=True):
        changes = [
            not np.array_equal(v, old)
            for v, old in zip(block.trainable_variables, values, strict=True)
        ]
        assert any(changes), block.name


def test_fused(network, pictures):
    expected = network.predict(pictures, verbose=0)
    fused = keras_se.fuse(network)
    np.testing.assert_allclose(fused.predict(pictures, verbose=0), expected, rtol=0, atol=1e-5)


def test_excitations(network, pictures, found):
    block = network.get_layer("stage4_block1_se")
    x = keras.Model(network.input, block.input)(np.repeat(pictures, 2, 0)[[3, 10]])
    gates = np.asarray(block.gates(x))
    gates = gates.mean((1, 2)) if gates.ndim == 4 else gates
    np.testing.assert_allclose(found.mean["stage4_block1_se"][3], gates.mean(0), rtol=0, atol=1e-5)


def test_stage_dropped(network, found):
    smaller = keras_se.drop_stage(network, 4, found)
    names = [layer.name for layer in smaller.layers if isinstance(layer, ChannelAttention)]
    assert len(names) == 2
    assert not any(name.startswith("stage4") for name in names)


def test_pruned(network, pictures, found):
    """The pruned network computes what the network does with zeros for what was removed."""
    pruned = keras_se.prune(network, found, keep=0.6)
    assert keras_se.cost(pruned).macs < 0.65 * keras_se.cost(network).macs
    assert not pruned.pruning.left
    closed = keras.models.clone_model(network)
    closed.set_weights(network.get_weights())
    for name, kept in pruned.pruning.kept.items():
        layer = closed.get_layer(name)
        if isinstance(layer, keras.layers.BatchNormalization):
            stays = np.isin(np.arange(pruned.pruning.widths[name]), kept)
            layer.gamma.assign(np.where(stays, layer.gamma, 0))
            layer.beta.assign(np.where(stays, layer.beta, 0))
    expected = closed.predict(pictures, verbose=0)
    np.testing.assert_allclose(pruned.predict(pictures, verbose=0), expected, rtol=0, atol=1e-5)
    # And so does a network pruned again.
    again = keras_se.prune(pruned, keras_se.excitations(pruned, pictures, np.arange(8) % 7), 0.5)
    assert keras_se.cost(again).macs < 0.55 * keras_se.cost(pruned).macs
    assert np.isfinite(again.predict(pictures, verbose=0)).all()


@pytest.mark.parametrize("config", CONFIGS, ids=kind)
@pytest.mark.parametrize("builder", ["SEMobileNet", "SEShuffleNet", "SEVGG16"])
def test_other_families(config, builder):
    base = getattr(keras_se, builder)
    names = []
    for se in (SEConfig(), config):
        model = base(weights=None, include_top=False, input_shape=(96, 96, 3), se=se)
        names.append([x.name for x in model.layers if isinstance(x, ChannelAttention)])
    assert names[0] == names[1]
    assert names[0]


@pytest.mark.export
@pytest.mark.parametrize(
    ("file_format", "name"),
    [
        ("tf_saved_model", "net"), ("onnx", "net.onnx"), ("openvino", "net.xml"),
        ("litert", "net.tflite"),
    ],
)  # fmt: skip
def test_exports(network, file_format, name, tmp_path):
    """`export` compares each file with the network itself."""
    keras_se.export(network, tmp_path / name, format=file_format)
    assert (tmp_path / name).exists()
