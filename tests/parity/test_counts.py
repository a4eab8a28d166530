"""The parameter counts of the registry, counted from the networks themselves."""

import math

import keras
import pytest

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
