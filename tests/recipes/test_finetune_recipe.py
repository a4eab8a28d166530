"""The recipe `finetune`: a published set of weights on other pictures."""

import json
import os
import signal

import keras
import numpy as np
import published_files
import pytest
import training_runs
from PIL import Image
from places import PUBLISHED
from sklearn.datasets import load_digits

import keras_se
from keras_se.recipes import get_recipe
from keras_se.training.evaluation import evaluate
from keras_se.training.networks import encoded_as, network, weights_set
from keras_se.training.recipe import Recipe
from keras_se.training.run import Interrupted, Run
from keras_se.weights.variable_file import named_variables

SETTINGS = (
    "model=SEResNet20", "weights=fashion_mnist", "flip=false", "crop_area=[0.6,1]", "epochs=5",
)  # fmt: skip


def write(folder, every=1):
    """scikit-learn's digits as PNG files of 8 x 8 pixels, one folder a class."""
    for n, (picture, label) in enumerate(zip(*load_digits(return_X_y=True), strict=True)):
        if n % every == 0:
            path = folder / str(label) / f"{n:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = (picture.reshape(8, 8) * 255 / 16).round().astype("uint8")
            Image.fromarray(values).save(path)
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A twentieth of the digits."""
    return write(tmp_path_factory.mktemp("data") / "digits", 20)


def recipe(folder, *settings):
    return get_recipe("finetune").changed([*SETTINGS, f"data_dir={folder}", *settings])


class Classes:
    """All that `network` asks of data."""

    def __init__(self, shape, classes):
        self.shape, self.classes = shape, classes
        self.names = [f"class {n}" for n in range(classes)]


@pytest.mark.parametrize("classes", [7, 10])
def test_network_is_that_of_the_set_but_for_the_head(classes):
    """With as many classes as the set has, too: they are others."""
    chosen = recipe("digits")
    model = network(chosen, Classes((28, 28, 1), classes))
    trained = keras_se.SEResNet20(weights="fashion_mnist", classifier_activation=None)
    ours, theirs = named_variables(model), named_variables(trained)
    assert list(ours) == list(theirs)
    for name in ours:
        if name.startswith("predictions/"):
            assert ours[name].shape[-1] == classes
            np.testing.assert_array_equal(ours[name], 0)
        else:
            np.testing.assert_array_equal(ours[name], theirs[name])
    ours, theirs = (m.get_layer("normalization").get_config() for m in (model, trained))
    assert ours["mean"] == theirs["mean"]
    assert ours["std"] == theirs["std"]
    assert model.output_shape == (None, classes)


def test_what_the_set_says_of_pictures():
    entry = weights_set(recipe("digits"))
    assert entry.name == "se_resnet20.fashion_mnist"
    assert encoded_as(recipe("digits"), 3) == ((28, 28, 1), entry.preprocessing.crop)
    settings = ("image_size=33", "crop=0.9")
    assert encoded_as(recipe("digits", *settings), 3) == ((33, 33, 1), 0.9)
    (imagenet,) = (
        e for e in keras_se.list_weights("SEResNet50") if e.default and e.dataset == "imagenet"
    )
    expected = (imagenet.input_shape, imagenet.preprocessing.crop)
    assert encoded_as(get_recipe("finetune"), 3) == expected
    random = Recipe(model="SEResNet20", data="folder", image_size=33)
    assert encoded_as(random, 3) == ((33, 33, 3), 0.875)
    settings = ("weights=null", "new_head=false", "image_size=32")
    assert encoded_as(recipe("digits", *settings), 3) == ((32, 32, 3), 1.0)
    for settings in (("weights=null", "new_head=false"), ("weights=w.weights.h5", "image_size=9")):
        with pytest.raises(ValueError, match=r"must be given|does not exist"):
            encoded_as(recipe("digits", *settings), 3)


@pytest.mark.weights
def test_set_of_another_variant(digits, tmp_path, monkeypatch):
    """Variant, normalisation and size of the set, which nothing repeats; its values are random."""
    recorded = published_files.read(PUBLISHED / "timm.seresnet50.npz")
    (entry,) = (
        e for e in keras_se.list_weights("SEResNet50") if e.default and e.dataset == "imagenet"
    )
    file = tmp_path / "mirror" / entry.file
    file.parent.mkdir(parents=True)
    recorded.write(file.parent)
    monkeypatch.setenv("KERAS_SE_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_SE_OFFLINE", "1")
    settings = ("epochs=1", "warmup_epochs=0", "image_size=32", "batch=24", "learning_rate=1e-9")
    chosen = get_recipe("finetune").changed([f"data_dir={digits}", *settings])
    results = Run(chosen, tmp_path / "run").train()
    model = keras.models.load_model(tmp_path / "run" / "last.keras")
    trained = keras_se.SEResNet50(weights="imagenet", input_shape=(32, 32, 3))
    names, expected = ([layer.name for layer in m.layers[1:]] for m in (model, trained))
    assert names == expected
    np.testing.assert_allclose(
        model.get_layer("normalization").get_config()["mean"],
        entry.preprocessing.mean,
    )
    kernels = (m.get_layer("stem_conv").kernel for m in (model, trained))
    # One step of a rate of 1e-9.
    np.testing.assert_allclose(*kernels, atol=1e-6)
    assert evaluate(str(tmp_path / "run")).top1 == results["test"]["top1"]


def test_weights_of_a_run(digits, tmp_path):
    """A file of another number of classes: all but its head."""
    chosen = network(recipe(digits), Classes((28, 28, 1), 4))
    for variable in chosen.weights:
        variable.assign(variable + 0.25)
    path = tmp_path / "last.weights.h5"
    chosen.save_weights(path)
    model = network(recipe(digits, f"weights={path}"), Classes((28, 28, 1), 7))
    ours, theirs = named_variables(model), named_variables(chosen)
    for name in ours:
        if name.startswith("predictions/"):
            np.testing.assert_array_equal(ours[name], 0)
        else:
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.training
def test_run_from_weights(digits, tmp_path):
    """It goes on bit for bit; the whole network is stored, and evaluated without the set."""
    settings = ("epochs=2", "batch=16", "checkpoint_steps=2", "flip=true")
    chosen = recipe(digits, *settings)
    results = Run(chosen, tmp_path / "whole").train()

    def step(run, epoch, done):
        if (epoch, done) == (1, 3):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        Run(chosen, tmp_path / "run", progress=step).train()
    assert Run(chosen, tmp_path / "run").train(resume=True) == results
    values, expected = (training_runs.final_values(tmp_path / f) for f in ("run", "whole"))
    assert values == expected
    report = evaluate(str(tmp_path / "run"))
    assert report.cross_entropy == pytest.approx(results["test"]["cross_entropy"], rel=1e-5)
    assert report.classes == [str(digit) for digit in range(10)]
    best = keras.models.load_model(tmp_path / "run" / "best.keras")
    assert best.output_shape == (None, 10)


@pytest.mark.training
def test_digits(run, tmp_path):
    """The command of the recipe's docstring, on all digits: at least 97 % of the held-out fifth."""
    settings = [f"--set={setting}" for setting in SETTINGS]
    settings.append(f"--set=data_dir={write(tmp_path / 'digits')}")
    folder = tmp_path / "run"
    code, _, err = run("train", "finetune", *settings, "--run", folder)
    assert code == 0, err
    code, out, _ = run("evaluate", folder, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["pictures"] == 359
    assert report["top1"] >= 0.97


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("weights=null",), "`weights` must be given with new_head=true"),
        (("weights=imagenet",), "Received: weights='imagenet'"),
        (("new_head=false", "data_dir=few"), "has 10 classes. Received: classes=2"),
        (("weights=absent.weights.h5", "image_size=28", "crop=1"), "does not exist"),
        (("data_dir=few", "batch=9"), "at most the 8 training pictures"),
        (("data_dir=one",), "1 folder(s)"),
        (("data_dir=empty",), "expected a picture"),
    ],
)
def test_mistakes(settings, expected, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, labels in (("few", "37"), ("one", "3")):
        for label in labels:
            files = sorted((digits / label).iterdir())[:5]
            (tmp_path / name / label).mkdir(parents=True)
            for file in files:
                (tmp_path / name / label / file.name).write_bytes(file.read_bytes())
    for label in "37":
        (tmp_path / "empty" / label).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"Received|does not exist") as caught:
        Run(recipe(digits, "batch=8", *settings), tmp_path / "run").train()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
