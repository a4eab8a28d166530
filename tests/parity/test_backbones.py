"""Warm starts from files that Keras 2 itself wrote, against Keras 2's outputs."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_se

ENTRIES = [entry for entry in keras_se.list_weights() if entry.plain]
# Of the largest logit: float32 sums of up to 200 convolutions in another order.
TOLERANCE = 1e-5


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_outputs_are_those_of_keras_2(entry, tmp_path, monkeypatch):
    import tf_keras

    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_SE_MIRROR", str(tmp_path))
    name = entry.network.split("-")[0]
    options = {"alpha": entry.variant["alpha"]} if name == "MobileNet" else {}
    # Whatever was made before moves the numbers in the layers' names.
    tf_keras.layers.Conv2D(1, 1)
    plain = getattr(tf_keras.applications, name)(
        weights=None, classifier_activation=None, **options
    )
    random = np.random.default_rng(1)
    for variable in plain.weights:
        shape = tuple(variable.shape)
        if "kernel" in variable.name:
            depthwise = "depthwise" in variable.name
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            value = random.normal(0, np.sqrt(2 / fan_in), shape)
        elif "gamma" in variable.name:
            value = random.uniform(0.3, 1, shape)
        elif "variance" in variable.name:
            value = random.uniform(0.7, 2, shape)
        else:
            value = random.uniform(-0.3, 0.3, shape)
        variable.assign(value)
    plain.save_weights(tmp_path / entry.file)

    size = entry.input_shape[0]
    x = random.normal(size=(2, size, size, 3)).astype("float32")
    expected = np.asarray(plain(x))
    model = getattr(keras_se, entry.model)(
        weights=replace(entry, sha=None), classifier_activation=None, include_preprocessing=False
    )
    error = np.abs(np.asarray(model(x)) - expected).max() / np.abs(expected).max()
    print(f"{entry.name:<45} {error:.1e}")
    assert error < TOLERANCE
    keras.backend.clear_session()
