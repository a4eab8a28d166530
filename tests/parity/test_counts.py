"""The parameter counts of the registry and of docs/volumes.md, from the networks themselves."""

import math

import keras
import publishers
import pytest
from peer_counts import CHANNELS, CLASSES, ROWS

import keras_se
from keras_se.checkpoint import builder_of
from keras_se.weights.entries import list_networks

NETWORKS = [network for network in list_networks() if network.publisher != "keras-se"]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.publisher}-{n.name}")
def test_counts(network):
    sets = [
        entry
        for entry in keras_se.list_weights(network.model)
        if (entry.publisher, entry.network) == (network.publisher, network.name)
    ]
    model = builder_of(network)(
        include_top=False,
        weights=None,
        input_shape=(*[None] * network.rank, 3),
        pooling="avg",
        variant=network.variant,
        se=network.attention(),
    )
    trainable = sum(math.prod(v.shape) for v in model.trainable_variables)
    for entry in sets:
        head = entry.classes * (model.output_shape[-1] + 1)
        assert entry.params_trainable == trainable + head
        assert entry.params_total == model.count_params() + head
    keras.backend.clear_session()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_counts_of_zfturbo(row):
    """Its networks by default, and in 1-D with kernels of 3 and 7."""
    legacy = publishers.legacy_keras()

    def count(**options):
        shape = (*[None] * row.rank, CHANNELS)
        net = publishers.zfturbo_network(
            f"{row.rank}D", row.name.lower(), legacy, input_shape=shape, include_top=True,
            classes=CLASSES, **options,
        )  # fmt: skip
        legacy.backend.clear_session()
        return net.count_params()

    assert count() == row.default
    assert (count(kernel_size=3, first_kernel_size=7) if row.rank == 1 else count()) == row.theirs
