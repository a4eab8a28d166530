"""Runs on pictures with several labels."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import training_runs
from command_line import assert_mistake
from picture_folders import recipe
from PIL import Image
from sklearn.metrics import average_precision_score

import keras_se
from keras_se.commands._excitations import excitations_of
from keras_se.training.contents import load_test
from keras_se.training.evaluation import evaluate
from keras_se.training.figures import figures, logits
from keras_se.training.recipe import from_dict
from keras_se.training.recipe_data import load_data
from keras_se.training.run import Run
from keras_se.training.splits import split

NAMES = ["blue", "green", "red"]
# Batches of other sizes, eager and compiled.
TOLERANCE = 1e-4
SETTINGS = ("labels=separated", "loss=sigmoid", "batch=8")


def write(folder, count=48):
    """Pictures in which each of three colours is or is not, and a table of them."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = ["file,label,split"]
    for n in range(count):
        has = random.integers(0, 2, 3)
        picture = random.integers(0, 60, (16, 16, 3)) + 180 * has[::-1]
        Image.fromarray(picture.astype("uint8")).save(folder / f"{n}.png")
        own = "|".join(name for name, own in zip(NAMES, has, strict=True) if own)
        rows.append(f"{n}.png,{own},{('train', 'train', 'val', 'test')[n % 4]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def recipe_of(folder):
    return from_dict(json.loads((folder / "recipe.json").read_text()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    write(folder / "pictures")
    chosen = recipe(
        folder / "pictures", *SETTINGS, "separator=|", "epochs=12", "learning_rate=1",
        "mixup=0.1", "target_threshold=0.2",
    )  # fmt: skip
    lines = []
    run = Run(chosen, folder / "run", report=lines.append)
    return folder / "run", run.train(), lines


@pytest.mark.training
def test_figures_of_a_run(trained):
    folder, results, lines = trained
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {
        "epoch", "loss", "pictures_per_second", "val_cross_entropy", "val_mean_average_precision",
        "val_classes_left_out",
    }  # fmt: skip
    assert results["test"].keys() == {
        "cross_entropy", "mean_average_precision", "classes_left_out"
    }  # fmt: skip
    assert any("validation mean average precision" in line for line in lines)
    # It learns; by chance it would be about one half.
    assert results["test"]["mean_average_precision"] > 0.8
    # `best.keras` is the first epoch with the best one.
    best = max(float(row["val_mean_average_precision"]) for row in rows)
    _, validation, _ = split(load_data(recipe_of(folder), pytest.fail), recipe_of(folder))
    network = keras.saving.load_model(folder / "best.keras")
    found = figures(logits(network, validation, 8), validation.labels, "sigmoid")
    assert found["mean_average_precision"] == pytest.approx(best, rel=TOLERANCE)
    assert (folder / "curves.png").exists()
    card = (folder / "README.md").read_text()
    assert "the best validation\n  mean average precision" in card
    assert "independent probabilities" in card


@pytest.mark.training
def test_evaluate(trained, run):
    folder, results, _ = trained
    found = evaluate(folder)
    for name, value in results["test"].items():
        assert getattr(found, name) == pytest.approx(value, rel=TOLERANCE)
    test = load_test(folder, recipe_of(folder), pytest.fail)
    (batch,) = test.evaluation(len(test))
    logits = keras.saving.load_model(folder / "last.keras").predict(batch, verbose=0)
    assert found.classes == NAMES
    assert found.positives == test.labels.sum(0).tolist()
    for n, value in enumerate(found.average_precisions):
        expected = average_precision_score(test.labels[:, n], logits[:, n])
        assert value == pytest.approx(expected, abs=TOLERANCE)
    code, out, _ = run("evaluate", folder)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[-3:]] == NAMES
    assert "average precision" in out


@pytest.mark.training
@pytest.mark.parametrize("name", ["", "best.keras"])
def test_folders_of_classes_give_one_label(name, trained, run, tmp_path):
    """Which is not what such a run has learned: its figures would be others."""
    for label in NAMES:
        (tmp_path / label).mkdir()
        Image.new("RGB", (16, 16)).save(tmp_path / label / "0.png")
    found = run("evaluate", trained[0] / name, "--data", tmp_path)
    assert_mistake(found, "`data` must be None for a run of several labels", f"data='{tmp_path}'")


@pytest.mark.training
def test_evaluate_with_mirror_images(trained, run):
    """The figures of the mean of both probabilities, which are not those of the pictures alone."""
    folder, results, _ = trained
    code, out, err = run("evaluate", folder, "--tta", "flip", "--json")
    assert code == 0, err
    found = json.loads(out)
    test = load_test(folder, recipe_of(folder), pytest.fail)
    (batch,) = test.evaluation(len(test))
    model = keras.saving.load_model(folder / "last.keras")
    both = [model.predict(x, verbose=0).astype("float64") for x in (batch, batch[:, :, ::-1])]
    mean = np.mean([1 / (1 + np.exp(-logits)) for logits in both], axis=0)
    losses = -np.where(test.labels > 0, np.log(mean), np.log(1 - mean))
    assert found["cross_entropy"] == pytest.approx(losses.sum(1).mean(), rel=TOLERANCE)
    assert found["cross_entropy"] != pytest.approx(results["test"]["cross_entropy"], rel=0.001)
    for n, value in enumerate(found["average_precisions"]):
        expected = average_precision_score(test.labels[:, n], mean[:, n])
        assert value == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.training
def test_predict_and_export(trained, run, tmp_path):
    """Probabilities of each label for itself."""
    folder, _, _ = trained
    known = keras_se.describe(keras_se.get_model(folder))
    assert (known.answers, known.scores, list(known.labels)) == ("logits", "sigmoid", NAMES)
    picture = folder.parent / "pictures" / "3.png"
    model = keras.saving.load_model(folder / "last.keras")
    logits = model.predict(keras_se.load_image(picture, model), verbose=0)[0]
    code, out, err = run("predict", picture, "--weights", folder, "--json")
    assert code == 0, err
    (entry,) = json.loads(out)
    scores = {row["label"]: row["score"] for row in entry["predictions"]}
    for name, logit in zip(NAMES, logits, strict=True):
        assert scores[name] == pytest.approx(1 / (1 + np.exp(-logit)), abs=TOLERANCE)
    keras_se.export(keras_se.get_model(folder), tmp_path / "served")
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    answer = serve(image_bytes=tf.constant([picture.read_bytes()]))
    served = dict(
        zip(
            [label.decode() for label in answer["labels"].numpy()[0]],
            answer["scores"].numpy()[0].tolist(),
            strict=True,
        )
    )
    assert served == pytest.approx(scores, abs=TOLERANCE)


@pytest.mark.training
def test_excitations(trained):
    """A picture counts for each of its labels."""
    folder, _, _ = trained
    _, found = excitations_of(str(folder), None, "all")
    test = load_test(folder, recipe_of(folder), pytest.fail)
    assert list(found.classes) == NAMES
    assert found.counts.tolist() == test.labels.sum(0).tolist()


@pytest.mark.training
def test_changed_labels(trained):
    """A run does not go on, nor is it evaluated, with other labels."""
    folder, _, _ = trained
    table = folder.parent / "pictures" / "labels.csv"
    before = table.read_text()
    lines = before.splitlines()
    place = next(n for n, line in enumerate(lines) if line.endswith("test") and "red" not in line)
    lines[place] = lines[place].replace(",test", "|red,test").replace(",|", ",")
    try:
        table.write_text("\n".join(lines))
        with pytest.raises(ValueError, match="different data: changed"):
            evaluate(folder)
    finally:
        table.write_text(before)


@pytest.mark.training
def test_dry_run(run, trained, tmp_path):
    folder, _, _ = trained
    settings = [
        f"--set={setting}"
        for setting in (
            "model=SEResNet20", "weights=null", "new_head=false", "image_size=16", "crop=1",
            f"data_dir={folder.parent / 'pictures'}", "batch=4", "labels=separated",
        )
    ]  # fmt: skip
    command = ("train", "finetune", *settings, "--dry-run", "--json")
    assert_mistake(run(*command), "`loss` must be 'sigmoid' with labels='separated'")
    code, out, err = run(*command, "--set=loss=sigmoid", "--set=separator=|")
    assert code == 0, err
    assert json.loads(out)["class_names"] == NAMES


@pytest.mark.training
@pytest.mark.parametrize("mixing", ["mixup=0.2", "cutmix=1.0"])
def test_resumed_bit_for_bit(mixing, tmp_path):
    write(tmp_path / "pictures")
    chosen = recipe(
        tmp_path / "pictures", *SETTINGS, "separator=|", "epochs=3", "batch=4", mixing,
        "folds=3", "fold=2",
    )  # fmt: skip
    whole, resumed = training_runs.whole_and_resumed(chosen, tmp_path)
    assert whole == resumed
    tables = [(tmp_path / name / "out_of_fold.csv").read_text() for name in ("whole", "run")]
    assert tables[0] == tables[1]
    head, *rows = csv.reader(tables[0].splitlines())
    assert head == ["picture", "class", *NAMES]
    given = dict(
        row.split(",")[:2] for row in (tmp_path / "pictures" / "labels.csv").read_text().split()
    )
    assert rows
    assert {row[0]: row[1] for row in rows} == {row[0]: given[row[0]] for row in rows}
