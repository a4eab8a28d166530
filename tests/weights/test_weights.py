"""Every entry of the registry: figures recounted, file checked, network used."""

import csv
import dataclasses
import json
import math
import re
from collections import Counter
from pathlib import Path

import fashion_mnist_files
import keras
import numpy as np
import pytest
from places import DATA, PRETRAINED

import keras_se
from keras_se.checkpoint import described
from keras_se.labels import class_names
from keras_se.weights import entries
from keras_se.weights.entries import get_weights
from keras_se.weights.namings import NAMINGS
from keras_se.weights.variable_file import named_variables, read_variables

ENTRIES = keras_se.list_weights()
PUBLISHED = [entry for entry in ENTRIES if entry.url]
NAMES = [entry.name for entry in ENTRIES]
BUNDLED = "se_resnet20.fashion_mnist"
FILE = Path(entries.__file__).parent / "files" / f"{BUNDLED}.h5"
# The same weights on another processor: float32 sums in another order.
TOLERANCE = 1e-4


def clothes():
    """The first test picture of each class of Fashion-MNIST, (10, 28, 28, 1)."""
    return fashion_mnist_files.one_of_each_class()[..., None].astype("float32")


def test_bundled_entry():
    entry = get_weights(BUNDLED)
    model = keras_se.SEResNet20(weights=entry, classes=entry.classes)
    assert entry.name.startswith(f"{model.name}.")
    assert model.input_shape[1:] == entry.input_shape
    assert model.output_shape == (None, entry.classes)
    assert sum(math.prod(v.shape) for v in model.trainable_variables) == entry.params_trainable
    assert model.count_params() == entry.params_total
    assert len(class_names(entry.dataset)) == entry.classes
    assert entry.licence == "Apache-2.0"


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_published_entry(entry):
    network = described(entry)
    assert entry.model in keras_se.list_models()
    assert entry.naming in NAMINGS
    assert entry.url.startswith("https://")
    assert entry.url.endswith(entry.file.rsplit("/", 1)[-1])
    algorithm, _, digits = (entry.sha or "none:").partition(":")
    stated = entry.url.startswith("https://storage.googleapis.com/")
    known = algorithm in ("sha1", "sha256", "md5") and int(digits, 16)
    assert known or entry.revision or (stated and "MD5" in entry.note)
    assert entry.licence in ("MIT", "Apache-2.0", "BSD-3-Clause")
    assert ("ImageNet" in entry.note) == entry.dataset.startswith(("imagenet", "cub"))
    assert ("Torch" in entry.note) == entry.file.endswith((".pth", ".pth.zip"))
    assert not any(metric.measured for metric in entry.metrics)
    assert all(0.5 < metric.value < 1 for metric in entry.metrics)
    figureless = entry.dataset == "imagenet12k" or not entry.classes
    assert bool(entry.metrics) != figureless
    assert len(entry.preprocessing.mean) == len(entry.preprocessing.std) == 3
    statistics = entry.params_total - entry.params_trainable
    assert 0 < statistics < entry.params_trainable / 40
    head = entry.classes * (network.features + 1)
    with_head = [other for other in PUBLISHED if (other.publisher, other.network) == (
        entry.publisher, entry.network)]  # fmt: skip
    assert {o.params_trainable - o.classes * (network.features + 1) for o in with_head} == {
        entry.params_trainable - head
    }


@pytest.mark.parametrize(
    "entry", [e for e in PUBLISHED if e.publisher == "osmr"], ids=lambda entry: entry.name
)
def test_claims_of_osmr_are_those_in_the_file_names(entry):
    """In hundredths of a percent: the top-5 error on ImageNet, elsewhere the top-1 error."""
    error = int(re.search(r"-(\d{4})-", entry.file)[1]) / 10_000
    figures = {metric.name: metric.value for metric in entry.metrics}
    assert figures.get("top5", figures["top1"]) == pytest.approx(1 - error, abs=1e-9)
    assert ("top5" in figures) == (entry.dataset == "imagenet")


def test_how_many_sets_there_are():
    """Published are 120 sets of osmr, 49 of timm, 16 of qubvel, 8 of ZFTurbo, 6 of Caffe.

    mmpretrain has two. Two of timm are of other families; `pretrained/weights.md` says so. Keras
    has plain weights for three ResNets, three DenseNets, two Inceptions and four widths of
    MobileNet.
    """
    count = Counter((e.publisher, e.file.endswith((".pth.zip",))) for e in PUBLISHED)
    assert count == {
        ("osmr", False): 69, ("osmr", True): 51, ("timm", False): 47, ("qubvel", False): 16,
        ("zfturbo", False): 8, ("mmpretrain", False): 2, ("caffe", False): 6, ("keras", False): 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [e for e in PUBLISHED if e.default and not e.plain and e.model != "SEBNInception"],
    ids=lambda e: e.name,
)
def test_defaults_are_the_best_of_their_network(entry):
    """At their own 224 pixels, without Torch, of the network of that name.

    ResNet-RS has one set for each network, at a size of its own.
    """
    depth = re.search(r"\d+", entry.model)[0]
    same = re.compile(rf"(legacy_|pre)?senet{depth}|(legacy_)?se(pre)?res(ne(x?)t){depth}(bn)?b?"
                      rf"(_32x4d|_cifar)?|resnetrs{depth}")  # fmt: skip
    assert same.fullmatch(entry.network)
    for other in PUBLISHED:
        if (
            (other.model, other.dataset) == (entry.model, entry.dataset)
            and same.fullmatch(other.network)
            and ("pre" in other.network) == ("pre" in entry.network)
            and other.preprocessing.size in (32, 224)
            and not other.file.endswith((".pth", ".pth.zip"))
            and other.metrics
        ):
            assert other.metrics[0].value <= entry.metrics[0].value, other.name


def test_names_are_unique_and_defaults_too():
    assert len(set(NAMES)) == len(NAMES)
    defaults = [(e.model, e.dataset, e.variant.get("alpha")) for e in ENTRIES if e.default]
    assert len(set(defaults)) == len(defaults)


def test_entries_are_plain_data():
    for entry in ENTRIES:
        assert json.loads(json.dumps(dataclasses.asdict(entry)))["name"] == entry.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            entry.name = "other"


def test_measured_figures_are_those_of_the_results():
    with open(PRETRAINED / "results.csv", encoding="utf-8") as file:
        rows = {(row["name"], row["split"]): row for row in csv.DictReader(file)}
    measured = [(e.name, m) for e in ENTRIES for m in e.metrics if m.measured]
    assert measured
    for name, metric in measured:
        assert float(rows[name, metric.split][metric.name]) == metric.value


def test_bundled_set_names_real_pictures():
    model = keras_se.SEResNet20(weights="fashion_mnist")
    scores = np.asarray(model(clothes()))
    golden = np.load(DATA / "fashion_mnist_scores.npy")
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


@pytest.mark.parametrize("name", [e.name for e in ENTRIES if e.publisher == "keras-se"])
def test_file_in_pretrained_is_the_one_in_the_package(name):
    path = PRETRAINED / name / f"{name}.h5"
    assert path.read_bytes() == (FILE.parent / path.name).read_bytes()


def test_bundled_mobilenet_names_real_pictures():
    model = keras_se.SEMobileNet(weights="se_mobilenet_0_25.fashion_mnist", classes=10)
    scores = np.asarray(model(clothes()))
    # A picture of each class; 92 % of the test pictures are named rightly.
    assert (scores.argmax(axis=1) == np.arange(10)).sum() >= 9
