"""Files in the publishers' layouts give what the publishers' own packages give."""

import caffe_networks
import keras
import numpy as np
import published_files
import pytest
from places import PUBLISHED

import keras_se
from keras_se.checkpoint import described
from keras_se.weights.entries import list_networks

# Of the largest activation: float32 sums in another order.
TOLERANCE = 1e-4
# A network for volumes has three times the weights.
FILES = [
    pytest.param(path, marks=[pytest.mark.weights] if "zfturbo" in path.stem else [], id=path.stem)
    for path in sorted(PUBLISHED.glob("*.*.npz"))
]


def network(publisher, name):
    name = name.replace("_cifar10", "_cifar")
    return next(n for n in list_networks() if (n.publisher, n.name) == (publisher, name))


def assert_outputs(model, net, pictures, expected):
    """Logits, features, and the means of every stage."""
    unit = "add" if net.preactivation else "relu"
    ends = {"stage1": model.get_layer("stem_pool" if net.stem_pool else "stem_relu").output}
    for stage, blocks in zip(net.stages, net.blocks, strict=True):
        ends[f"stage{stage}"] = model.get_layer(f"stage{stage}_block{blocks}_{unit}").output
    if "logits" in expected:
        ends |= {"features": model.get_layer("avg_pool").input, "logits": model.output}
    else:
        ends["features"] = model.output
    outputs = keras.Model(model.input, {name: ends[name] for name in expected})(pictures)
    for name, array in expected.items():
        received = np.asarray(outputs[name])
        if name.startswith("stage"):
            received = received.mean(tuple(range(1, received.ndim - 1)))
        bound = TOLERANCE * np.abs(array).max()
        np.testing.assert_allclose(received, array, rtol=0, atol=bound, err_msg=name)


def load(path, publisher, name, rank=2):
    return keras_se.load_checkpoint(
        path,
        layout=publisher,
        model=name,
        input_shape=(*[None] * rank, 3),
        include_preprocessing=False,
        classifier_activation=None,
    )


@pytest.mark.parametrize("file", FILES)
def test_outputs(file, tmp_path):
    recorded = published_files.read(file)
    found = network(recorded.source.split("_")[0], recorded.network)
    model = load(recorded.write(tmp_path), found.publisher, found.name, found.rank)
    raw = found.normalisation["mean"] == (0, 0, 0)
    pictures = published_files.pictures(recorded.size, raw)
    assert model.output_shape[-1] == (recorded.classes or described(found).features)
    assert_outputs(model, described(found), pictures, recorded.outputs)


def test_outputs_of_a_caffe_network(tmp_path):
    _, weights = caffe_networks.write("SE-ResNet-50", tmp_path, classes=7)
    with np.load(PUBLISHED / "SE-ResNet-50.npz") as arrays:
        expected = dict(arrays)
    found = network("caffe", "SE-ResNet-50")
    pictures = 60 * published_files.pictures((224, 224), raw=False)
    assert_outputs(load(weights, "caffe", found.name), described(found), pictures, expected)
