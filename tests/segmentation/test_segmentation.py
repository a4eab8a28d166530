"""`keras_se.UNet` and `keras_se.FPN`: the class of every pixel, on any network of the package."""

import keras
import numpy as np
import pytest
from every_network import FOR_IMAGENET, SHALLOWEST
from quick_cases import marked
from reference import trained_like

import keras_se
from keras_se.segmentation._levels import feature_levels

# Deeper and slower networks run with `tox -e networks`.
QUICK = {*SHALLOWEST} - {
    "SEBNInception", "SEInceptionResNetV2", "SEInceptionV3", "SEResNetRS50", "SEVGG16",
}  # fmt: skip
HEADS = {"unet": keras_se.UNet, "fpn": keras_se.FPN}
NARROW = {"unet": {"decoder_filters": (16, 8, 8, 8, 8)},
          "fpn": {"pyramid_filters": 16, "segmentation_filters": 8}}  # fmt: skip
# The same operations on the same values.
EXACT = 0.0
# Reordered float32 sums in logits of the order of ten, whose probabilities are compared.
ROUNDING = 1e-4
# Convolutions with BatchNorm folded in, over some forty layers, as `export` allows.
FOLDED = 1e-3
# Share of pixels whose last ReLUs are all off, so that they tell nothing; a row is a hundredth.
RARE = 1e-3
# The softmax of float32 logits sums to one but for rounding.
SUM = 1e-5


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


def backbone(size=(None, None), **options):
    return keras_se.SEResNet18(
        **{"include_top": False, "weights": None, "input_shape": (*size, 3), **options}
    )


def small(head, classes=3, network=None, **options):
    network = backbone() if network is None else network
    return HEADS[head](network, classes, **{**NARROW[head], **options})


def pictures(height=64, width=64, channels=3, count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, height, width, channels))


def decoder_weights(model, network):
    own = {id(weight) for weight in network.weights}
    return sum(int(np.prod(w.shape)) for w in model.weights if id(w) not in own)


@pytest.mark.parametrize("attention", [None, "se", "scse"])
def test_parameters_of_the_unet(attention):
    """Two 3x3 convolutions and BatchNorms (4 values a channel) a block, the blocks' attention."""
    network, classes, filters = backbone(), 5, (256, 128, 64, 32, 16)
    # SE-ResNet-18: stages 5 to 2 and the stem.
    channels, skips = 512, (256, 128, 64, 64, 0)
    expected = 0

    def squeeze_excite(width):
        hidden = max(1, width // 16)
        gate = 2 * width * hidden + hidden + width
        return {None: 0, "se": gate, "scse": gate + width + 1}[attention]

    for count, skip in zip(filters, skips, strict=True):
        joined = channels + skip
        expected += 9 * joined * count + 9 * count * count + 2 * 4 * count
        expected += squeeze_excite(count) + (squeeze_excite(joined) if skip else 0)
        channels = count
    expected += channels * classes + classes
    model = keras_se.UNet(network, classes, attention=attention)
    assert decoder_weights(model, network) == expected


def test_parameters_of_the_fpn():
    network, classes, pyramid, segment = backbone(), 5, 256, 128
    expected = sum(width * pyramid + pyramid for width in (64, 128, 256, 512))
    expected += 4 * (9 * pyramid * segment + 9 * segment * segment + 2 * 4 * segment)
    expected += segment * classes + classes
    assert decoder_weights(keras_se.FPN(network, classes), network) == expected


@pytest.mark.parametrize("head", HEADS)
def test_the_mask_has_the_pictures_size(head):
    """Sizes that are multiples of the stride, and odd ones; the same network of a known size."""
    model = small(head)
    assert model.output_shape == (None, None, None, 3)
    for height, width in ((64, 64), (65, 97), (40, 33)):
        x = pictures(height, width)
        y = np.asarray(model(x))
        assert y.shape == (2, height, width, 3)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.sum(-1), 1, rtol=0, atol=SUM)
        fixed = small(head, network=backbone((height, width)))
        fixed.set_weights(model.get_weights())
        assert fixed.output_shape == (None, height, width, 3)
        np.testing.assert_allclose(fixed(x), y, rtol=0, atol=ROUNDING)
        # From the second size on Keras' graph has none.
        np.testing.assert_allclose(model.predict(x, verbose=0), y, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", marked(FOR_IMAGENET, QUICK))
def test_every_backbone(name):
    network = getattr(keras_se, name)(include_top=False, weights=None)
    model = small("unet", network=network)
    assert np.asarray(model(pictures(97, 130, count=1))).shape == (1, 97, 130, 3)
    # The stem's maps, at half of the picture's size.
    skips = [layer.name for layer in model.layers if layer.name.endswith("_skip")]
    assert skips == [f"decoder{n}_skip" for n in (1, 2, 3, 4)]


def test_skips_are_the_outputs_of_the_stages():
    model = small("unet")
    joined = [model.get_layer(f"decoder{n}_skip").input[1] for n in (1, 2, 3, 4)]
    names = [x._keras_history.operation.name for x in joined]
    pyramid = keras_se.feature_pyramid(backbone()).output
    levels = [pyramid[level]._keras_history.operation.name for level in ("P4", "P3", "P2")]
    assert names == [*levels, "stem_relu"]


@pytest.mark.parametrize("head", HEADS)
def test_a_backbone_with_its_head_and_one_from_a_file(head, tmp_path):
    network = backbone((64, 64), include_top=True, classes=4)
    x = pictures()
    model = small(head, network=network)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    other = small(head, network=loaded)
    other.set_weights(model.get_weights())
    np.testing.assert_allclose(other(x), model(x), rtol=0, atol=EXACT)


@pytest.mark.parametrize("head", HEADS)
def test_saving_and_loading(head, tmp_path):
    model = small(head, **({"attention": "scse"} if head == "unet" else {}))
    x, path = pictures(65, 97), tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    np.testing.assert_allclose(loaded(x), model(x), rtol=0, atol=EXACT)
    assert keras_se.get_model(path).output_shape == model.output_shape
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = small(head, **({"attention": "scse"} if head == "unet" else {}))
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(fresh(x), model(x), rtol=0, atol=EXACT)


@pytest.mark.parametrize("head", HEADS)
def test_description(head):
    known = keras_se.describe(small(head))
    assert known.answers == "probabilities"
    assert known.normalises
    assert known.channels == 3
    assert keras_se.describe(small(head, classifier_activation=None)).answers == "values"
    single = small(head, 1, classifier_activation="sigmoid")
    assert keras_se.describe(single).answers == "independent probabilities"


@pytest.mark.parametrize("head", HEADS)
def test_trainable(head):
    network = backbone()
    network.trainable = False
    model = small(head, network=network)
    own = {id(weight) for weight in network.weights}
    assert model.trainable_weights
    assert not [w for w in model.trainable_weights if id(w) in own]
    network.trainable = True
    assert [w for w in model.trainable_weights if id(w) in own]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(head, channels):
    network = backbone(input_shape=(None, None, channels))
    y = small(head, network=network)(pictures(64, 65, channels))
    assert y.shape == (2, 64, 65, 3)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(97,), (64, 97)])
def test_channels_first(head, size):
    """Maps of every layer have channels first; the mask still ends in its classes."""
    last = trained_like(small(head, network=backbone(size)), 0)
    x = np.random.default_rng(0).uniform(0, 255, (2, *size, 3))
    keras.config.set_image_data_format("channels_first")
    first = small(head, network=backbone(input_shape=(3, *size)))
    assert first.output_shape == (None, *size, 3)
    first.set_weights(last.get_weights())
    y = first(np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(y, last(x), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ["softmax", None])
def test_half_precision_gives_float32(head, activation):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = small(head, classifier_activation=activation)
    assert model.output.dtype == "float32"
    assert np.asarray(model(pictures(33, 64))).dtype == np.float32


@pytest.mark.parametrize("head", HEADS)
def test_fused(head):
    model = trained_like(small(head, **({"attention": "scse"} if head == "unet" else {})), 0)
    x = pictures(65, 97)
    fused = keras_se.fuse(model)
    assert not [n for n in fused.layers if isinstance(n, keras.layers.BatchNormalization)]
    np.testing.assert_allclose(fused(x), model(x), rtol=0, atol=FOLDED)


def test_cost_and_excitations():
    model = small("unet", attention="se")
    cost = keras_se.cost(model, input_shape=(64, 64, 3))
    # The last convolution, its input has as many channels.
    assert next(row.macs for row in cost.layers if row.name == "decoder5_2_conv") == 64 * 64 * 576
    found = keras_se.excitations(model, pictures(), labels=np.zeros(2, int))
    decoder = [block for block in found.blocks if block.startswith("decoder1")]
    assert decoder == ["decoder1_attention1", "decoder1_attention2"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decoder_filters": (8,) * 4}, "`decoder_filters` must be 5 integers of at least 1"),
        ({"decoder_filters": (8, 8, 8, 8, 0)}, "`decoder_filters` must be 5 integers"),
        ({"decoder_filters": 8}, "`decoder_filters` must be 5 integers"),
        ({"attention": "cbam"}, "`attention` must be one of"),
        ({"attention": ["se"]}, "`attention` must be one of"),
        ({"classes": 0}, "`classes` must be an integer of at least 1"),
        ({"classes": 1}, "`classifier_activation` must be 'sigmoid' or None with one class"),
        ({"classifier_activation": "sofmax"}, "`classifier_activation` must be"),
        ({"backbone": None}, "`backbone` must be a functional network"),
        ({"backbone": "SEResNet18"}, "`backbone` must be a functional network"),
    ],
)
def test_bad_arguments_of_the_unet(options, expected):
    arguments = {"backbone": None, "classes": 3, **options}
    if "backbone" not in options:
        arguments["backbone"] = backbone()
    with pytest.raises(ValueError, match=expected) as error:
        keras_se.UNet(**arguments)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 300


@pytest.mark.parametrize("option", ["pyramid_filters", "segmentation_filters"])
def test_bad_arguments_of_the_fpn(option):
    with pytest.raises(ValueError, match=f"`{option}` must be an integer of at least 1"):
        keras_se.FPN(backbone(), 3, **{option: 0})


@pytest.mark.parametrize("head", HEADS.values())
def test_backbones_without_the_stages(head):
    with pytest.raises(ValueError, match=r"`backbone` must be.* with stages .2, 3, 4.") as error:
        head(keras_se.SEResNet20(weights=None), 3)
    assert "\n" not in str(error.value)
    wrong = backbone(variant={"stem_pool": None})
    with pytest.raises(ValueError, match=r"`backbone` must have its stages.*stage 2 at") as error:
        head(wrong, 3)
    assert "\n" not in str(error.value)


@pytest.mark.training
def test_it_learns_bright_and_dark():
    """Two classes of pixels that only their brightness tells apart."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    masks = np.kron(random.integers(0, 2, (8, 4, 4)), np.ones((1, 8, 8), int))
    x = (60 + 120 * masks)[..., None] + random.normal(0, 10, (8, 32, 32, 3))
    model = small("unet", 2)
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    before = float(model.evaluate(x, masks, verbose=0))
    model.fit(x, masks, batch_size=4, epochs=6, verbose=0)
    losses = model.fit(x, masks, batch_size=4, epochs=1, verbose=0).history["loss"]
    assert losses[0] < before / 2


def simple(size, channels=2, unpadded=0):
    """A backbone of one layer a stage, after some unpadded ones at half of the size."""
    shape = (*size, channels)
    if keras.config.image_data_format() == "channels_first":
        shape = (channels, *size)
    inputs = x = keras.Input(shape)
    kind = getattr(keras.layers, f"Conv{len(size)}D")
    for stage in range(1, 6):
        name = f"stage{stage}_conv" if stage > 1 else "stem_conv"
        x = kind(4, 3, strides=2, padding="same", activation="elu", name=name)(x)
        for number in range(unpadded if stage == 1 else 0):
            x = kind(4, 3, activation="elu", name=f"stem_conv{number + 2}")(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("size", [(75,), (64, 75), (33, 40, 64)])
@pytest.mark.parametrize("head", HEADS)
def test_unpadded_convolutions(head, size, data_format, known):
    """The maps lack a border, but the masks do not: every pixel answers for a place in the picture.

    Those that are too far outside get the answer of the outermost ones.
    """
    keras.config.set_image_data_format(data_format)
    network = simple(size if known else (None,) * len(size), unpadded=2)
    model = trained_like(small(head, network=network, classifier_activation=None), 0)
    x = np.random.default_rng(0).normal(0, 1, (2, *size, 2))
    x = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    y = model.predict(x, verbose=0)
    assert y.shape == (2, *size, 3)
    # All units of a pixel's ReLUs may be off, but hardly ever.
    assert (y[0] == y[1]).all(-1).mean() < RARE
    if head == "fpn":
        logits = keras.Model(model.inputs, model.get_layer("logits_up").output)
        inside = logits.predict(x, verbose=0)
        missing = [n - m for n, m in zip(size, inside.shape[1:-1], strict=True)]
        assert min(missing) > 0
        sides = [(m // 2, m - m // 2) for m in missing]
        expected = np.pad(inside, ((0, 0), *sides, (0, 0)), "edge")
        np.testing.assert_allclose(y, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(head, rank):
    """On signals and volumes of an odd, unknown size."""
    network = simple([None] * rank)
    model = small(head, network=network, **({"attention": "scse"} if head == "unet" else {}))
    size = {1: (75,), 3: (33, 40, 64)}[rank]
    y = np.asarray(model(np.random.default_rng(0).random((2, *size, 2))))
    assert y.shape == (2, *size, 3)
    np.testing.assert_allclose(y.sum(-1), 1, rtol=0, atol=SUM)


@pytest.mark.parametrize("length", [9, 16, 17, 20, 24])
def test_the_stem_of_short_signals_is_at_half(length):
    """Not the pool behind it, which is only some steps shorter."""
    network = keras_se.SEResNet18(include_top=False, weights=None, input_shape=(length, 2))
    assert feature_levels(network)[1].shape[1] == -(-length // 2)


@pytest.mark.parametrize("attention", [None, "scse"])
def test_every_pixel_answers_for_its_own_place(attention):
    """At odd sizes, too: a network whose classes are the brightness of a pixel's own place."""
    size = (37, 51, 1)
    model = small("unet", 2, keras_se.SEResNet18(
        include_top=False, weights=None, input_shape=size, variant={"blocks": (1, 1, 1, 1)},
    ), attention=attention)  # fmt: skip
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = np.zeros((32, *size), "float32")
    for picture in x:
        top, left = random.integers(0, 20), random.integers(0, 30)
        picture[top : top + 17, left : left + 21] = 255
    masks = (x[..., 0] > 0).astype("uint8")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(x, masks, batch_size=8, epochs=12, verbose=0)
    found = model.predict(x, verbose=0).argmax(-1)
    right = {
        (down, along): (np.roll(found, (down, along), (1, 2)) == masks)[:, 2:-2, 2:-2].mean()
        for down in (-1, 0, 1)
        for along in (-1, 0, 1)
    }
    assert max(right, key=right.get) == (0, 0), right


@pytest.mark.parametrize("size", [(97, 2), (33, 40, 32, 1)])
def test_networks_for_signals_and_volumes(size):
    network = keras_se.SEResNet18(
        include_top=False, weights=None, input_shape=size, variant={"blocks": (1, 1, 1, 1)}
    )
    model = small("unet", 2, network, attention="se")
    assert model.output_shape == (None, *size[:-1], 2)
    assert np.asarray(model(np.ones((1, *size)))).shape == (1, *size[:-1], 2)
