"""The mean of the weights over the last epochs, and their moving average."""

import json

import h5py
import keras
import numpy as np
import pytest
import training_runs

from keras_se.data.datasets import load_pictures
from keras_se.training.averaging import WeightAverage, first_averaged
from keras_se.training.checkpoints import values_of
from keras_se.training.figures import figures
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data, training_batches
from keras_se.training.run import Run
from keras_se.training.splits import split

# Sums of float32 in another order.
CLOSE = 1e-5
SETTINGS = ("ema=null", "epochs=4", "swa=0.5")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    import fashion_mnist_files

    return fashion_mnist_files.write(tmp_path_factory.mktemp("data") / "fashion")


def trained(recipe, folder):
    """A run, its weights after each step and each epoch, and its figures on the test pictures."""
    steps, epochs = [], []

    def step(run, epoch, done):
        steps.append(values_of(run.model.trainable_variables))

    def report(line):
        if line.startswith("epoch "):
            epochs.append(values_of(run.model.variables))

    run = Run(recipe, folder, progress=step, report=report)
    test = run.train()["test"]
    return run, steps, epochs, test


@pytest.fixture(scope="module")
def averaged(data, tmp_path_factory):
    """With the mean over the last two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "averaged"
    return trained(training_runs.recipe(data, *SETTINGS), folder)


@pytest.fixture(scope="module")
def moving(data, tmp_path_factory):
    """With the moving average."""
    folder = tmp_path_factory.mktemp("runs") / "moving"
    return trained(training_runs.recipe(data, "epochs=4", "ema=0.95"), folder)


def test_mean_of_the_last_epochs(averaged):
    run, steps, _, _ = averaged
    saved = keras.saving.load_model(run.folder / "last.keras")
    after = steps[run.steps - 1 :: run.steps]
    assert len(after) == 4
    for variable, third, fourth in zip(saved.trainable_variables, *after[2:], strict=True):
        np.testing.assert_allclose(variable, (third + fourth) / 2, atol=CLOSE)
    assert "their mean over the ends of the last 2 epochs" in (run.folder / "README.md").read_text()


def test_moving_average(moving):
    """By hand, from the weights after each step, which differ from it."""
    run, steps, _, _ = moving
    saved = keras.saving.load_model(run.folder / "last.keras")
    assert len(steps) == 4 * run.steps
    expected = [value.astype("float64") for value in steps[0]]
    for values in steps[1:]:
        expected = [0.95 * e + 0.05 * v for e, v in zip(expected, values, strict=True)]
    differences = []
    for variable, average, raw in zip(saved.trainable_variables, expected, steps[-1], strict=True):
        np.testing.assert_allclose(variable, average, atol=CLOSE)
        differences.append(np.abs(variable - raw).max())
    assert max(differences) > 1000 * CLOSE
    assert min(differences) > 0
    assert "(their moving average)" in (run.folder / "README.md").read_text()


@pytest.mark.parametrize("name", ["averaged", "moving"])
def test_weights_are_put_back(name, request):
    """Bit for bit, each time that their average has been validated and saved."""
    run, steps, epochs, _ = request.getfixturevalue(name)
    trained = [id(v) for v in run.model.trainable_variables]
    places = [n for n, v in enumerate(run.model.variables) if id(v) in trained]
    after = steps[run.steps - 1 :: run.steps]
    for before, values in zip(after, epochs, strict=True):
        for old, place in zip(before, places, strict=True):
            np.testing.assert_array_equal(old, values[place])
    # Nor do the last measurements change anything.
    for old, variable in zip(epochs[-1], run.model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize("name", ["averaged", "moving"])
def test_statistics_are_recomputed(name, request):
    """Those of the first BatchNorm are the mean over the batches of what goes into it."""
    run = request.getfixturevalue(name)[0]
    saved = keras.saving.load_model(run.folder / "last.keras")
    norms = [x for x in saved.layers if isinstance(x, keras.layers.BatchNormalization)]
    training, _, _ = split(load_data(run.recipe, pytest.fail), run.recipe)
    before = keras.Model(saved.inputs, norms[0].input)
    batches = training_batches(training, run.recipe, 3)
    found = [before.predict(batches[n][0], verbose=0) for n in range(len(batches))]
    assert len(found) == run.steps
    means, variances = (
        np.mean([f(x, axis=(0, 1, 2)) for x in found], 0) for f in (np.mean, np.var)
    )
    np.testing.assert_allclose(norms[0].moving_mean, means, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(norms[0].moving_variance, variances, rtol=1e-4)
    # All others differ from those that training itself has gathered.
    own = [x for x in run.model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for mean, other in zip(norms, own, strict=True):
        assert not np.allclose(mean.moving_variance, other.moving_variance, rtol=1e-3)
    assert {x.momentum for x in own} == {x.momentum for x in norms}


@pytest.mark.parametrize("name", ["averaged", "moving"])
def test_what_is_saved_is_what_is_evaluated(name, request, data):
    run, _, _, test = request.getfixturevalue(name)
    saved = keras.saving.load_model(run.folder / "last.keras")
    for part, row in (
        (load_pictures("fashion_mnist", data)["test"], test),
        (
            split(load_data(run.recipe, pytest.fail), run.recipe)[1],
            {k.removeprefix("val_"): v for k, v in run.history[-1].items()},
        ),
    ):
        logits = saved.predict(part.pictures.astype("float32"), verbose=0).astype("float64")
        for name, value in figures(logits, part.labels, run.recipe.loss).items():
            assert row[name] == pytest.approx(value, rel=1e-4)


@pytest.mark.training
def test_training_is_the_same_without_it(averaged, data, tmp_path):
    """Averaging changes neither the weights, nor the random numbers, nor the first epochs."""
    run, _, _, _ = averaged
    plain = Run(training_runs.recipe(data, *SETTINGS, "swa=null"), tmp_path / "plain")
    plain.train()
    values = [sorted((r.folder / "checkpoints").glob("*.h5"))[-1] for r in (plain, run)]
    with h5py.File(values[0]) as one, h5py.File(values[1]) as other:
        assert len(other) == len(one) + len(run.model.weights)
        for name in one:
            np.testing.assert_array_equal(one[name][()], other[name][()])
    rows = [[row["val_cross_entropy"] for row in r.history] for r in (plain, run)]
    assert rows[0][:2] == rows[1][:2]
    assert rows[0][2] != rows[1][2]


def test_first_averaged_epoch():
    recipe = Recipe(model="SEResNet20", data="fashion_mnist")
    shares = {"0.75": 75, "0": 0, "0.29": 29, "0.995": 99, "null": None}
    for share, first in shares.items():
        assert first_averaged(recipe.changed([f"swa={share}"])) == first


def test_mistakes():
    recipe = Recipe(model="SEResNet20", data="fashion_mnist")
    with pytest.raises(ValueError, match=r"`ema` and `swa` .* Received: ema=0.9, swa=0.5"):
        recipe.changed(["ema=0.9", "swa=0.5"])
    with pytest.raises(ValueError, match="`swa` must be null or a number from 0 to less than 1"):
        recipe.changed(["swa=1"])
    average = WeightAverage(recipe.changed(["ema=0.9"]))
    assert average.restore([], {"epoch": 0}, 3) == []
    with pytest.raises(ValueError, match="only that version can resume it"):
        average.restore([], {"epoch": 2}, 3)


@pytest.mark.training
@pytest.mark.parametrize(
    "settings", [("ema=null", "swa=0.5"), ("ema=null", "swa=0"), ("ema=0.9",)], ids=str
)
def test_resumed_bit_for_bit(settings, data, tmp_path):
    """Killed before the first mean is taken, and after it; once more, when nothing is left."""
    chosen = training_runs.recipe(data, *settings)
    whole, resumed = training_runs.whole_and_resumed(chosen, tmp_path)
    assert whole == resumed
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert Run(chosen, tmp_path / "run").train(resume=True) == results
