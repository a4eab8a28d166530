"""Networks written by `save_checkpoint`, in the publishers' own packages: the same outputs."""

import keras
import numpy as np
import publishers
import pytest
from reference import noise_pictures, trained_like

import keras_se
from keras_se.checkpoint import described
from keras_se.weights.entries import list_networks
from keras_se.weights.namings import COUNTERS, NAMINGS, STATE_DICTS
from keras_se.weights.reversal import COUNTER, MEAN, tensor_names

# Of the largest logit: float32 sums of up to 160 convolutions in another order.
TOLERANCE = 1e-4
SIZES = ((64, 64), (97, 65))
SOURCES = {"osmr": "osmr_torch", "timm": "timm"}
NETWORKS = [network for network in list_networks() if network.naming in STATE_DICTS]
# Each kind of network, the small ones.
WRITTEN = (
    "timm/seresnet18",
    "timm/seresnet50",
    "timm/seresnext26t_32x4d",
    "timm/senet154",
    "timm/ecaresnet26t",
    "timm/resnetrs50",
    "timm/legacy_seresnet18",
    "timm/legacy_seresnext26_32x4d",
    "osmr/seresnet10",
    "osmr/sepreresnet10",
    "osmr/senet16",
)


def their_name(network):
    return network.name.replace("_cifar", "_cifar10")


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.publisher}-{n.name}")
def test_names_are_the_publishers(network):
    """Every tensor of the publisher's network, and no other."""
    import torch

    with torch.device("meta"):
        net = publishers.PUBLISHERS[SOURCES[network.publisher]](their_name(network), 10).net
    state = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    shapes = {name: shape for name, shape in state.items() if not COUNTERS.fullmatch(name)}
    description = described(network)
    sources = NAMINGS[network.naming](shapes, {}, description)
    names = tensor_names(sources, network.naming, description)
    assert {ours: [name] for ours, name in names.items()} == sources
    assert sorted(names.values()) == sorted(shapes)
    counters = {n.replace(MEAN, COUNTER) for n in shapes if n.endswith(f".{MEAN}")}
    assert counters == state.keys() - shapes.keys()


@pytest.mark.parametrize("name", WRITTEN)
def test_outputs_are_ours(name, tmp_path):
    import torch
    from safetensors.torch import load_file

    (network,) = (n for n in NETWORKS if f"{n.publisher}/{n.name}" == name)
    model = getattr(keras_se, network.model)(
        weights=None, classes=10, classifier_activation=None, input_shape=(None, None, 3),
        variant=network.variant, se=network.attention(),
    )  # fmt: skip
    trained_like(model, seed=1)
    path = tmp_path / "model.safetensors"
    assert keras_se.save_checkpoint(model, path, layout=network.publisher) == network.name
    theirs = publishers.PUBLISHERS[SOURCES[network.publisher]](their_name(network), 10)
    theirs.net.load_state_dict(load_file(path), strict=True)
    theirs.net.eval()
    statistics = keras_se.describe(model)
    for size in SIZES:
        pictures = noise_pictures(2, *size).astype("float32")
        expected = np.asarray(model(pictures))
        normalised = (pictures / 255 - statistics.mean) / np.array(statistics.std)
        with torch.no_grad():
            _, _, logits = theirs.outputs(normalised.astype("float32"))
        error = np.abs(logits - expected).max() / np.abs(expected).max()
        print(f"{name:<32} {size} {error:.1e}")
        assert error < TOLERANCE
    keras.backend.clear_session()
