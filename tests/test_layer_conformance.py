"""Every public layer does what Keras asks of layers; `layer_conformance` says what that is."""

import pytest
from layer_conformance import CASES, check

import keras_se


def test_every_layer_is_asked():
    assert set(CASES) == set(keras_se.layers.__all__)


@pytest.mark.parametrize("name", CASES)
def test_layer(name, tmp_path):
    check(name, tmp_path)
