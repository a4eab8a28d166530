"""`keras-se evaluate`: sets of weights and runs, on arrays and on folders of pictures."""

import json
import os
from pathlib import Path

import fashion_mnist_files
import keras
import numpy as np
import prepared_sets
import pytest
import training_runs
from command_line import assert_mistake
from PIL import Image

import keras_se
from keras_se.data.datasets import load_pictures
from keras_se.labels import class_names
from keras_se.recipes import get_recipe
from keras_se.training.evaluation import data_set_files, evaluate
from keras_se.training.run import Run

NAME = "se_resnet20.fashion_mnist"


@pytest.fixture
def folder(tmp_path):
    """The first test picture of each class, in folders of its identifier or its name."""
    for n, picture in enumerate(fashion_mnist_files.one_of_each_class()):
        identifier, name = class_names("fashion_mnist")[n]
        part = tmp_path / "pictures" / (identifier if n % 2 or "/" in name else name)
        part.mkdir(parents=True)
        Image.fromarray(picture).save(part / "first.png")
        # Colour is converted, as publishers do.
        Image.fromarray(picture).convert("RGB").save(part / "second.png")
    return tmp_path / "pictures"


def test_folder(folder):
    report = evaluate(NAME, folder)
    assert report.pictures == 20
    confusion = np.array(report.confusion)
    model = keras_se.SEResNet20(weights=NAME)
    pictures = fashion_mnist_files.one_of_each_class()[..., None]
    scores = model.predict(pictures, verbose=0)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (np.arange(10), scores.argmax(1)), 2)
    np.testing.assert_array_equal(confusion, expected)
    assert report.top1 == np.trace(expected) / 20
    own = scores[np.arange(10), np.arange(10)]
    assert report.cross_entropy == pytest.approx(-np.log(own).mean(), rel=1e-4)
    assert report.classes[9] == "Ankle_boot"
    assert [row[1] for row in report.per_class()] == [2] * 10
    assert report.skipped == []


def test_mirrored_pictures_count_as_much(folder, run):
    """The mean of both probabilities, whether the pictures are in files or in memory."""
    report = evaluate(NAME, folder, tta="flip")
    model = keras_se.SEResNet20(weights=NAME)
    pictures = fashion_mnist_files.one_of_each_class()[..., None]
    both = [model.predict(x, verbose=0) for x in (pictures, pictures[:, :, ::-1])]
    own = np.mean(both, axis=0)[np.arange(10), np.arange(10)]
    assert report.cross_entropy == pytest.approx(-np.log(own).mean(), rel=1e-4)
    alone = evaluate(NAME, folder).cross_entropy
    assert report.cross_entropy != pytest.approx(alone, rel=1e-3)
    code, out, _ = run("evaluate", NAME, "--data", folder, "--tta", "flip", "--json")
    assert (code, json.loads(out)["cross_entropy"]) == (0, pytest.approx(report.cross_entropy))
    assert_mistake(
        run("evaluate", NAME, "--data", folder, "--tta", "twelve"), "`tta` must be one of"
    )
    # The network takes whole pictures.
    for data in (("--data", folder), ()):
        assert_mistake(run("evaluate", NAME, *data, "--tta", "five"), "no margin to crop", "'five'")


def test_set_with_other_than_the_default_classes(folder):
    """SE-MobileNet's default is 1000."""
    assert evaluate("se_mobilenet_0_25.fashion_mnist", folder).top1 >= 0.9


def test_pictures_that_are_none(folder):
    bad = folder / "1" / "bad.jpg"
    bad.write_bytes(b"no picture")
    (folder / "1" / "notes.txt").write_text("no picture either")
    with pytest.raises(ValueError, match="undamaged picture") as caught:
        evaluate(NAME, folder)
    assert str(bad) in str(caught.value)
    report = evaluate(NAME, folder, bad_pictures="skip")
    assert report.skipped == [str(bad)]
    assert report.pictures == 20


@pytest.fixture
def prepared(tmp_path):
    prepared_sets.prepare(prepared_sets.TinyClothes, tmp_path)
    return tmp_path


def test_prepared_set(run, prepared, folder):
    """Its classes are found by their names, in whatever order they are."""
    code, out, err = run(
        "evaluate", NAME, "--data", "tfds:tiny_clothes", "--data-dir", prepared, "--json"
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    expected = np.array(evaluate(NAME, folder).confusion)
    expected[1:8] = 0
    assert report["confusion"] == expected.tolist()
    assert report["pictures"] == 6
    assert report["top1"] == np.trace(expected) / 6


def test_damaged_record(prepared):
    (shard,) = (prepared / "tiny_clothes").rglob("*test*tfrecord*")
    shard.write_bytes(shard.read_bytes().replace(b"PNG", b"GNP", 1))
    with pytest.raises(ValueError, match=r"tiny_clothes test: picture 0: expected an undamaged"):
        evaluate(NAME, "tfds:tiny_clothes", data_dir=prepared)
    report = evaluate(NAME, "tfds:tiny_clothes", data_dir=prepared, bad_pictures="skip")
    assert report.pictures == 5
    assert report.skipped == ["tiny_clothes test: picture 0"]


def test_mistakes_with_prepared_sets(run, tmp_path):
    for builder in (prepared_sets.TinyGrey, prepared_sets.TinyNumbers):
        prepared_sets.prepare(builder, tmp_path)
    for arguments, expected in {
        (NAME, "--data", "tfds:tiny_numbers"): "every class must be a class of the network",
        (NAME, "--data", "tfds:tiny_grey"): "every class must be a class of the network",
        (NAME, "--data", "tfds:mnsit"): "Did you mean 'tfds:mnist'",
        (NAME, "--data", tmp_path): "`data_dir` is only supported with 'tfds:NAME'",
        (tmp_path,): "`data_dir` is only supported with 'tfds:NAME'",
        ("se_resnet50.osmr_imagenet", "--data", "tfds:mnist"): "tfds build mnist",
    }.items():
        assert_mistake(run("evaluate", *arguments, "--data-dir", tmp_path), expected)


def test_run(run, tmp_path):
    data = fashion_mnist_files.write(tmp_path / "fashion")
    recipe = training_runs.recipe(data, "epochs=1", "warmup_epochs=0")
    results = Run(recipe, tmp_path / "run").train()
    code, out, _ = run("evaluate", tmp_path / "run", "--json")
    assert code == 0
    report = json.loads(out)
    for name, value in results["test"].items():
        assert report[name] == pytest.approx(value, abs=1e-6)
    labels = load_pictures("fashion_mnist", data)["test"].labels
    assert np.sum(report["confusion"], axis=1).tolist() == np.bincount(labels).tolist()
    assert_mistake(run("evaluate", tmp_path / "run", "--data", data), "folder of folders")


def test_command_line(run, folder):
    code, out, _ = run("evaluate", NAME, "--data", folder)
    assert code == 0
    assert "top1" in out
    assert "Ankle_boot" in out
    absent = folder / "absent"
    strange = folder / "strange"
    for arguments, expected in {
        ("se_resnet20.fashion",): f"Did you mean '{NAME}'?",
        (NAME, "--data", absent): "`data` must be a folder",
        (NAME, "--data", folder / "1"): "folder of folders",
        (NAME, "--bad-pictures", "skp"): "Did you mean 'skip'?",
        ("se_resnet50.osmr_imagenet",): "must be a folder of pictures",
        ("se_resnet50.qubvel_imagenet_notop", "--data", folder): "must have a classifier",
    }.items():
        code, _, err = run("evaluate", *arguments)
        assert code == 2
        assert expected in err.splitlines()[-1]
    strange.mkdir()
    code, _, err = run("evaluate", NAME, "--data", folder)
    assert code == 2
    assert "'strange'" in err.splitlines()[-1]


def test_ambiguous_class(tmp_path):
    """ImageNet has a bird and a machine of one name."""
    for name in ("n02012849", "goldfish"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    found = data_set_files(tmp_path, "imagenet")
    assert found == [(tmp_path / "goldfish/a.png", 1), (tmp_path / "n02012849/a.png", 134)]
    (tmp_path / "crane").mkdir()
    with pytest.raises(ValueError, match=r"every folder must be a class .* Received: .*crane"):
        data_set_files(tmp_path, "imagenet")


def test_channels_first(tmp_path):
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="need image_data_format='channels_last'"):
            evaluate(NAME)
        with pytest.raises(ValueError, match="need image_data_format='channels_last'"):
            Run(get_recipe("fashion_mnist"), tmp_path / "run")
    finally:
        keras.config.set_image_data_format("channels_last")


NO_PICTURES = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "dangling link": lambda path: path.symlink_to("absent"),
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_file(kind, folder):
    """Opening a pipe would wait for ever."""
    path = folder / "1" / "zz.png"
    NO_PICTURES[kind](path)
    with pytest.raises((ValueError, OSError), match=r"zz\.png") as caught:
        evaluate(NAME, folder)
    assert "\n" not in str(caught.value)
    report = evaluate(NAME, folder, bad_pictures="skip")
    assert (report.pictures, report.skipped) == (20, [str(path)])


def test_names_that_begin_with_a_dot(folder):
    """Hidden files of notebooks and of macOS are skipped."""
    (folder / ".ipynb_checkpoints").mkdir()
    for name in (".ipynb_checkpoints/first-checkpoint.png", "1/._first.png"):
        (folder / name).write_bytes(b"")
    assert evaluate(NAME, folder).pictures == 20


def test_class_whose_name_is_not_utf_8(folder):
    os.mkdir(os.fsencode(folder) + b"/\xff")
    with pytest.raises(ValueError, match="whose name is UTF-8") as caught:
        evaluate(NAME, folder)
    assert str(caught.value).startswith(f"{folder}/\\xff: ")


def test_only_bad_pictures(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "bad.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 other files"):
        evaluate(NAME, tmp_path, bad_pictures="skip")
