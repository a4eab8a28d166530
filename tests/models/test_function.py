"""The networks compute what the papers say: every block against `reference`, in float64."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from reference import evaluate, noise_pictures, normalise, trained_like

import keras_se
from keras_se import SEConfig
from keras_se.models import ResidualNetwork
from keras_se.weights.variable_file import named_variables

# Of a block's largest activation. Float32 has 6e-8; the networks here add that up to 3e-6.
TOLERANCE = 1e-5
# Of a normalised pixel, a few units in size: one subtraction and one division in float32.
PIXEL_TOLERANCE = 1e-6

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# Odd before every pool and stride of the stem and of the stages.
LARGE = ((64, 64), (69, 45))
SMALL = ((16, 16), (17, 27))

# Table 1, Sections 6.4 and 6.5 and the released definitions. Every field is stated: a wrong default
# of the package has nothing to hide behind.
RESNET18 = ResidualNetwork(
    blocks=(2, 2, 2, 2), widths=(64, 128, 256, 512), bottleneck=False, groups=1, base_width=64,
    reduce_divisor=1, stem_widths=(64,), stem_kernel=7, stem_stride=2, stem_pool="ceil",
    stride_on="1x1", shortcut="1x1", preactivation=False, antialias=False, hidden_divisor=None,
    relu_before_se=False, dropout=0.0,
)  # fmt: skip
RESNET50 = replace(RESNET18, blocks=(3, 4, 6, 3), bottleneck=True)
RESNEXT50 = replace(RESNET50, groups=32, base_width=4, stride_on="3x3")
SENET154 = replace(
    RESNEXT50, blocks=(3, 8, 36, 3), groups=64, reduce_divisor=2, stem_widths=(64, 64, 128),
    shortcut="3x3", dropout=0.2,
)  # fmt: skip
RESNET_RS50 = replace(
    RESNET50, stem_widths=(32, 32, 64), stem_pool="conv", stride_on="3x3", shortcut="average_pool",
)  # fmt: skip
RESNET20 = replace(
    RESNET18, blocks=(3, 3, 3), widths=(16, 32, 64), stem_widths=(16,), stem_kernel=3,
    stem_stride=1, stem_pool=None,
)  # fmt: skip
PRERESNET110 = replace(RESNET20, blocks=(18, 18, 18), preactivation=True, shortcut="zero_pad")
PRERESNET164 = replace(PRERESNET110, bottleneck=True, shortcut="1x1")
WRN16X8 = replace(PRERESNET110, blocks=(2, 2, 2), widths=(128, 256, 512), shortcut="1x1")

NETWORKS = {
    "SEResNet18": (RESNET18, IMAGENET, LARGE),
    "SEResNet50": (RESNET50, IMAGENET, LARGE),
    "SEResNeXt50": (RESNEXT50, IMAGENET, LARGE),
    "SENet154": (SENET154, IMAGENET, LARGE),
    "SEResNetRS50": (RESNET_RS50, IMAGENET, LARGE),
    "SEResNet20": (RESNET20, CIFAR, SMALL),
    "SEPreResNet110": (PRERESNET110, CIFAR, SMALL),
    "SEPreResNet164": (PRERESNET164, CIFAR, SMALL),
    "SEWRN16x8": (WRN16X8, CIFAR, SMALL),
}
PAPER = SEConfig(
    ratio=16, squeeze="avg", gate="sigmoid", activation="relu", use_bias=True,
    placement="standard", stages=None,
)  # fmt: skip
# Two stages: the first with a change of width, the second with a change of resolution too.
SHORT = {"blocks": (2, 2), "widths": (32, 64)}
ONE_EACH = {"blocks": (1, 2, 1, 1)}


def deviations(name, classes=7, **arguments):
    """Deviation of every block, of its largest activation, at an even and at an odd size."""
    net, (mean, std), sizes = NETWORKS[name]
    net = replace(net, **arguments.get("variant", {}))
    se = arguments.get("se", PAPER)
    builder = getattr(keras_se, name)
    model = builder(weights=None, input_shape=(None, None, 3), classes=classes, **arguments)
    trained_like(model, seed=1)
    weights = {key: variable.numpy() for key, variable in named_variables(model).items()}
    found = {}
    for size in sizes:
        pictures = noise_pictures(2, *size)
        expected = dict(evaluate(net, se, weights, normalise(pictures, mean, std)))
        blocks = keras.Model(model.input, {key: model.get_layer(key).output for key in expected})
        received = blocks(pictures.astype("float32"))
        for key, array in expected.items():
            assert tuple(received[key].shape) == array.shape, (size, key)
            found[size, key] = np.abs(received[key] - array).max() / np.abs(array).max()
    return found


def assert_equal_to_reference(*args, **kwargs):
    wrong = {key: n for key, n in deviations(*args, **kwargs).items() if not n < TOLERANCE}
    assert not wrong


@pytest.mark.parametrize(
    ("name", "variant", "classes"),
    [
        ("SEResNet18", {}, 7),
        ("SEResNet50", {}, 1000),
        ("SEResNeXt50", ONE_EACH, 7),
        ("SENet154", ONE_EACH, 7),
        ("SEResNet20", {}, 10),
        ("SEPreResNet110", {}, 10),
        ("SEPreResNet164", {"blocks": (2, 2, 2)}, 10),
        ("SEWRN16x8", {}, 7),
    ],
)
def test_network(name, variant, classes):
    assert_equal_to_reference(name, classes, variant=variant)


def test_network_with_another_ratio():
    """ResNet-RS has a default of its own; its stem's pool is a convolution."""
    assert_equal_to_reference("SEResNetRS50", se=replace(PAPER, ratio=4), variant=ONE_EACH)
    assert keras_se.SEResNetRS50.defaults.se == replace(PAPER, ratio=4)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("SEResNet50", {"stem_pool": "pad1"}),
        ("SEResNet50", {"stem_pool": "conv"}),
        ("SEResNet50", {"stem_pool": "average"}),
        ("SEResNet50", {"stem_widths": (16, 24, 32)}),
        ("SEResNet50", {"stride_on": "3x3"}),
        ("SEResNet50", {"shortcut": "3x3"}),
        ("SEResNet50", {"shortcut": "average_pool"}),
        ("SEResNet50", {"shortcut": "zero_pad"}),
        (
            "SEResNet50",
            {
                "antialias": True,
                "stem_pool": "average",
                "stride_on": "3x3",
                "shortcut": "average_pool",
            },
        ),
        ("SEResNeXt50", {"groups": 8, "base_width": 32}),
        ("SEResNet18", {"antialias": True}),
        ("SEResNet18", {"relu_before_se": True}),
        # 64 and 192 channels: 8 and 16 hidden units, where `channels // 16` is 4 and 12.
        ("SEResNet18", {"hidden_divisor": 8, "widths": (64, 192)}),
        ("SEResNet20", {"shortcut": "zero_pad"}),
        ("SEResNet20", {"bottleneck": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_variant(name, variant):
    assert_equal_to_reference(name, variant={**SHORT, **variant})


@pytest.mark.parametrize("placement", ["pre", "post", "identity", "conv3x3"])
@pytest.mark.parametrize("name", ["SEResNet18", "SEResNet50", "SEPreResNet110", "SEPreResNet164"])
def test_placement(name, placement):
    assert_equal_to_reference(name, se=SEConfig(placement=placement), variant=SHORT)


@pytest.mark.parametrize(
    "settings",
    [
        {"ratio": 4},
        {"squeeze": "max"},
        {"squeeze": None},
        {"gate": "tanh"},
        {"gate": "relu"},
        {"gate": "hard_sigmoid"},
        {"activation": "tanh"},
        {"use_bias": False},
        {"stages": (3,)},
        {"stages": (2,), "placement": "post"},
    ],
    ids=str,
)
def test_squeeze_excite_settings(settings):
    assert_equal_to_reference("SEResNet50", se=SEConfig(**settings), variant=SHORT)


@pytest.mark.parametrize("name", ["SEResNet18", "SEResNet50", "SEPreResNet110"])
def test_plain_twin(name):
    assert_equal_to_reference(name, se=None, variant=SHORT)


@pytest.mark.parametrize("name", ["SEResNet50", "SEResNet20"])
def test_preprocessing(name):
    mean, std = (np.array(values) for values in NETWORKS[name][1])
    model = getattr(keras_se, name)(weights=None, input_shape=(None, None, 3), variant=SHORT)
    normalised = keras.Model(model.input, model.get_layer("normalization").output)
    picture = np.ones((1, 32, 32, 1)) * (mean + std) * 255
    np.testing.assert_allclose(normalised(picture.astype("float32")), 1, atol=PIXEL_TOLERANCE)
    red = np.full((1, 32, 32, 3), (255, 0, 0), "uint8")
    expected = np.broadcast_to((np.array((1, 0, 0)) - mean) / std, red.shape)
    np.testing.assert_allclose(normalised(red), expected, atol=PIXEL_TOLERANCE)


def test_input_types():
    """uint8 and float pictures give the same, and it is what the reference gives."""
    model = trained_like(keras_se.SEResNet20(weights=None, variant=SHORT), seed=3)
    weights = {key: variable.numpy() for key, variable in named_variables(model).items()}
    pictures = noise_pictures(2, 32, 32)
    predictions = model.predict(pictures, verbose=0)
    np.testing.assert_array_equal(model.predict(pictures.astype("float32"), verbose=0), predictions)
    *_, (_, expected) = evaluate(
        replace(RESNET20, **SHORT), PAPER, weights, normalise(pictures, *CIFAR)
    )
    np.testing.assert_allclose(predictions, expected, atol=TOLERANCE)
    bare = keras_se.SEResNet20(weights=None, variant=SHORT, include_preprocessing=False)
    trained_like(bare, seed=3)
    normalised = normalise(pictures, *CIFAR).astype("float32")
    np.testing.assert_allclose(bare.predict(normalised, verbose=0), expected, atol=TOLERANCE)
