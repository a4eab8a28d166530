"""Exact parameter and multiply-add counts of every network.

The expected figures were counted from the authors' released network definitions; the parameter
columns of the paper's Tables 10, 13 and 15 are these, rounded, with BatchNorm's statistics in them.
A few are also known from other publishers' assertions (osmr, timm), and those agree.
"""

import math
from dataclasses import replace

import keras
import pytest
import tables

import keras_se
from keras_se import SEConfig

# network, variant, base trainable, BatchNorm statistics, SE blocks, SE weights, SE biases,
# base million multiply-adds, the same with SE (fully connected and scaling)
ZERO_PAD, PROJECTION = {"shortcut": "zero_pad"}, {"shortcut": "1x1"}
V15 = {"stride_on": "3x3"}
BOTTLENECK = {"bottleneck": True, "blocks": (18, 18, 18)}
COUNTS = [
    ("SEResNet18", {}, 11_689_512, 9_600, 8, 87_040, 2_040, 1814.07, 1814.91),
    ("SEResNet34", {}, 21_797_672, 17_024, 16, 157_184, 4_012, 3663.76, 3665.30),
    ("SEResNet50", {}, 25_557_032, 53_120, 16, 2_514_944, 16_048, 3857.97, 3866.01),
    ("SEResNet101", {}, 44_549_160, 105_344, 33, 4_743_168, 34_544, 7570.19, 7583.87),
    ("SEResNet152", {}, 60_192_808, 151_424, 50, 6_578_176, 50_864, 11282.42, 11302.14),
    ("SEResNet50", V15, 25_557_032, 53_120, 16, 2_514_944, 16_048, 4089.18, 4097.22),
    ("SEResNet101", V15, 44_549_160, 105_344, 33, 4_743_168, 34_544, 7801.41, 7815.08),
    ("SEResNet152", V15, 60_192_808, 151_424, 50, 6_578_176, 50_864, 11513.63, 11533.35),
    ("SEResNeXt50", {}, 25_028_904, 68_224, 16, 2_514_944, 16_048, 4230.48, 4238.51),
    ("SEResNeXt101", {}, 44_177_704, 137_856, 33, 4_743_168, 34_544, 7970.00, 7983.67),
    ("SENet154", {}, 108_459_944, 247_552, 50, 6_578_176, 50_864, 20681.79, 20701.51),
    ("SEResNet20", ZERO_PAD, 269_722, 1_376, 9, 2_016, 357, 40.55, 40.64),
    ("SEResNet20", {}, 272_474, 1_568, 9, 2_016, 357, 40.81, 40.90),
    ("SEResNet32", ZERO_PAD, 464_154, 2_272, 15, 3_360, 595, 68.86, 69.01),
    ("SEResNet32", {}, 466_906, 2_464, 15, 3_360, 595, 69.12, 69.27),
    ("SEResNet44", ZERO_PAD, 658_586, 3_168, 21, 4_704, 833, 97.17, 97.38),
    ("SEResNet44", {}, 661_338, 3_360, 21, 4_704, 833, 97.44, 97.64),
    ("SEResNet56", ZERO_PAD, 853_018, 4_064, 27, 6_048, 1_071, 125.49, 125.75),
    ("SEResNet56", {}, 855_770, 4_256, 27, 6_048, 1_071, 125.75, 126.01),
    ("SEResNet110", ZERO_PAD, 1_727_962, 8_096, 54, 12_096, 2_142, 252.89, 253.42),
    ("SEResNet110", {}, 1_730_714, 8_288, 54, 12_096, 2_142, 253.15, 253.68),
    ("SEPreResNet110", {}, 1_727_962, 8_096, 54, 12_096, 2_142, 252.89, 253.42),
    ("SEPreResNet110", PROJECTION, 1_730_522, 8_096, 54, 12_096, 2_142, 253.15, 253.68),
    ("SEPreResNet164", {}, 1_703_258, 24_224, 54, 193_536, 8_568, 244.50, 246.76),
    ("SEResNet110", BOTTLENECK, 1_704_154, 25_120, 54, 193_536, 8_568, 244.50, 246.76),
    ("SEWRN16x8", {}, 10_961_370, 7_200, 6, 86_016, 1_904, 1548.15, 1548.69),
]
# The same at 100 classes: base trainable, base and SE million multiply-adds.
COUNTS_100 = {
    ("SEResNet20", "zero_pad"): (275_572, 40.56, 40.64),
    ("SEResNet20", None): (278_324, 40.82, 40.91),
    ("SEResNet32", "zero_pad"): (470_004, 68.87, 69.02),
    ("SEResNet32", None): (472_756, 69.13, 69.28),
    ("SEResNet44", "zero_pad"): (664_436, 97.18, 97.39),
    ("SEResNet44", None): (667_188, 97.44, 97.65),
    ("SEResNet56", "zero_pad"): (858_868, 125.49, 125.76),
    ("SEResNet56", None): (861_620, 125.75, 126.02),
    ("SEResNet110", "zero_pad"): (1_733_812, 252.89, 253.42),
    ("SEResNet110", None): (1_736_564, 253.16, 253.68),
    ("SEPreResNet110", None): (1_733_812, 252.89, 253.42),
    ("SEPreResNet110", "1x1"): (1_736_372, 253.16, 253.68),
    ("SEPreResNet164", None): (1_726_388, 244.52, 246.78),
    ("SEWRN16x8", None): (11_007_540, 1548.19, 1548.74),
}


def count(model):
    """Trainable parameters, and all of them."""
    return sum(math.prod(v.shape) for v in model.trainable_variables), model.count_params()


@pytest.mark.parametrize(
    ("name", "variant", "base", "statistics", "blocks", "weights", "biases", "macs", "se_macs"),
    COUNTS,
)
def test_counts(name, variant, base, statistics, blocks, weights, biases, macs, se_macs):
    build = getattr(keras_se, name)
    plain = build(weights=None, variant=variant, se=None)
    with_se = build(weights=None, variant=variant)
    without_biases = build(weights=None, variant=variant, se=SEConfig(use_bias=False))
    assert count(plain) == (base, base + statistics)
    assert count(with_se) == (base + weights + biases, base + statistics + weights + biases)
    assert count(without_biases) == (base + weights, base + statistics + weights)
    assert sum(isinstance(layer, keras_se.SqueezeExcite) for layer in with_se.layers) == blocks
    assert tables.multiply_adds(plain) / 1e6 == pytest.approx(macs, abs=0.0051)
    assert tables.multiply_adds(with_se) / 1e6 == pytest.approx(se_macs, abs=0.0051)


@pytest.mark.parametrize(("name", "shortcut"), COUNTS_100)
def test_counts_at_100_classes(name, shortcut):
    base, macs, se_macs = COUNTS_100[name, shortcut]
    variant = {"shortcut": shortcut} if shortcut else {}
    build = getattr(keras_se, name)
    plain = build(weights=None, classes=100, variant=variant, se=None)
    with_se = build(weights=None, classes=100, variant=variant)
    assert count(plain)[0] == base
    assert tables.multiply_adds(plain) / 1e6 == pytest.approx(macs, abs=0.0051)
    assert tables.multiply_adds(with_se) / 1e6 == pytest.approx(se_macs, abs=0.0051)


ABLATION = SEConfig(use_bias=False)


@pytest.mark.parametrize(
    ("ratio", "se_weights", "without_biases", "with_biases"),
    [
        (2, 20_119_552, 45_729_704, 45_752_360),
        (4, 10_059_776, 35_669_928, 35_688_808),
        (8, 5_029_888, 30_640_040, 30_657_032),
        (16, 2_514_944, 28_125_096, 28_141_144),
        (32, 1_257_472, 26_867_624, 26_883_200),
    ],
)
def test_table_10_reduction_ratio(ratio, se_weights, without_biases, with_biases):
    config = replace(ABLATION, ratio=ratio)
    model = keras_se.SEResNet50(weights=None, se=config)
    assert model.count_params() == without_biases
    assert without_biases - keras_se.SEResNet50(weights=None, se=None).count_params() == se_weights
    with_bias = keras_se.SEResNet50(weights=None, se=replace(config, use_bias=True))
    assert with_bias.count_params() == with_biases


@pytest.mark.parametrize(
    ("stages", "total"),
    [
        ((2,), 25_634_728),
        ((3,), 25_741_224),
        ((4,), 26_396_584),
        ((5,), 27_183_016),
        (None, 28_125_096),
    ],
)
def test_table_13_stages(stages, total):
    model = keras_se.SEResNet50(weights=None, se=replace(ABLATION, stages=stages))
    assert model.count_params() == total


@pytest.mark.parametrize(
    ("placement", "se_weights"),
    [
        ("standard", 2_514_944),
        ("pre", 1_991_168),
        ("post", 2_514_944),
        ("identity", 2_514_944),
        ("conv3x3", 157_184),
    ],
)
def test_tables_14_and_15_placement(placement, se_weights):
    model = keras_se.SEResNet50(weights=None, se=replace(ABLATION, placement=placement))
    assert model.count_params() == 25_610_152 + se_weights


def test_table_15_total():
    model = keras_se.SEResNet50(weights=None, se=replace(ABLATION, placement="conv3x3"))
    assert model.count_params() == 25_767_336


def test_table_16_no_squeeze():
    model = keras_se.SEResNet50(weights=None, se=replace(ABLATION, squeeze=None))
    assert model.count_params() == 28_125_096
    scaling = tables.multiply_adds(model) / 1e6 - (3857.97 + 411.04)
    assert scaling == pytest.approx(5.5, abs=0.05)


@pytest.mark.parametrize(
    ("name", "variant", "trainable"),
    [
        ("SEResNeXt101", {"groups": 64}, 88_232_984),
        ("SEResNet18", {"preactivation": True}, 11_776_928),
    ],
)
def test_counts_that_other_publishers_assert(name, variant, trainable):
    assert count(getattr(keras_se, name)(weights=None, variant=variant))[0] == trainable


def test_hidden_width_is_one_at_16_channels():
    model = keras_se.SEResNet20(weights=None)
    assert model.get_layer("stage2_block1_se").reduce_kernel.shape == (16, 1)


def test_batch_norm_layer_count():
    """53 in SE-ResNet-50, as in the authors' definition."""
    layers = keras_se.SEResNet50(weights=None).layers
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers) == 53
