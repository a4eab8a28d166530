"""Every public layer does what Keras asks of layers; `layer_conformance` says what that is."""

import keras
import pytest
from layer_conformance import CASES, check

import keras_se


def test_every_layer_is_asked():
    layers = {
        name for name in keras_se.layers.__all__
        if issubclass(getattr(keras_se.layers, name), keras.layers.Layer)
    }  # fmt: skip
    assert set(CASES) == layers - {"ChannelAttention"}


@pytest.mark.parametrize("name", CASES)
def test_layer(name, tmp_path):
    check(name, tmp_path)
