"""A run is a network for every command and function, with the classes it was trained on."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from command_line import Run, assert_mistake
from exported import trained_like
from picture_folders import recipe, write
from PIL import Image

import keras_se
from keras_se.commands._excitations import excitations_of
from keras_se.serving.description import network_of, transform_of
from keras_se.training.contents import contents_of, data_account, packed
from keras_se.training.evaluation import evaluate
from keras_se.training.networks import network
from keras_se.training.recipe_data import load_data
from keras_se.training.splits import described, split
from keras_se.training.tasks import task_of

SETTINGS = ("crop=0.8", "image_size=20")
NAMES = ["a", "b", "c"]
# One batch and several, eager and compiled.
TOLERANCE = 1e-5
# Arguments that name the run's network.
SOURCES = ["run", "run/last.keras"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and what a run on them leaves, with random weights."""
    tmp_path = tmp_path_factory.mktemp("original")
    write(tmp_path / "pictures" / "train")
    write(tmp_path / "pictures" / "test", count=2)
    chosen = recipe(tmp_path / "pictures", *SETTINGS)
    parts = load_data(chosen, pytest.fail)
    training, validation, test = split(parts, chosen)
    about = data_account(parts, described(training, validation, test))
    path = tmp_path / "run"
    path.mkdir()
    (path / "data.json").write_text(json.dumps(about))
    (path / "files.json.gz").write_bytes(packed(contents_of(parts)))
    trained_like(network(chosen, training)).save(path / "last.keras")
    return tmp_path


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of both, which is the working directory."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    chosen = recipe(tmp_path / "pictures", *SETTINGS)
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(chosen.as_dict()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rename(folder: Path) -> None:
    """Now class 1 of a sorted list is another one."""
    for part in ("train", "test"):
        (folder / "pictures" / part / "b").rename(folder / "pictures" / part / "z")


def expected(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of a part of the pictures."""
    model = keras.saving.load_model(folder / "run" / "last.keras")
    files = sorted((folder / "pictures" / part).rglob("*.png"))
    x = np.concatenate([keras_se.load_image(file, model) for file in files])
    return model.predict(x, verbose=0), np.array([NAMES.index(file.parent.name) for file in files])


@pytest.mark.parametrize("source", SOURCES)
def test_predict(run: Run, folder: Path, source: str) -> None:
    rename(folder)
    images = sorted((folder / "pictures" / "test").rglob("*.png"))
    code, out, err = run("predict", *images, "--weights", source, "--json")
    assert (code, err) == (0, "")
    model = keras_se.get_model(source)
    x = np.concatenate([keras_se.load_image(image, model) for image in images])
    np.testing.assert_array_equal(keras_se.load_image(images[0], source), x[:1])
    scores = np.asarray(keras.ops.softmax(model.predict(x, verbose=0)))
    decoded = keras_se.decode_predictions(scores, 3, source)
    for entry, guesses in zip(json.loads(out), decoded, strict=True):
        for row, (_, label, score) in zip(entry["predictions"], guesses, strict=True):
            assert row["label"] == label
            assert row["score"] == pytest.approx(score, abs=TOLERANCE)


@pytest.mark.parametrize("source", SOURCES)
def test_evaluate(run: Run, folder: Path, source: str) -> None:
    code, out, _ = run("evaluate", source, "--data", "pictures/train", "--json")
    assert code == 0
    scores, labels = expected(folder, "train")
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, scores.argmax(1)), 1)
    report = json.loads(out)
    assert report["classes"] == NAMES
    assert report["confusion"] == confusion.tolist()
    rename(folder)
    for arguments in (("--data", "pictures/train"), *([()] if source == "run" else [])):
        assert_mistake(run("evaluate", source, *arguments), "z")


def test_evaluate_on_its_own_test_pictures(folder: Path) -> None:
    report = evaluate("run")
    scores, labels = expected(folder, "test")
    assert report.pictures == len(labels) == 6
    assert report.top1 == np.mean(scores.argmax(1) == labels)


def test_cross_entropy_of_a_sigmoid_run(folder: Path) -> None:
    """That of the probabilities that `predict` gives, and of the loss: summed over the classes."""
    chosen = recipe(folder / "pictures", *SETTINGS, "loss=sigmoid")
    (folder / "run" / "recipe.json").write_text(json.dumps(chosen.as_dict()))
    parts = load_data(chosen, pytest.fail)
    model = trained_like(network(chosen, parts["train"]))
    model.save(folder / "run" / "last.keras")
    logits, labels = expected(folder, "test")
    chances = keras_se.labels.probabilities(logits, "sigmoid")
    losses = -np.log(np.where(np.eye(3)[labels] > 0, chances, 1 - chances)).sum(1)
    measured = task_of(chosen).measure(model, parts["test"], 4)["cross_entropy"]
    found = [evaluate(*what).cross_entropy for what in (("run",), ("run", "pictures/test"))]
    # Training's decoder rounds otherwise.
    np.testing.assert_allclose([measured, *found], losses.mean(), rtol=1e-3)


def test_files_that_are_not_pictures(run: Run, folder: Path) -> None:
    """The report lists the names of skipped files, and no other lines about the folder."""
    chosen = recipe(folder / "pictures", *SETTINGS, "bad_pictures=skip")
    (folder / "run" / "recipe.json").write_text(json.dumps(chosen.as_dict()))
    bad = folder / "pictures" / "test" / "a" / "bad.png"
    bad.write_bytes(b"no picture")
    (folder / "pictures" / "test" / "a" / "notes.txt").touch()
    assert evaluate("run").skipped == [str(bad)]
    code, out, _ = run("evaluate", "run")
    assert (code, out.splitlines()[-1]) == (0, f"skipped, not a picture: {bad}")


@pytest.mark.parametrize("command", ["evaluate", "excitations"])
def test_data_that_have_moved(run: Run, folder: Path, command: str) -> None:
    chosen = recipe("pictures", *SETTINGS)
    (folder / "run" / "recipe.json").write_text(json.dumps(chosen.as_dict()))
    before = run(command, "run", "--json")
    (folder / "pictures").rename(folder / "moved")
    assert_mistake(
        run(command, "run"), "`data_dir` (--data-dir) must name the data of run",
        f"data_dir='pictures' in the recipe, sought from {folder}",
    )  # fmt: skip
    assert run(command, "run", "--data-dir", "moved/", "--json") == before
    assert before[0] == 0
    for wrong, words in (("moved/train", "its run has different data"), ("", "data_dir=''")):
        assert_mistake(run(command, "run", "--data-dir", wrong), words)


@pytest.mark.parametrize("source", SOURCES)
def test_excitations(run: Run, folder: Path, source: str) -> None:
    code, out, _ = run("excitations", source, "pictures/train", "--json")
    assert code == 0
    assert json.loads(out)["counts"] == dict.fromkeys(NAMES, 5)
    # Folders count by their names, whatever place these have.
    rename(folder)
    code, out, _ = run("excitations", source, "pictures/train", "--json")
    assert json.loads(out)["counts"] == {"a": 5, "c": 5, "z": 5}


def test_excitations_of_its_own_test_pictures(run: Run, folder: Path) -> None:
    _, found = excitations_of("run", None, "all")
    _, other = excitations_of("run", "pictures/test", "all")
    assert found.counts.tolist() == [2, 2, 2]
    assert list(found.classes) == list(other.classes) == NAMES
    for name in found.blocks:
        # Training's decoder rounds otherwise.
        np.testing.assert_allclose(found.mean[name], other.mean[name], atol=1e-3)
    assert_mistake(run("excitations", "run/last.keras"), "`data` must be a folder")
    rename(folder)
    assert_mistake(run("excitations", "run"), "missing class: b; new class: z")


@pytest.mark.parametrize("source", SOURCES)
def test_what_an_export_is_told(folder: Path, source: str) -> None:
    """Names, crop and scores are the run's, whatever its folder of pictures is like now."""
    rename(folder)
    model = keras_se.get_model(source)
    told = network_of(model)
    assert (told.labels, told.scores) == (tuple(NAMES), "softmax")
    assert (transform_of(model).shape, transform_of(model).crop) == ((20, 20, 3), 0.8)


@pytest.mark.export
@pytest.mark.parametrize("source", SOURCES)
def test_export(run: Run, folder: Path, source: str) -> None:
    model = keras.saving.load_model(folder / "run" / "last.keras")
    rename(folder)
    code, _, err = run("export", source, "served", "--top", 3)
    assert code == 0, err
    picture = np.random.default_rng(0).integers(0, 256, (31, 45, 3)).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    serve = tf.saved_model.load("served").signatures["serving_default"]
    answer = serve(image_bytes=tf.constant([file.getvalue()]))
    scores = keras.ops.softmax(model(keras_se.load_image(file.getvalue(), model)))
    order = np.argsort(-np.asarray(scores)[0])
    assert [label.decode() for label in answer["labels"].numpy()[0]] == [NAMES[n] for n in order]
    # A few pixels are one step off.
    np.testing.assert_allclose(answer["probabilities"], scores, atol=0.01)


@pytest.mark.parametrize("source", SOURCES)
def test_cost_and_info(run: Run, folder: Path, source: str) -> None:
    code, out, _ = run("info", source, "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["input_shape"], report["classes"]) == ([20, 20, 3], 3)
    assert report["squeeze_excite_blocks"] == 3
    code, out, _ = run("cost", source, "--json")
    assert code == 0
    assert json.loads(out)["params_total"] == report["params_total"]


def test_info_of_a_builder_with_a_data_set(run: Run) -> None:
    names = ("SEResNet20.fashion_mnist", "se_resnet20.fashion_mnist")
    first, second = (run("info", name, "--json") for name in names)
    assert first == second
    assert first[0] == 0
    assert_mistake(run("info", "absent.keras"), "does not exist")


COMMANDS = {
    "evaluate": ("evaluate", "{}"),
    "excitations": ("excitations", "{}", "pictures/train"),
    "export": ("export", "{}", "served"),
    "predict": ("predict", "pictures/train/a/0.png", "--weights", "{}"),
    "cost": ("cost", "{}"),
    "info": ("info", "{}"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("source", ["pictures", "absent", "absent.keras", ""])
def test_what_is_no_run(run: Run, folder: Path, command: str, source: str) -> None:
    """One short line."""
    code, out, err = run(*(part.format(source) for part in COMMANDS[command]))
    assert_mistake((code, out, err), "Received", repr(source))
    assert len(err) <= 300
