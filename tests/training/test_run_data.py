"""A run knows its data: names, files, sizes, classes and the backend, and says what differs."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fashion_mnist_files
import keras
import numpy as np
import pytest
import training_runs
from command_line import assert_mistake
from filelock import FileLock
from picture_folders import recipe, write
from PIL import Image

import keras_se
from keras_se.training import environment
from keras_se.training.contents import check_data, load_test, stored_data, stored_names
from keras_se.training.evaluation import evaluate
from keras_se.training.recipe_data import load_data
from keras_se.training.run import Interrupted, Run
from keras_se.training.run_folder import newest, next_free

SETTINGS = ("epochs=2", "checkpoint_steps=2")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Pictures, and a run on them that was told to end after its third step."""
    folder = tmp_path_factory.mktemp("original")
    write(folder / "pictures" / "train")
    write(folder / "pictures" / "test", count=2)

    def step(run, epoch, done):
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    chosen = recipe(folder / "pictures", *SETTINGS)
    with pytest.raises(Interrupted):
        Run(chosen, folder / "run", report=lambda _: None, progress=step).train()
    return folder


@pytest.fixture
def begun(original, tmp_path):
    """A copy of both, with the recipe of where they are now."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    chosen = recipe(tmp_path / "pictures", *SETTINGS)
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(chosen.as_dict()))
    return tmp_path


def resume(folder, report=lambda _: None):
    chosen = recipe(folder / "pictures", *SETTINGS)
    return Run(chosen, folder / "run", report=report).train(resume=True)


def test_account(begun):
    """It says what the network takes and puts out, without the pictures."""
    shutil.rmtree(begun / "pictures")
    stored = stored_data(begun / "run")
    assert stored["classes"] == stored_names(begun / "run") == ["a", "b", "c"]
    assert (stored["shape"], stored["crop"]) == ([16, 16, 3], 0.875)
    assert stored["parts"]["training"]["pictures"] == 15
    assert stored["parts"]["test"]["pictures"] == 6
    (begun / "run" / "data.json").write_text('{"classes": 3}')
    with pytest.raises(ValueError, match="expected the record of a run's data"):
        stored_data(begun / "run")


def replace_picture(folder, size=(12, 10)):
    random = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype("uint8")
    Image.fromarray(random).save(folder / "train" / "a" / "0.png")


CHANGES = {
    "missing class: b; new class: z": lambda f: [
        (f / part / "b").rename(f / part / "z") for part in ("train", "test")
    ],
    "new class: d": lambda f: write(f / "train", "d", 1),
    "missing: train/b/1.png": lambda f: (f / "train/b/1.png").unlink(),
    "new: train/b/new.png": lambda f: shutil.copy(f / "train/b/1.png", f / "train/b/new.png"),
    "missing: train/a/1.png; new: train/b/x.png": lambda f: (f / "train/a/1.png").rename(
        f / "train/b/x.png"
    ),
    "changed: train/a/0.png": replace_picture,
    "missing: test/a/0.png, test/a/1.png and 4 more": lambda f: shutil.rmtree(f / "test"),
}


@pytest.mark.parametrize("expected", CHANGES)
def test_changed_data_are_not_gone_on_with(expected, begun):
    before = sorted((begun / "run" / "checkpoints").iterdir())
    CHANGES[expected](begun / "pictures")
    with pytest.raises(ValueError, match="its run has different data") as caught:
        resume(begun)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).removeprefix(str(begun))) < 300
    assert sorted((begun / "run" / "checkpoints").iterdir()) == before


def test_data_that_have_moved(begun):
    """Or are spelled otherwise: they are compared themselves, not the path to them."""
    (begun / "pictures").rename(begun / "moved")
    chosen = recipe(f"{begun}/run/../moved/", *SETTINGS)
    lines = []
    Run(chosen, begun / "run", report=lines.append).train(resume=True)
    assert "resuming from epoch 1, step 3" in lines


def test_test_pictures_must_be_the_same(begun):
    """What is not tested on may change; the names of the classes may not."""
    resume(begun)
    expected = evaluate(str(begun / "run"))
    chosen = recipe(begun / "pictures", *SETTINGS)
    (begun / "pictures" / "train" / "b" / "1.png").unlink()
    assert evaluate(str(begun / "run")) == expected
    assert len(load_test(begun / "run", chosen, pytest.fail)) == 6
    with pytest.raises(ValueError, match=r"missing: train/b/1.png"):
        check_data(begun / "run", load_data(chosen, pytest.fail))
    (begun / "pictures" / "test" / "c" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"missing: test/c/1.png"):
        evaluate(str(begun / "run"))
    CHANGES["missing class: b; new class: z"](begun / "pictures")
    with pytest.raises(ValueError, match="missing class: b; new class: z"):
        evaluate(str(begun / "run"))


def test_moved_data_are_the_same(begun):
    """The files' places in the folder count, and not when they were written."""
    shutil.copytree(begun / "pictures", begun / "copy")
    assert check_data(begun / "run", load_data(recipe(begun / "copy", *SETTINGS), pytest.fail))


def test_another_backend(begun):
    path = begun / "run" / "environment.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "backend": "numpy"}))
    backend = keras.backend.backend()
    with pytest.raises(ValueError, match=f"KERAS_BACKEND=numpy.*Received: KERAS_BACKEND={backend}"):
        resume(begun)
    stored["versions"]["keras"] = "3.0"
    path.write_text(json.dumps(stored))
    said = []
    resume(begun, said.append)
    assert said[0].startswith(f"keras is {keras.__version__} and was 3.0 when the run began")


def test_runs_of_earlier_versions(begun, tmp_path):
    """Pictures in files were decoded otherwise; those in memory were what they are."""
    for name in ("data.json", "files.json.gz"):
        (begun / "run" / name).unlink()
    assert stored_names(begun / "run") is None
    with pytest.raises(ValueError, match="its run was started by an earlier version"):
        resume(begun)
    data = fashion_mnist_files.write(tmp_path / "fashion")
    chosen = training_runs.recipe(data, "epochs=1", "warmup_epochs=0")
    results = Run(chosen, tmp_path / "held").train()
    for name in ("data.json", "files.json.gz"):
        (tmp_path / "held" / name).unlink()
    said = []
    assert Run(chosen, tmp_path / "held", report=said.append).train(resume=True) == results
    assert f"{tmp_path / 'held'}: its run has no record of its data" in " ".join(said)


def test_changed_pictures_in_memory(tmp_path):
    data = fashion_mnist_files.write(tmp_path / "fashion")
    chosen = training_runs.recipe(data, "epochs=1", "warmup_epochs=0")
    Run(chosen, tmp_path / "run").train()
    path = data / "train-images-idx3-ubyte.gz"
    values = bytearray(gzip.decompress(path.read_bytes()))
    values[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(values)))
    with pytest.raises(ValueError, match=r"changed: the pictures of fashion_mnist, train$"):
        Run(chosen, tmp_path / "run").train(resume=True)


def test_damaged_list(begun):
    (begun / "run" / "files.json.gz").write_bytes(b"\x1f\x8b no")
    with pytest.raises(ValueError, match=r"files.json.gz: expected the file list of a run's data"):
        resume(begun)


def test_next_run(tmp_path):
    base = tmp_path / "runs" / "finetune"
    assert next_free(base) == newest(base) == base
    base.mkdir(parents=True)
    assert next_free(base) == base
    (base / "notes.txt").touch()
    assert next_free(base) == base.with_name("finetune-2")
    for name in ("finetune-2", "finetune-10", "finetune-old", "finetune-03"):
        (base.parent / name / "checkpoints").mkdir(parents=True)
        (base.parent / name / "recipe.json").touch()
        (base.parent / name / "checkpoints" / "00000-0000002.0123456789abcdef.h5").touch()
    assert next_free(base) == base.with_name("finetune-11")
    assert newest(base) == base.with_name("finetune-10")
    # One that failed before its first step is in nobody's way; one that trains is.
    begun = base.with_name("finetune-11")
    begun.mkdir()
    for name in ("recipe.json", "environment.json", "data.json", "lock", "data.json.17.tmp"):
        (begun / name).touch()
    assert next_free(base) == begun
    assert newest(base) == base.with_name("finetune-10")
    with FileLock(begun / "lock"):
        assert next_free(base) == base.with_name("finetune-12")
    shutil.rmtree(base.with_name("finetune-10"))
    (begun / "checkpoints").mkdir()
    (begun / "checkpoints" / "00000-0000002.0123456789abcdef.h5").touch()
    assert newest(base) == begun


def test_command_line(run, tmp_path, monkeypatch):
    """New runs have folders of their own; the newest is gone on with."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pictures")
    settings = [
        f"--set={setting}"
        for setting in (
            "model=SEResNet20", "weights=null", "new_head=false", "data_dir=pictures",
            "image_size=16", "crop=1", "batch=4", "epochs=1", "warmup_epochs=0",
            'variant={"blocks":[1,1,1]}',
        )
    ]  # fmt: skip
    folders = []
    for _ in range(2):
        code, out, err = run("train", "finetune", *settings, "--json")
        assert code == 0, err
        folders.append(json.loads(out)["folder"])
        assert "3 classes: a, b, c" in err
    assert folders == ["runs/finetune", "runs/finetune-2"]
    code, out, _ = run("train", "finetune", *settings, "--resume")
    assert code == 0
    assert out.splitlines()[0] == "run folder: runs/finetune-2"
    code, out, _ = run("train", "finetune", *settings, "--dry-run", "--json")
    plan = json.loads(out)
    assert plan["class_names"] == ["a", "b", "c"]
    assert plan["test_from"] == "a fifth of pictures"
    code, out, _ = run("train", "finetune", *settings, "--dry-run")
    assert out.splitlines()[0].split() == ["folder", "runs/finetune-3"]
    assert "a, b, c" in out
    for arguments in ((), ("--dry-run",), ("--resume",)):
        assert_mistake(run("train", "finetune", *settings, "--run", "", *arguments), "--run=''")
    Path("pictures/.hidden").touch()
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    for path in ("full", "runs/finetune", "pictures/a/0.png"):
        assert_mistake(
            run("train", "finetune", *settings, "--run", path), "new or empty folder", printed=False
        )
    assert sorted(path.name for path in Path("runs").iterdir()) == ["finetune", "finetune-2"]


def test_failed_runs_block_nothing(begun):
    """The same command again, after an error at the first step."""
    bad = begun / "pictures" / "train" / "a" / "bad.png"
    bad.write_bytes(b"no picture")
    chosen = recipe(begun / "pictures", *SETTINGS)
    folder = begun / "again"
    for _ in range(2):
        with pytest.raises(ValueError, match=r"bad\.png: expected an undamaged picture"):
            Run(chosen, folder).train()
        assert (folder / "recipe.json").exists()
    bad.unlink()
    Run(chosen, folder).train()
    assert sum(part["pictures"] for part in stored_data(folder)["parts"].values()) == 15 + 6 + 6
    with pytest.raises(ValueError, match="new or empty folder"):
        Run(chosen, folder).train()


def test_folder_with_other_peoples_events_is_not_empty(tmp_path):
    (tmp_path / "run" / "tensorboard").mkdir(parents=True)
    with pytest.raises(ValueError, match="new or empty folder"):
        Run(recipe(write(tmp_path / "pictures")), tmp_path / "run").train()


def git(folder, *arguments):
    subprocess.run(
        ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True, capture_output=True,
    )  # fmt: skip


def repository(folder):
    folder.mkdir(parents=True)
    git(folder, "init")
    git(folder, "commit", "--allow-empty", "-m", "x")
    return folder


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit(tmp_path, monkeypatch):
    """Only that of a checkout of this package, whatever is around it."""
    own = repository(tmp_path / "own")
    assert environment.commit(own) is None
    (own / "setup.cfg").write_text("[metadata]\nname = keras-se\n")
    found = environment.commit(own)
    assert len(found) == 40
    other = repository(tmp_path / "other")
    git(other, "commit", "--allow-empty", "-m", "another")
    installed = other / "venv" / "site-packages"
    installed.mkdir(parents=True)
    assert environment.commit(installed) is None
    (other / "setup.cfg").write_text("[metadata]\nname = other\n")
    assert environment.commit(other) is None
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert environment.commit(own) == found
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert environment.commit(own) is None
    assert environment.environment()["commit"] is None
    assert environment.environment()["keras_se"] == keras_se.__version__


SLEEPER = """
import hashlib, os, time
from keras_se.training.signals import noted
# Not `print`: the second signal may come while the handler of the first prints.
with noted(lambda number: os.write(1, f"noted {{number:d}} ".encode())):
    print("ready", flush=True)
    if {blocked}:
        # Minutes outside of Python, where no handler runs.
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    time.sleep(60)
"""


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal(blocked, number):
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(blocked=blocked)],
        stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(keras_se.__file__).parents[1])},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    # The same one twice, as `timeout` sends it, is the first.
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.8)
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    out = process.stdout.read()
    assert blocked or f"noted {number.value}" in out


UNDER_A_STRATEGY = """
import sys
import keras
import numpy as np
import tensorflow as tf
import keras_se
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
names = [device.name for device in tf.config.list_logical_devices("CPU")]
strategy = tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())
pictures = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1)).astype("float32")
for prepare in (lambda model: model, keras_se.synchronized):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        backbone = keras_se.SEResNet20(weights="fashion_mnist", include_top=False, pooling="avg")
        model = prepare(keras.Sequential([backbone, keras.layers.Dense(3, "softmax")]))
        model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(pictures, np.arange(32) % 3, batch_size=8, verbose=0)
    before = model.predict(pictures, verbose=0)
    model.save(sys.argv[1])
    after = keras.models.load_model(sys.argv[1]).predict(pictures, verbose=0)
    print(np.abs(before - after).max())
"""


@pytest.mark.training
def test_strategy_of_ones_own(tmp_path):
    """What is saved predicts as what was trained; without `synchronized` it does not."""
    process = subprocess.run(
        [sys.executable, "-c", UNDER_A_STRATEGY, tmp_path / "model.keras"],
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "",
                          "PYTHONPATH": str(Path(keras_se.__file__).parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    plain, synchronized = map(float, process.stdout.split())
    assert plain > 1e-3
    # Two graphs of the same values.
    assert synchronized < 1e-6


def test_synchronized():
    """In models within models, and in wrappers; nothing else is changed."""
    inner = keras.Sequential([keras.Input((8, 4)), keras.layers.BatchNormalization()])
    wrapped = keras.layers.TimeDistributed(keras.layers.BatchNormalization())
    model = keras.Sequential(
        [keras.Input((8, 4)), inner, wrapped, keras.layers.LayerNormalization()]
    )
    assert keras_se.synchronized(model) is model
    assert inner.layers[0].synchronized
    assert wrapped.layer.synchronized
    with pytest.raises(ValueError, match=r"`model` must be a Keras model\. Received: model of"):
        keras_se.synchronized([model])
