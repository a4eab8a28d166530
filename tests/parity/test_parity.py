"""Genuine files of the publishers' own packages, converted: the same outputs, stage by stage.

Run by `tox -e parity`, which installs the publishers' packages. Every network in the registry is
here, also those without published weights.
"""

import gc

import keras
import numpy as np
import publishers
import pytest

import keras_se
from keras_se.weights.entries import list_networks

# Of the largest activation of the stage: float32 sums of up to 150 convolutions in another order.
TOLERANCE = 1e-4
SMALL = "_cifar"
# osmr publishes each network in two formats.
SOURCES = {"osmr": ("osmr_h5", "osmr_torch"), "timm": ("timm",), "qubvel": ("qubvel",)}
# Their antialiased branch and their shortcut round odd sizes differently: they take none.
EVEN_ONLY = "aa"
CASES = [
    (source, network)
    for network in list_networks()
    for source in SOURCES.get(network.publisher, ())
]


def sizes(network):
    """What a network is shown: its own size, and an odd one where its publisher's can."""
    if network.name.endswith(SMALL):
        return ((32, 32), (37, 43))
    return ((224, 224),) if EVEN_ONLY in network.name else ((224, 224), (193, 225))


def stage_ends(model, network):
    """Our outputs by stage, and the features."""
    builder = getattr(keras_se, network.model)
    net = builder.network.varied(network.variant)
    stem = "stem_pool" if net.stem_pool else "stem_relu"
    unit = "add" if net.preactivation else "relu"
    ends = {1: model.get_layer(stem).output}
    for stage, blocks in zip(net.stages, net.blocks, strict=True):
        ends[stage] = model.get_layer(f"stage{stage}_block{blocks}_{unit}").output
    return ends, model.get_layer("avg_pool").input


def assert_close(ours, theirs, what):
    scale = np.abs(theirs).max()
    error = np.abs(np.asarray(ours) - theirs).max() / scale
    assert np.shape(ours) == theirs.shape, what
    assert error < TOLERANCE, f"{what}: {error:.1e} of the largest activation, {scale:.3g}"
    return error


@pytest.mark.parametrize(
    ("source", "network"), CASES, ids=[f"{source}-{network.name}" for source, network in CASES]
)
def test_outputs_are_the_publishers(source, network, tmp_path, recursion):
    name = network.name.replace(SMALL, "_cifar10")
    classes = 10 if network.name.endswith(SMALL) else 7
    published = publishers.publish(source, name, tmp_path, sizes(network), classes)
    model = keras_se.load_checkpoint(
        published.path,
        layout=network.publisher,
        model=network.name,
        input_shape=(None, None, 3),
        include_preprocessing=False,
        classifier_activation=None,
    )
    stages, features = stage_ends(model, network)
    ours = keras.Model(model.input, [*stages.values(), features, model.output])
    errors = []
    for pictures, theirs in published.outputs:
        outputs = ours(pictures, training=False)
        assert set(theirs.stages) == set(stages)
        for stage, output in zip(stages, outputs, strict=False):
            errors.append(assert_close(output, theirs.stages[stage], f"stage {stage}"))
        errors.append(assert_close(outputs[-2], theirs.features, "features"))
        errors.append(assert_close(outputs[-1], theirs.logits, "logits"))
    print(f"{source:<10} {network.name:<26} {max(errors):.1e}")
    del model, ours
    keras.backend.clear_session()
    gc.collect()
