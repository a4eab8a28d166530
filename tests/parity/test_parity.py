"""Genuine files of the publishers' own packages, converted: the same outputs, stage by stage.

Run by `tox -e parity`, which installs the publishers' packages. Every network in the registry is
here, also those without published weights.
"""

import gc
from importlib import resources

import caffe_networks
import keras
import numpy as np
import opencv
import paddle_networks
import publishers
import pytest

import keras_se
from keras_se.checkpoint import described
from keras_se.graph.trace import recursion
from keras_se.labels import class_names
from keras_se.weights.entries import list_networks
from keras_se.weights.namings import INCEPTION_MODULES

# Of the largest activation of the stage: float32 sums of up to 150 convolutions in another order.
TOLERANCE = 1e-4
SMALL = "_cifar"
# osmr publishes each network in two formats.
SOURCES = {
    "osmr": ("osmr_h5", "osmr_torch"),
    **{name: (name,) for name in ("timm", "mmpretrain", "paddleclas", "qubvel", "zfturbo")},
}  # fmt: skip
# Their antialiased branch and their shortcut round odd sizes differently: they take none.
EVEN_ONLY = "aa"
CASES = [
    (source, network)
    for network in list_networks()
    for source in SOURCES.get(network.publisher, ())
]
CAFFE = [network for network in list_networks() if network.publisher == "caffe"]


def sizes(network):
    """What a network is shown: its own size, and an odd one where its publisher's can."""
    if network.rank == 3:
        return ((48, 48, 48), (37, 33, 35))
    if network.name.endswith(SMALL):
        return ((32, 32), (37, 43))
    return ((224, 224),) if EVEN_ONLY in network.name else ((224, 224), (193, 225))


def converted(network, path):
    """Our network with the outputs of the stages, the features and the logits."""
    model = keras_se.load_checkpoint(
        path,
        layout=network.publisher,
        model=network.name,
        input_shape=(*[None] * network.rank, 3),
        include_preprocessing=False,
        classifier_activation=None,
    )
    net = described(network)
    if network.model == "SEBNInception":
        ends = {"stage1": model.get_layer("stem_pool").output}
        for letters, unit in INCEPTION_MODULES.items():
            ends[letters] = model.get_layer(f"{unit}_se").output
    else:
        unit = "add" if net.preactivation else "relu"
        ends = {"stage1": model.get_layer("stem_pool" if net.stem_pool else "stem_relu").output}
        for stage, blocks in net.units.items():
            ends[f"stage{stage}"] = model.get_layer(f"stage{stage}_block{blocks}_{unit}").output
    if model.layers[-1].name == "predictions":
        ends |= {"features": model.get_layer("avg_pool").input, "logits": model.output}
    else:
        ends["features"] = model.output
    with recursion(net.depth):
        return keras.Model(model.input, ends)


def compare(model, pictures, theirs):
    """The largest error, relative to the largest activation of the stage it is in."""
    ours = model(pictures, training=False)
    errors = {}
    for name, expected in theirs.items():
        received = np.asarray(ours[name])
        assert received.shape == expected.shape, name
        errors[name] = np.abs(received - expected).max() / np.abs(expected).max()
    assert max(errors.values()) < TOLERANCE, errors
    return max(errors.values())


@pytest.fixture(autouse=True)
def memory():
    """One network at a time."""
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize(
    ("source", "network"), CASES, ids=[f"{source}-{network.name}" for source, network in CASES]
)
def test_outputs_are_the_publishers(source, network, tmp_path):
    small = network.name.endswith(SMALL)
    name = network.name.replace(SMALL, "_cifar10")
    if source == "paddleclas":
        published = paddle_networks.publish(name, tmp_path, sizes(network), 7)
    else:
        published = publishers.publish(source, name, tmp_path, sizes(network), 10 if small else 7)
    model = converted(network, published.path)
    published.path.unlink()
    for given in published.outputs:
        assert len(given.stages) == len(described(network).blocks) + 1
        error = compare(model, given.pictures, given.arrays)
        print(f"{source:<10} {network.name:<26} {given.pictures.shape[1:-1]} {error:.1e}")


@pytest.mark.parametrize("network", CAFFE, ids=lambda network: network.name)
def test_outputs_are_those_of_the_caffe_network(network, tmp_path):
    text, weights = caffe_networks.write(network.name, tmp_path, classes=7)
    pictures = np.random.default_rng(1).normal(0, 60, (1, 224, 224, 3)).astype("float32")
    theirs = opencv.outputs(text, weights, pictures)
    theirs["logits"] = theirs["logits"].reshape(1, 7)
    if network.model == "SEBNInception":
        assert INCEPTION_MODULES.keys() < theirs.keys()
    error = compare(converted(network, weights), pictures, theirs)
    print(f"caffe      {network.name:<26} {pictures.shape[1:3]} {error:.1e}")


def test_pictures_and_classes_of_the_caffe_networks(tmp_path):
    """RGB in, the usual order of classes out."""
    (network,) = (n for n in CAFFE if n.name == "SE-ResNet-50")
    text, weights = caffe_networks.write(network.name, tmp_path, classes=1000)
    rgb = np.random.default_rng(2).integers(0, 256, (1, 224, 224, 3)).astype("float32")
    logits = opencv.outputs(text, weights, rgb[..., ::-1] - np.float32([104, 117, 123]))["logits"]
    text = resources.files("keras_se.weights").joinpath("caffe_classes.txt").read_text("utf-8")
    by_synset = dict(zip(text.split(), logits.ravel(), strict=True))
    expected = np.array([[by_synset[synset] for synset, _ in class_names("imagenet")]])
    model = keras_se.load_checkpoint(
        weights, layout="caffe", model="SEResNet50", classifier_activation=None
    )
    np.testing.assert_allclose(model(rgb), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
