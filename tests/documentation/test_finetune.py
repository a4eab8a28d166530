"""`examples/finetune.py` on a folder of real colour pictures, and on folders that are none."""

import os
import subprocess
import sys

import numpy as np
import published_files
import pytest
from PIL import Image
from places import EXAMPLES, PUBLISHED
from sklearn.datasets import load_sample_images

import keras_se

SCRIPT = EXAMPLES / "finetune.py"


def finetune(folder, *arguments, **variables):
    command = [sys.executable, SCRIPT, "--data", folder / "data", "--out", folder / "out"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, **variables},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Two classes: nine cuttings each of a photograph of a temple and of one of a flower."""
    for name, picture in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(9):
            top, left = divmod(index, 3)
            cutting = picture[100 * top : 100 * top + 200, 150 * left : 150 * left + 250]
            Image.fromarray(cutting).save(tmp_path / "data" / name / f"{index}.jpg")
    return tmp_path


@pytest.mark.weights
def test_folder_of_pictures_from_a_published_set(folder):
    """The path of `weights="imagenet"`, not its accuracy: the values in the file are random."""
    recorded = published_files.read(PUBLISHED / "timm.seresnet50.npz")
    entries = keras_se.list_weights("SEResNet50")
    (entry,) = (e for e in entries if e.default and e.dataset == "imagenet")
    file = folder / "mirror" / entry.file
    file.parent.mkdir(parents=True)
    recorded.write(file.parent)
    result = finetune(
        folder, "--model", "SEResNet50", "--weights", "imagenet", "--epochs", "1", "1",
        "--batch", "6", KERAS_SE_MIRROR=str(folder / "mirror"), KERAS_SE_HOME=str(folder / "home"),
        KERAS_SE_OFFLINE="1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert [path.suffix for path in sorted((folder / "home" / "converted").iterdir())] == [
        ".h5", ".lock", ".json"
    ]  # fmt: skip
    assert "12 pictures to train on, 6 held out, 2 classes" in result.stdout
    assert "SEResNet50 (imagenet)" in result.stdout
    assert "stage4 and stage5 too" in result.stdout
    assert "named " in result.stdout
    assert (folder / "out" / "saved_model" / "saved_model.pb").is_file()
    assert np.asarray(Image.open(folder / "out" / "picture.png")).shape == (224, 224, 3)
    assert Image.open(folder / "out" / "confusion.png").size[0] > 300


def one_line(result):
    """The error: one line, before TensorFlow's own lines or after them."""
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("finetune: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    return lines[0]


def damage(folder):
    (folder / "data" / "flower" / "4.jpg").write_bytes(b"no picture")


def empty(folder):
    for file in folder.glob("data/*/*"):
        file.unlink()


def one_class(folder):
    for file in folder.glob("data/flower/*"):
        file.unlink()


def cmyk(folder):
    path = folder / "data" / "flower" / "4.jpg"
    Image.open(path).convert("CMYK").save(path)


def missing(folder):
    (folder / "data").rename(folder / "elsewhere")


@pytest.mark.weights
@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (damage, "4.jpg"),
        (cmyk, "Received: CMYK"),
        (empty, "Received: 0 picture(s)"),
        (one_class, "in 1 folder(s)"),
        (missing, "must be a folder"),
    ],
)
def test_bad_folders(folder, break_it, expected):
    break_it(folder)
    result = finetune(folder, "--model", "SEResNet20", "--weights", "none")
    assert expected in one_line(result)


def test_weights_that_do_not_exist(folder):
    result = finetune(folder, "--model", "SEResNet20", "--weights", "imagenet")
    assert "Received: weights='imagenet'" in one_line(result)
