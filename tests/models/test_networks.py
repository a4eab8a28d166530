"""What every network must do, parametrised over the list of builders."""

import inspect
import re

import golden
import keras
import numpy as np
import pytest
from every_network import DEEPER, NAMES, VARIANTS, smallest
from places import GOLDEN
from quick_cases import marked
from reference import trained_like

import keras_se
from keras_se.weights.variable_file import named_variables, write_variables

QUICK = {"SEMobileNet", "SEResNet18", "SEResNet20", "SEShuffleNet", "SEVGG16", "SEWRN16x8"}
# With these one of each family.
SLOWER_FAMILIES = {
    "SEBNInception", "SEDenseNet121", "SEInceptionResNetV2", "SEInceptionV3", "SEPreResNet110",
    "SEResNeXt50", "SEShakeShake26",
}  # fmt: skip


NETWORKS = marked(NAMES, QUICK)
# Height and width that give feature maps of more than one position, by the smallest ones.
SMALL = {8: 32, 32: 64, 75: 107}
# Saving and loading must not change a bit; the same graph is run twice.
EXACT = 0.0
# Of a probability: a graph may compute sums in another order.
COMPILED_TOLERANCE = 1e-5
# bfloat16 keeps 8 bits, a rounding of 0.4 %; up to 164 layers add theirs.
BFLOAT16_TOLERANCE = 0.1


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


def small(name):
    """Height and width small enough to run every network quickly."""
    return SMALL[smallest(name)]


def build(name, weights=None, **options):
    return getattr(keras_se, name)(weights=weights, variant=VARIANTS.get(name), **options)


def pictures(size, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3)).astype("float32")


@pytest.mark.parametrize("name", marked([*NAMES, *DEEPER], QUICK | SLOWER_FAMILIES))
def test_name_and_variables_are_those_of_the_golden_list(name):
    model = getattr(keras_se, name)(weights=None)
    assert golden.listing(model) == golden.golden(name).read_text("utf-8")
    default = inspect.signature(getattr(keras_se, name)).parameters["name"].default
    assert model.name == default
    assert default.replace("_", "") == name.lower()


def test_golden_lists_are_of_existing_networks():
    assert {path.stem for path in GOLDEN.iterdir()} == {*NAMES, *DEEPER}


def test_quick_networks_exist():
    assert set(NAMES) > QUICK | SLOWER_FAMILIES


@pytest.mark.parametrize("name", [*NAMES, *DEEPER])
def test_fewest_channels_of_each_stage(name):
    """What the description says is what the network has."""
    found = {}
    for line in golden.golden(name).read_text("utf-8").splitlines():
        if "_se" in line and "/reduce_kernel " in line:
            stage = int(re.match(r"(?:stage|transition)(\d)", line)[1])
            channels = int(line.split(" ")[1])
            found[stage] = min(channels, found.get(stage, channels))
    assert getattr(keras_se, name).network.narrowest(keras_se.SEConfig()) == found


@pytest.mark.parametrize("name", NETWORKS)
def test_variable_names_do_not_depend_on_what_was_built_before(name):
    with keras.name_scope("outer"):
        model = getattr(keras_se, name)(weights=None)
    lines = golden.golden(name).read_text("utf-8").splitlines()
    assert list(named_variables(model)) == [line.split(" ")[0] for line in lines]


@pytest.mark.parametrize("name", NETWORKS)
def test_saves_and_loads(name, tmp_path):
    size = small(name)
    model = trained_like(build(name, input_shape=(size, size, 3), classes=7), seed=1)
    x = pictures((size, size))
    expected = model(x)
    assert expected.shape == (2, 7)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x), expected, rtol=0, atol=EXACT)

    model.save_weights(tmp_path / "model.weights.h5")
    path = tmp_path / "model.weights.h5"
    restored = build(name, weights=path, input_shape=(size, size, 3), classes=7)
    np.testing.assert_allclose(restored(x), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_training_step_reaches_every_trainable_variable(name):
    import tensorflow as tf

    size = small(name)
    model = trained_like(build(name, input_shape=(size, size, 3), classes=7), seed=2)
    for layer in model.layers:
        if isinstance(layer, keras_se.SqueezeExcite):
            # No hidden unit is dead: some blocks have a single one.
            layer.reduce_bias.assign(np.full(layer.reduce_bias.shape, 3, "float32"))
    before = model.get_weights()
    x, y = pictures((size, size), count=4), np.array([0, 1, 2, 3])
    with tf.GradientTape() as tape:
        loss = keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(y, model(x, training=True))
        )
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path

    # Adam's steps are of one size: none is lost in the rounding of a large value.
    keras.optimizers.Adam().apply(gradients, model.trainable_variables)
    for variable, old, new in zip(model.weights, before, model.get_weights(), strict=True):
        assert (new != old).any(), variable.path


@pytest.mark.parametrize("name", NETWORKS)
def test_dynamic_height_and_width(name):
    model = trained_like(build(name, input_shape=(None, None, 3), classes=7), seed=4)
    assert model.input_shape == (None, None, None, 3)
    size = small(name) + 1, small(name) - 17
    fixed = build(name, input_shape=(*size, 3), classes=7)
    fixed.set_weights(model.get_weights())
    x = pictures(size)
    np.testing.assert_allclose(model(x), fixed(x), rtol=0, atol=EXACT)

    import tensorflow as tf

    # Its shapes are unknown in the graph, too.
    compiled = tf.function(model, input_signature=[tf.TensorSpec(model.input_shape)])
    for shape in (size, (smallest(name), smallest(name) + 8)):
        x = pictures(shape)
        np.testing.assert_allclose(compiled(x), model(x), rtol=0, atol=COMPILED_TOLERANCE)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_head(name):
    size = small(name)
    model = build(name, include_top=False)
    channels = model.output_shape[-1]
    assert model.output_shape == (None, None, None, channels)
    features = model(pictures((size, size)))
    assert features.shape == (2, *features.shape[1:3], channels)
    assert features.shape[1] == (8 if size == 32 else 2)
    for pooling, pool in (("avg", np.mean), ("max", np.max)):
        pooled = build(name, include_top=False, pooling=pooling)
        assert pooled.output_shape == (None, channels)
        pooled.set_weights(model.get_weights())
        np.testing.assert_allclose(
            pooled(pictures((size, size))), pool(features, axis=(1, 2)), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_mixed_bfloat16(name):
    size = small(name)
    x = pictures((size, size))
    options = {"input_shape": (size, size, 3), "classes": 7, "classifier_activation": None}
    model = trained_like(build(name, **options), seed=3)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = build(name, **options)
    half.set_weights(model.get_weights())
    first = getattr(keras_se, name).network.first_convolution
    assert half.get_layer(first).compute_dtype == "bfloat16"
    logits, expected = half(x), np.asarray(model(x))
    assert logits.dtype == "float32"
    tolerance = BFLOAT16_TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "name",
    [
        "SEResNet20",
        pytest.param("SEResNeXt50", marks=pytest.mark.networks),
        pytest.param("SEShuffleNet", marks=pytest.mark.networks),
    ],
)
def test_trains_in_mixed_bfloat16(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build(name, input_shape=(32, 32, 3), classes=7)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    before = model.get_weights()
    loss = model.fit(pictures((32, 32)), np.array([0, 1]), verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    changed = [(new != old).any() for new, old in zip(model.get_weights(), before, strict=True)]
    assert np.mean(changed) > 0.9


@pytest.mark.parametrize("name", NETWORKS)
def test_plain_twin_differs_in_squeeze_and_excitation_only(name):
    plain, with_se = build(name, se=None), build(name)
    blocks = {layer.name for layer in with_se.layers if isinstance(layer, keras_se.SqueezeExcite)}
    names = {layer.name for layer in with_se.layers if layer.weights}
    assert blocks
    assert {layer.name for layer in plain.layers if layer.weights} == names - blocks
    assert len(plain.layers) == len(with_se.layers) - len(blocks)


@pytest.mark.parametrize("name", NETWORKS)
def test_input_tensor(name):
    size = small(name)
    inputs = keras.Input((size, size, 3), name="picture")
    model = build(name, input_tensor=keras.layers.Rescaling(255.0)(inputs), classes=7)
    assert model.inputs[0] is inputs
    assert model(pictures((size, size)) / 255).shape == (2, 7)


@pytest.mark.parametrize("name", NETWORKS)
def test_own_weights_file_is_placed_by_name(name, tmp_path):
    from keras_se.weights.variable_file import place_variables, read_variables

    model, other = build(name, include_top=False), build(name)
    write_variables(other, tmp_path / "weights.h5")
    head = {layer.name for layer in other.layers} - {layer.name for layer in model.layers}
    place_variables(model, read_variables(tmp_path / "weights.h5"), unused=tuple(head))
    source = named_variables(other)
    for path, variable in named_variables(model).items():
        np.testing.assert_array_equal(variable, source[path])


def test_sizes_may_be_numpy_integers():
    size = np.int64(20)
    model = build("SEResNet20", input_shape=(size, size, 3), classes=np.int32(7))
    assert model(pictures((20, 20))).shape == (2, 7)
