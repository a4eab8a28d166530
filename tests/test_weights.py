"""Every entry of the registry: figures recounted, file checked, network used."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_se
from keras_se.labels import class_names
from keras_se.weights import entries
from keras_se.weights.entries import get_weights
from keras_se.weights.variable_file import named_variables, read_variables

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = keras_se.list_weights()
NAMES = [entry.name for entry in ENTRIES]
BUNDLED = "se_resnet20.fashion_mnist"
FILE = Path(entries.__file__).parent / "files" / f"{BUNDLED}.h5"
# The same weights on another processor: float32 sums in another order.
TOLERANCE = 1e-4


def clothes():
    """The first test picture of each class of Fashion-MNIST, (10, 28, 28, 1)."""
    strip = np.asarray(Image.open(Path(__file__).parent / "data" / "fashion_mnist.png"))
    return np.stack(np.split(strip, 10, axis=1))[..., None].astype("float32")


@pytest.mark.parametrize("name", NAMES)
def test_entry(name):
    entry = get_weights(name)
    model = getattr(keras_se, entry.model)(weights=name, classes=entry.classes)
    assert entry.name.startswith(f"{model.name}.")
    assert model.input_shape[1:] == entry.input_shape
    assert model.output_shape == (None, entry.classes)
    assert sum(math.prod(v.shape) for v in model.trainable_variables) == entry.params_trainable
    assert model.count_params() == entry.params_total
    assert len(entry.preprocessing.mean) == len(entry.preprocessing.std) == entry.input_shape[-1]
    assert len(class_names(entry.dataset)) == entry.classes
    assert entry.metrics
    assert entry.licence == "Apache-2.0"


def test_names_are_unique_and_defaults_too():
    assert len(set(NAMES)) == len(NAMES)
    defaults = [(entry.model, entry.dataset) for entry in ENTRIES if entry.default]
    assert len(set(defaults)) == len(defaults)


def test_entries_are_plain_data():
    for entry in ENTRIES:
        assert json.loads(json.dumps(dataclasses.asdict(entry)))["name"] == entry.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            entry.name = "other"


def test_measured_figures_are_those_of_the_results():
    with open(ROOT / "pretrained" / "results.csv", encoding="utf-8") as file:
        rows = {(row["weights"], row["split"]): row for row in csv.DictReader(file)}
    measured = [(e.name, m) for e in ENTRIES for m in e.metrics if m.measured]
    assert measured
    for name, metric in measured:
        assert float(rows[name, metric.split][metric.name]) == metric.value


def test_bundled_set_names_real_pictures():
    model = keras_se.SEResNet20(weights="fashion_mnist")
    scores = np.asarray(model(clothes()))
    golden = np.load(Path(__file__).parent / "data" / "fashion_mnist_scores.npy")
    np.testing.assert_allclose(scores, golden, rtol=0, atol=TOLERANCE)
    assert (scores.argmax(axis=1) == np.arange(10)).all()


def test_weights_change_the_output():
    random = keras_se.SEResNet20(weights=None, input_shape=(28, 28, 1))
    trained = keras_se.SEResNet20(weights=BUNDLED)
    assert np.abs(np.asarray(random(clothes())) - np.asarray(trained(clothes()))).max() > 0.5


def test_options_keep_the_trained_function():
    model = keras_se.SEResNet20(weights="fashion_mnist")
    expected = np.asarray(model(clothes()))
    logits = keras_se.SEResNet20(weights="fashion_mnist", classifier_activation=None)
    np.testing.assert_allclose(
        keras.ops.softmax(logits(clothes())), expected, rtol=0, atol=TOLERANCE
    )
    raw = keras_se.SEResNet20(weights="fashion_mnist", include_preprocessing=False)
    preprocessing = get_weights(BUNDLED).preprocessing
    x = (clothes() / 255 - preprocessing.mean[0]) / preprocessing.std[0]
    np.testing.assert_allclose(raw(x), expected, rtol=0, atol=TOLERANCE)
    features = keras_se.SEResNet20(weights="fashion_mnist", include_top=False, pooling="avg")
    assert features.input_shape == (None, None, None, 1)
    head = model.get_layer("predictions")
    np.testing.assert_allclose(head(features(clothes())), expected, rtol=0, atol=TOLERANCE)
    larger = keras_se.SEResNet20(weights="fashion_mnist", input_shape=(None, None, 1))
    assert larger(np.zeros((1, 41, 33, 1))).shape == (1, 10)


def test_file_holds_the_variables_by_their_path():
    model = keras_se.SEResNet20(weights="fashion_mnist")
    arrays = read_variables(FILE)
    assert {v.path for v in model.weights} == set(arrays) == set(named_variables(model))


def test_file_in_pretrained_is_the_one_in_the_package():
    path = ROOT / "pretrained" / BUNDLED / f"{BUNDLED}.h5"
    assert path.read_bytes() == FILE.read_bytes()
