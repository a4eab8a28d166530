"""Plain twins of ShuffleNet and BN-Inception beside pytorchcv's networks: the same outputs."""

import re

import keras
import numpy as np
import publishers
import pytest
from reference import noise_pictures, trained_like

import keras_se

# Of the largest activation: float32 sums of up to 70 convolutions in another order.
TOLERANCE = 1e-5
# Odd, with the maps of BN-Inception even wherever a module halves them: others it cannot take.
SHUFFLENET_SIZES = [(224, 224), (97, 131)]
INCEPTION_SIZES = [(224, 224), (193, 259)]


@pytest.fixture(autouse=True)
def _clean_session():
    publishers.declare_torchvision_operators()
    yield
    keras.backend.clear_session()


def creation(layer):
    """Sorts layers by when they are made: the stem, the stages, the classifier."""
    parts = re.split(r"(\d+)", layer.name)
    return layer.name[:3] != "ste", [int(part) if part.isdigit() else part for part in parts]


def copy_weights(model, net):
    """Give `net` our values; a convolution's bias, which we do not have, is made up for."""
    import torch

    random = np.random.default_rng(2)

    def pairs(kind, theirs):
        ours = sorted((layer for layer in model.layers if isinstance(layer, kind)), key=creation)
        return zip(ours, (m for m in net.modules() if isinstance(m, theirs)), strict=True)

    def put(parameter, value):
        assert tuple(parameter.shape) == value.shape
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(value, "float32")))

    convolutions = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    with torch.no_grad():
        biases = []
        for layer, module in pairs(convolutions, torch.nn.Conv2d):
            kernel = np.asarray(layer.kernel)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            put(module.weight, kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)))
            biases.append(np.zeros(len(module.weight)))
            if module.bias is not None:
                biases[-1] = random.uniform(-1, 1, len(module.weight))
                put(module.bias, biases[-1])
        norms = pairs(keras.layers.BatchNormalization, torch.nn.BatchNorm2d)
        for (layer, module), bias in zip(norms, biases, strict=True):
            put(module.weight, np.asarray(layer.gamma))
            put(module.bias, np.asarray(layer.beta))
            put(module.running_mean, np.asarray(layer.moving_mean) + bias)
            put(module.running_var, np.asarray(layer.moving_variance))
        for layer, module in pairs(keras.layers.Dense, torch.nn.Linear):
            put(module.weight, np.asarray(layer.kernel).T)
            put(module.bias, np.asarray(layer.bias))
    net.eval()


def assert_same(model, net, sizes):
    """The ends of all stages, the features and the logits."""
    import torch

    copy_weights(model, net)
    ends = {int(layer.name[5]): layer.output for layer in model.layers if layer.name[:5] == "stage"}
    pool = model.get_layer("avg_pool")
    whole = keras.Model(model.input, [*list(ends.values())[1:], pool.input, model.output])
    for size in sizes:
        x = (noise_pictures(2, *size) / 100 - 0.9).astype("float32")
        with torch.no_grad():
            y = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
            blocks = net.features.named_children()
            stages, features = publishers.osmr_outputs(blocks, y, publishers.TorchNetwork.array)
            theirs = [stages[n].copy() for n in sorted(stages)[1:]]
            theirs.append(publishers.TorchNetwork.array(features))
            theirs.append(net.output(features.mean((2, 3))).numpy())
        for received, expected in zip(whole(x), theirs, strict=True):
            assert received.shape == expected.shape
            error = np.abs(received - expected).max() / np.abs(expected).max()
            print(f"{size} {expected.shape} {error:.1e}")
            assert error < TOLERANCE


def plain(builder, **options):
    options = {"classes": 7, "classifier_activation": None, **options}
    build = getattr(keras_se, builder)
    model = build(
        weights=None, se=None, input_shape=(None, None, 3), include_preprocessing=False, **options
    )
    return trained_like(model, seed=1)


@pytest.mark.parametrize(
    ("groups", "scale"), [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (8, 1.0), (3, 1.5), (8, 0.5)]
)
def test_shufflenet(groups, scale):
    from pytorchcv.models.shufflenet import ShuffleNet

    first = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}[groups] * scale
    channels = [[int(first * 2**n)] * count for n, count in enumerate((4, 8, 4))]
    net = ShuffleNet(channels, init_block_channels=24, groups=groups, num_classes=7)
    assert_same(plain("SEShuffleNet", groups=groups, scale=scale), net, SHUFFLENET_SIZES)


def test_bn_inception():
    from pytorchcv.models.bninception import bninception

    assert_same(plain("SEBNInception"), bninception(num_classes=7), INCEPTION_SIZES)
