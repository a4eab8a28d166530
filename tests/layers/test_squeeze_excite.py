"""The layer, against the paper's equations in NumPy."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se import SEConfig, SqueezeExcite

# float32 sums of up to some hundred terms in another order.
TOLERANCE = 1e-6
SHAPES = {3: (2, 9, 20), 4: (2, 7, 6, 20), 5: (2, 3, 5, 4, 20)}
GATES = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
}


@pytest.fixture(autouse=True)
def _float32_after():
    yield
    keras.config.set_dtype_policy("float32")


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(channels, rank=4, **options):
    """A layer with non-zero biases."""
    layer = SqueezeExcite(**options)
    shape = [None] * rank
    shape[1 if layer.data_format == "channels_first" else -1] = channels
    layer.build(tuple(shape))
    for index, weight in enumerate(layer.weights):
        weight.assign(random(weight.shape, seed=index + 1))
    return layer


def expected(layer, x, mask=True):
    """Equations 2 to 4 on channels-last `x`, in float64: the gates and the output.

    `mask` has a boolean for each position, or for all of them.
    """
    weights = {v.name: np.asarray(v, "float64") for v in layer.weights}
    spatial = tuple(range(1, x.ndim - 1))
    z = x.astype("float64")
    if layer.squeeze is not None:
        reduce = {"avg": np.mean, "max": lambda *a, **b: np.max(*a, **b, initial=-np.inf)}
        where = np.broadcast_to(mask, x.shape[:-1])[..., None]
        z = reduce[layer.squeeze](z, axis=spatial, keepdims=True, where=where)
    hidden = np.maximum(z @ weights["reduce_kernel"] + weights.get("reduce_bias", 0), 0)
    s = GATES[layer.gate](hidden @ weights["expand_kernel"] + weights.get("expand_bias", 0))
    return (s.squeeze(spatial) if layer.squeeze else s), x * s


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("squeeze", ["avg", "max", None])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_equations(rank, squeeze, gate, use_bias, data_format):
    x = random(SHAPES[rank])
    layer = built(
        20, rank, ratio=4, squeeze=squeeze, gate=gate, use_bias=use_bias, data_format=data_format
    )
    gates, output = expected(layer, x)
    first = data_format == "channels_first"
    inputs = np.moveaxis(x, -1, 1) if first else x
    actual = np.asarray(layer(inputs))
    actual = np.moveaxis(actual, 1, -1) if first else actual
    scale = np.abs(output).max()
    np.testing.assert_allclose(actual, output, rtol=0, atol=TOLERANCE * scale)
    np.testing.assert_allclose(layer.gates(inputs), gates, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize(
    ("options", "hidden"),
    [
        ({}, 4),
        ({"ratio": 8}, 8),
        ({"ratio": 48}, 1),
        ({"ratio": 64}, 1),
        ({"hidden_units": 100}, 100),
        ({"ratio": 128, "hidden_units": 3}, 3),
    ],
)
def test_hidden_width(options, hidden):
    assert built(64, **options).reduce_kernel.shape == (64, hidden)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_gate_is_computed_in_float32_under_half_precision(policy):
    x = random((2, 7, 6, 20)) + 40
    layer = built(20, ratio=4, dtype=policy)
    half = keras.ops.cast(x, layer.compute_dtype)
    gates = layer.gates(half)
    assert gates.dtype == "float32"
    wanted, _ = expected(layer, np.asarray(keras.ops.cast(half, "float32")))
    # In half precision alone, the mean of 42 values near 40 would be off by up to 0.1.
    np.testing.assert_allclose(gates, wanted, rtol=0, atol=1e-5)
    assert layer(half).dtype == layer.compute_dtype


def test_float64():
    layer = built(20, ratio=4, dtype="float64")
    x = random((2, 7, 6, 20)).astype("float64")
    assert layer.gates(x).dtype == "float64"
    np.testing.assert_allclose(layer(x), expected(layer, x)[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("squeeze", ["avg", "max", None])
def test_unknown_sizes(squeeze):
    inputs = keras.Input((None, None, 20))
    layer = SqueezeExcite(4, squeeze=squeeze)
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 20)
    for size in ((1, 1), (5, 8)):
        x = random((3, *size, 20))
        np.testing.assert_allclose(model(x), expected(layer, x)[1], rtol=0, atol=1e-5)
    assert model(np.zeros((0, 5, 8, 20), "float32")).shape == (0, 5, 8, 20)


@pytest.mark.parametrize("squeeze", ["avg", "max", None])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("axes", [(9,), (7, 6), (3, 5, 4)])
def test_masked_positions_do_not_count(squeeze, data_format, axes):
    """Large values behind the mask are not seen; the mask may lack the last spatial axes."""
    rank = len(axes) + 2
    layer = built(20, rank, ratio=4, squeeze=squeeze, data_format=data_format)
    for masked in range(1, len(axes) + 1):
        mask = np.random.default_rng(masked).random((2, *axes[:masked])) < 0.5
        mask[:, 0] = True
        full = np.broadcast_to(
            mask.reshape(2, *axes[:masked], *[1] * (rank - 2 - masked)), (2, *axes)
        )
        x = random((2, *axes, 20))
        x = np.where(full[..., None], x, 30).astype("float32")
        gates, output = expected(layer, x, full)
        first = data_format == "channels_first"
        inputs = np.moveaxis(x, -1, 1) if first else x
        y = np.asarray(layer(inputs, mask=mask))
        y, found = (np.moveaxis(y, 1, -1) if first else y), np.asarray(layer.gates(inputs, mask))
        scale = np.abs(gates).max()
        np.testing.assert_allclose(found, gates, rtol=0, atol=TOLERANCE * scale)
        np.testing.assert_allclose(y[full], output[full], rtol=0, atol=1e-5)


MASKED = {
    "Masking": lambda x: keras.layers.Masking(0.0)(x),
    "Embedding": lambda x: keras.layers.Embedding(20, 20, mask_zero=True)(x),
}


@pytest.mark.parametrize("squeeze", ["avg", "max"])
@pytest.mark.parametrize("kind", MASKED)
@pytest.mark.filterwarnings("error:.*mask:UserWarning")
def test_behind_a_mask(kind, squeeze, tmp_path):
    """The squeeze is that of GlobalAveragePooling1D; the mask goes on."""
    ids = np.random.default_rng(0).integers(1, 20, (3, 9))
    ids[0, 4:] = ids[1, 2:] = 0
    x = ids if kind == "Embedding" else random((3, 9, 20)) * (ids > 0)[..., None]
    inputs = keras.Input((None,) if kind == "Embedding" else (None, 20))
    features = MASKED[kind](inputs)
    layer = SqueezeExcite(4, squeeze=squeeze)
    excited = layer(features)
    pooled = keras.layers.GlobalAveragePooling1D()
    model = keras.Model(inputs, [features, excited, pooled(features), pooled(excited)])
    for weight in layer.weights:
        weight.assign(random(weight.shape))
    maps, y, mean, last = (np.asarray(a) for a in model.predict(x, verbose=0))
    gates, output = expected(layer, maps, ids > 0)
    np.testing.assert_allclose(y, output, rtol=0, atol=1e-5)
    np.testing.assert_allclose(layer.gates(maps, ids > 0), gates, rtol=0, atol=1e-5)
    np.testing.assert_allclose(last, mean * gates, rtol=0, atol=1e-5)
    assert np.abs(gates - expected(layer, maps)[0]).max() > 1e-3, "the mask makes no difference"
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0)[1], y)


def test_a_sequence_of_padding_only_is_finite():
    x, mask = random((2, 5, 20)), np.array([[True] * 5, [False] * 5])
    for squeeze in ("avg", "max"):
        layer = built(20, 3, ratio=4, squeeze=squeeze)
        gates = np.asarray(layer.gates(x, mask))
        expanded = expected(layer, np.zeros((1, 5, 20)))[0]
        np.testing.assert_allclose(gates[1:], expanded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(2,), (2, 7, 6, 20)])
def test_mask_of_another_rank(shape):
    with pytest.raises(ValueError, match=r"`mask` must have the shape \(batch, \*spatial\)"):
        built(20, ratio=4).gates(random((2, 7, 6, 20)), np.ones(shape, bool))


@pytest.mark.parametrize(("channels", "ratio"), [(1, 16), (8, 16), (15, 16), (8, 1000)])
def test_fewer_channels_than_the_ratio(channels, ratio):
    layer, x = built(channels, ratio=ratio), random((2, 7, 6, channels))
    assert layer.reduce_kernel.shape == (channels, 1)
    np.testing.assert_allclose(layer(x), expected(layer, x)[1], rtol=0, atol=1e-5)


OPTIONS = {
    "ratio": 4,
    "squeeze": None,
    "gate": "tanh",
    "activation": "silu",
    "use_bias": False,
    "hidden_units": 7,
    "data_format": "channels_first",
}


@pytest.mark.parametrize("options", [{}, *({name: value} for name, value in OPTIONS.items())])
def test_round_trips(options, tmp_path):
    layer = SqueezeExcite(**options, name="excited")
    again = SqueezeExcite.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    for name, value in options.items():
        stored = again.get_config()[name]
        assert stored == value

    inputs = keras.Input((20, 8, 20))
    model = keras.Model(inputs, layer(inputs))
    x = random((2, 20, 8, 20))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert isinstance(loaded.layers[-1], SqueezeExcite)


def test_activation_may_be_a_callable():
    x = random((2, 7, 6, 20))
    named = built(20, ratio=4, activation="silu")
    called = built(20, ratio=4, activation=keras.activations.silu)
    np.testing.assert_array_equal(named(x), called(x))
    assert np.abs(np.asarray(named(x)) - np.asarray(built(20, ratio=4)(x))).max() > 1e-3


def test_gates_of_a_layer_that_was_not_called_yet():
    layer = SqueezeExcite(4)
    assert layer.gates(random((2, 7, 6, 20))).shape == (2, 20)
    assert len(layer.weights) == 4


def test_config_takes_lists_of_stages_and_numpy_integers():
    config = SEConfig(ratio=np.int64(8), stages=[2, np.int32(3)])
    assert config == SEConfig(ratio=8, stages=(2, 3))
    assert hash(config) == hash(SEConfig(ratio=8, stages=(2, 3)))
    assert keras_se.SEConfig().ratio == 16
