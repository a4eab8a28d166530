"""Training runs: what they write, and that they go on bit for bit."""

import csv
import json
import os
import signal
import subprocess
import sys

import fashion_mnist_files
import h5py
import keras
import numpy as np
import processes
import pytest
import training_runs
from PIL import Image

import keras_se
from keras_se.data.datasets import fetched, load_pictures
from keras_se.recipes import get_recipe, recipe_names
from keras_se.training.compilation import SummedSigmoid, compile_for_training
from keras_se.training.figures import figures
from keras_se.training.recipe_data import load_data, training_batches
from keras_se.training.run import Interrupted, Run
from keras_se.training.splits import split


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fashion_mnist_files.write(tmp_path_factory.mktemp("data") / "fashion")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that nobody stops."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    lines = []
    Run(training_runs.recipe(data), folder, report=lines.append).train()
    return folder, lines


def test_run_folder(whole, data):
    folder, lines = whole
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md", "best.keras", "best.weights.h5", "checkpoints", "curves.png", "data.json",
        "environment.json", "files.json.gz", "last.keras", "last.weights.h5", "lock", "metrics.csv",
        "recipe.json", "results.json", "tensorboard",
    }  # fmt: skip
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert f"{float(rows[-1]['val_top1']):.2%}" in lines[-1]
    results = json.loads((folder / "results.json").read_text())
    assert 0 <= results["test"]["top1"] <= 1
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["keras"] == keras.__version__
    assert environment["backend"] == keras.backend.backend()

    card = (folder / "README.md").read_text()
    call = card.split("`")[1].replace("last.keras", str(folder / "last.keras"))
    model = eval(call, {"keras": keras})
    test = load_pictures("fashion_mnist", data)["test"]
    predicted = model.predict(test.pictures, verbose=0).argmax(1)
    assert (predicted == test.labels).mean() == results["test"]["top1"]
    assert f"in order: {', '.join(test.names)}." in card
    settings = {"input_shape": test.shape, "variant": training_runs.recipe(data).variant}
    weights = folder / "last.weights.h5"
    alone = keras_se.SEResNet20(weights=weights, classifier_activation=None, **settings)
    np.testing.assert_array_equal(*(m.predict(test.pictures, verbose=0) for m in (model, alone)))


def events(folder):
    """Values by epoch of each figure, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {
        tag: [(event.step, found_value(event)) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def found_value(event):
    from tensorboard.util.tensor_util import make_ndarray

    return float(make_ndarray(event.tensor_proto))


def test_events_are_the_figures_of_the_epochs(whole):
    rows = list(csv.DictReader((whole[0] / "metrics.csv").open()))
    found = events(whole[0])
    assert found.keys() == rows[0].keys() - {"epoch"}
    for name, values in found.items():
        assert [step for step, _ in values] == [1, 2, 3]
        # Written in single precision.
        assert [value for _, value in values] == pytest.approx(
            [float(row[name]) for row in rows], rel=1e-6
        )


def interrupted(folder, data, at, number):
    def step(run, epoch, done):
        if epoch * run.steps + done == at:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as caught:
        Run(training_runs.recipe(data), folder, progress=step).train(resume=folder.exists())
    return caught.value.exit_code


@pytest.mark.training
def test_interrupted_run_goes_on_bit_for_bit(whole, data, tmp_path):
    folder = tmp_path / "run"
    # In the middle of an epoch, at its last step, and at its first.
    assert interrupted(folder, data, 3, signal.SIGTERM) == 143
    assert interrupted(folder, data, 12, signal.SIGINT) == 130
    assert interrupted(folder, data, 13, signal.SIGTERM) == 143
    lines = []
    run = Run(training_runs.recipe(data), folder, report=lines.append)
    results = run.train(resume=True)
    assert "resuming from epoch 3, step 1" in lines
    assert training_runs.final_values(folder) == training_runs.final_values(whole[0])
    assert results == json.loads((whole[0] / "results.json").read_text())
    ours, theirs = (
        [{k: v for k, v in row.items() if k != "pictures_per_second"} for row in rows]
        for rows in (
            csv.DictReader((f / "metrics.csv").open()) for f in (folder, whole[0])
        )
    )  # fmt: skip
    assert ours == theirs
    assert [step for step, _ in events(folder)["loss"]] == [1, 2, 3]

    # Once more, when nothing is left to do.
    assert Run(training_runs.recipe(data), folder).train(resume=True) == results
    assert training_runs.final_values(folder) == training_runs.final_values(whole[0])


@pytest.mark.training
@pytest.mark.parametrize("name", recipe_names())
def test_recipes(name, data, tmp_path):
    """Three steps of each recipe, on few pictures that are as large as its own.

    Then some more on one batch, whose loss falls.
    """
    chosen = get_recipe(name)
    settings = ["batch=6", "epochs=1", "warmup_epochs=0", "held_out=0", "learning_rate=0.001",
                "learning_rate_batch=null"]  # fmt: skip
    if chosen.weights:
        # No set of this size is at hand; `test_finetune_recipe` has a run of it.
        settings += ["weights=null", "new_head=false", "image_size=224", "crop=0.875"]
    if chosen.data == "folder":
        pictures = load_pictures("fashion_mnist", data)["train"].pictures
        for n in range(23):
            path = tmp_path / "pictures" / f"class{n % 2}" / f"{n}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[n, ..., 0]).resize((500, 375)).save(path)
        settings.append(f"data_dir={tmp_path / 'pictures'}")
    else:
        settings += ["data=fashion_mnist", f"data_dir={data}", "held_out=42"]
    chosen = chosen.changed(settings)
    run = Run(chosen, tmp_path / "run")
    run.train()
    assert run.steps == 3
    (row,) = run.history
    assert np.isfinite([row["loss"], row["val_cross_entropy"]]).all()
    training, _, _ = split(load_data(chosen, pytest.fail), chosen)
    batch = next(iter(training_batches(training, chosen, 0)))
    compile_for_training(run.model, chosen.changed(["epochs=5"]), 3, training.labels)
    losses = [float(run.model.train_on_batch(*batch)[0]) for _ in range(6)]
    assert np.isfinite(losses).all()
    # Of the last ones the mean, since dropout and SGD's momentum make it bounce.
    assert np.mean(losses[3:]) < losses[0]


OPTIONS = [
    ("optimizer=lamb", "learning_rate=0.005", "weight_decay=0.02"),
    ("optimizer=adamw", "learning_rate=0.01", "clip_norm=1.0"),
    ("precision=mixed_bfloat16",),
    ("precision=mixed_float16",),
    ("loss=sigmoid", "label_smoothing=0.1"),
    ("schedule=step", "drops=[1]"),
]


@pytest.mark.training
@pytest.mark.parametrize("settings", OPTIONS, ids=lambda settings: settings[0])
def test_options_go_on_bit_for_bit(data, tmp_path, settings):
    recipe = training_runs.recipe(data, "epochs=2", "warmup_epochs=0", *settings)
    runs = [Run(recipe, tmp_path / name) for name in ("whole", "run")]
    runs[0].train()
    losses = [row["loss"] for row in runs[0].history]
    assert np.isfinite(losses).all()

    def step(run, epoch, done):
        if (epoch, done) == (0, 5):
            os.kill(os.getpid(), signal.SIGTERM)

    runs[1].progress = step
    with pytest.raises(Interrupted):
        runs[1].train()
    Run(recipe, tmp_path / "run").train(resume=True)
    values, expected = (training_runs.final_values(tmp_path / f) for f in ("run", "whole"))
    assert values == expected


IN_ONE_PROCESS = """
import sys
from pathlib import Path
import training_runs
from keras_se.training.run import Run

folder, lines = Path(sys.argv[1]), []
runs = {"before": "false", "first": "true", "second": "true", "after": "false"}
for name, wanted in runs.items():
    settings = ("epochs=1", "warmup_epochs=0", f"deterministic={wanted}")
    said = []
    Run(training_runs.recipe(sys.argv[2], *settings), folder / name, report=said.append).train()
    lines.append(sum("deterministic=true" in line for line in said))
assert lines == [0, 0, 0, 1], lines
"""


@pytest.mark.training
def test_deterministic_operations_stay_on(data, tmp_path):
    """TensorFlow's cannot be turned off, and their last bits are others: the next run says so."""
    command = [sys.executable, "-c", IN_ONE_PROCESS, tmp_path, data]
    environment = processes.environment(keras.backend.backend())
    subprocess.run(command, env=environment, check=True, capture_output=True)
    before, first, second, after = (
        training_runs.final_values(tmp_path / name)
        for name in ("before", "first", "second", "after")
    )
    assert first == second == after
    assert before != first


@pytest.mark.training
def test_stopped_between_two_epochs(data, tmp_path):
    """The next one measures its own steps alone."""
    recipe = training_runs.recipe(data)
    Run(recipe, tmp_path / "whole").train()

    def report(line):
        if line.startswith("epoch 2/3"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        Run(recipe, tmp_path / "run", report=report).train()
    assert list((tmp_path / "run" / "checkpoints").glob("00002-0000000.*.h5"))
    Run(recipe, tmp_path / "run").train(resume=True)
    values, expected = (training_runs.final_values(tmp_path / f) for f in ("run", "whole"))
    assert values == expected


def test_sum_of_sigmoid_losses():
    random = np.random.default_rng(3)
    logits, targets = random.normal(0, 2, (4, 7)), random.random((4, 7))
    probabilities = 1 / (1 + np.exp(-logits))
    losses = -targets * np.log(probabilities) - (1 - targets) * np.log(1 - probabilities)
    got = SummedSigmoid(reduction=None)(targets.astype("float32"), logits.astype("float32"))
    np.testing.assert_allclose(got, losses.sum(1), rtol=1e-5)
    # Each class for itself: 0.2, 0.8 and, cut off, 0.1 of a mixed picture.
    mixed, whole = np.array([[0.2, 0.8, 0, 0.1]], "float32"), [[0.0, 1.0, 0.0, 0.0]]
    for threshold, expected in ((0.2, whole), (0.1, [[1.0, 1.0, 0.0, 0.0]])):
        loss = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(SummedSigmoid(threshold))
        )
        np.testing.assert_allclose(
            loss(mixed, logits[:1, :4]), SummedSigmoid()(expected, logits[:1, :4]), rtol=1e-6
        )


def all_finite(folder):
    """How many checkpoints and networks a run has written, all of whose numbers are finite."""
    checkpoints = list((folder / "checkpoints").glob("*.h5"))
    for path in checkpoints:
        with h5py.File(path) as file:
            assert all(np.isfinite(file[name][()]).all() for name in file)
    networks = list(folder.glob("*.keras"))
    for path in networks:
        assert all(np.isfinite(v).all() for v in keras.saving.load_model(path).weights)
    return len(checkpoints), len(networks)


@pytest.mark.parametrize(
    ("batch", "expected", "kept"),
    [(8, r"The loss is nan at epoch 1, step 2;", 1), (52, r"The validation loss is nan at", 0)],
)
def test_loss_that_is_no_number(data, tmp_path, batch, expected, kept):
    """In the second step, or after an epoch's only one, whose own loss is that of the start."""
    recipe = training_runs.recipe(
        data, "learning_rate=1e30", "learning_rate_batch=null", "warmup_epochs=0",
        "checkpoint_steps=1", "ema=null", f"batch={batch}",
    )  # fmt: skip
    with pytest.raises(FloatingPointError, match=expected) as caught:
        Run(recipe, tmp_path / "run").train()
    assert "\n" not in str(caught.value)
    assert "keeps the last good weights. A lower learning_rate" in str(caught.value)
    assert all_finite(tmp_path / "run") == (kept, 0)


@pytest.mark.training
@pytest.mark.parametrize(
    ("at", "expected"), [(3, "sum of the weights is nan"), (6, "validation loss is nan")]
)
def test_last_good_weights(data, tmp_path, at, expected):
    """An update within an epoch or the last one ruins the weights; resuming starts before it."""
    recipe = training_runs.recipe(data, "checkpoint_steps=1", "ema=null")

    def step(run, epoch, done):
        if (epoch, done) == (1, at):
            kernel = run.model.trainable_variables[0]
            kernel.assign(np.full(kernel.shape, np.nan))

    run = Run(recipe, tmp_path / "run", progress=step)
    with pytest.raises(FloatingPointError, match=f"The {expected} at epoch 2, step {at};"):
        run.train()
    assert run.steps == 6
    assert all_finite(tmp_path / "run") == (2, 2)
    assert len(list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))) == 1
    lines = []
    Run(recipe, tmp_path / "run", report=lines.append).train(resume=True)
    assert f"resuming from epoch 2, step {at - 1}" in lines
    Run(recipe, tmp_path / "whole").train()
    values, expected = (training_runs.final_values(tmp_path / f) for f in ("run", "whole"))
    assert values == expected


def test_folder_of_another_run(whole, data, tmp_path):
    folder = whole[0]
    with pytest.raises(ValueError, match="new or empty folder") as caught:
        Run(training_runs.recipe(data), folder).train()
    assert str(folder) in str(caught.value)
    (tmp_path / "lock").touch()
    (tmp_path / "recipe.json.7.tmp").touch()
    run = Run(training_runs.recipe(tmp_path), tmp_path)
    with pytest.raises(FileNotFoundError, match="train-images"):
        run.train()
    with pytest.raises(ValueError, match=r"another recipe: epochs \(3, 4\)$"):
        Run(training_runs.recipe(data, "epochs=4"), folder).train(resume=True)
    with pytest.raises(ValueError, match="expected the recipe of a run"):
        Run(training_runs.recipe(data), tmp_path).train(resume=True)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("batch=54", "at most the 52 training pictures"),
        ("held_out=60", "less than the 60 training pictures"),
        ("data=fashion", "Did you mean 'fashion_mnist'"),
        ("data=cifar10", "`data_dir` must be null"),
        ("se.ratio=1000", "at most the number of channels"),
        ("variant.blokcs=[1]", "Did you mean 'blocks'"),
    ],
)
def test_recipes_that_do_not_fit(data, tmp_path, setting, expected):
    with pytest.raises(ValueError, match="Received") as caught:
        Run(training_runs.recipe(data, setting), tmp_path / "run").train()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_network(tmp_path):
    """Keras says so with a bare `Exception`; nobody listens at that port."""

    def load():
        return keras.utils.get_file("x", "http://localhost:9/x", cache_dir=tmp_path)

    with pytest.raises(OSError, match="the download failed") as caught:
        fetched("cifar10", load)
    assert str(caught.value).startswith("cifar10: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(ZeroDivisionError):
        fetched("cifar10", lambda: 1 / 0)


def test_missing_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images"):
        Run(training_runs.recipe(tmp_path), tmp_path / "run").train()
    assert not (tmp_path / "run").exists()


def test_labels_out_of_range(data, tmp_path):
    import gzip

    for file in data.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    labels = bytearray(gzip.decompress(path.read_bytes()))
    labels[8 + 17] = 11
    path.write_bytes(gzip.compress(bytes(labels)))
    with pytest.raises(ValueError, match="Received: 11, of picture 17") as caught:
        load_pictures("fashion_mnist", tmp_path)
    assert "0 to 9" in str(caught.value)
    path.write_bytes(gzip.compress(bytes(labels))[:-20])
    with pytest.raises(ValueError, match="gzipped IDX"):
        load_pictures("fashion_mnist", tmp_path)
    path.write_bytes(gzip.compress(bytes(labels[:-1])))
    with pytest.raises(ValueError, match="undamaged"):
        load_pictures("fashion_mnist", tmp_path)


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_figures(scores):
    random = np.random.default_rng(5)
    logits, labels = random.normal(0, 3, (50, 12)), random.integers(0, 12, 50)
    got = figures(logits, labels, scores)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = -np.log(probabilities[np.arange(50), labels])
    if scores == "sigmoid":
        own = np.where(np.eye(12)[labels] > 0, logits, -logits)
        losses = np.log(1 + np.exp(-own)).sum(1)
    assert got["cross_entropy"] == pytest.approx(losses.mean())
    assert got["top1"] == (logits.argmax(1) == labels).mean()
    better = (logits > logits[np.arange(50), labels][:, None]).sum(1)
    assert got["top5"] == (better < 5).mean()
    # Without overflow.
    extreme = figures(np.full((1, 3), 1e4), np.array([0]), scores)["cross_entropy"]
    assert extreme == pytest.approx({"softmax": np.log(3), "sigmoid": 2e4}[scores])


def test_command_line(run, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [f"--set={setting}" for setting in (*training_runs.SETTINGS, f"data_dir={data}")]
    code, out, _ = run("train", "fashion_mnist", *settings, "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert plan["steps"] == 18
    assert plan["training_pictures"] == 52
    assert plan["parameters_trainable"] == 78545
    assert plan["memory_mib"] > 1
    folder = tmp_path / "run"
    code, out, _ = run(
        "train",
        "fashion_mnist",
        *settings,
        "--set=epochs=1",
        "--set=warmup_epochs=0",
        "--run",
        folder,
    )
    assert code == 0
    assert "epoch 1/1: loss" in out
    assert "test top1" in out
    for arguments, expected in {
        ("--run", folder): "new or empty folder",
        ("--run", folder, "--resume"): "another recipe: epochs",
        ("--set=batch=60",): "at most the 52 training pictures",
        ("--set=bacth=60",): "Did you mean 'batch'?",
        ("--strategy", "mirored"): "Did you mean 'mirrored'?",
        ("--strategy", "jax"): "KERAS_BACKEND=jax",
    }.items():
        code, _, err = run("train", "fashion_mnist", *settings, *arguments)
        assert code == 2
        assert expected in err.splitlines()[-1]
    code, _, err = run("train", "fashion-mnist")
    assert code == 2
    assert "Did you mean 'fashion_mnist'?" in err
