"""The queue of long trainings: what is left, in order, resumed, judged without the test set."""

import importlib
import json
import os
import signal
import sys
from pathlib import Path

import fashion_mnist_files
import numpy as np
import pytest

from keras_se.training.datasets import load_pictures

ROOT = Path(__file__).parent.parent

# In the place of `keras-se train`: says which run it is, measures, and finishes.
TRAINER = """
import json, pathlib, sys
folder, top1, recipe = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
folder.mkdir(exist_ok=True)
(folder / "recipe.json").write_text(recipe)
(folder / "metrics.csv").write_text(f"epoch,val_top1\\n1,0.1\\n2,{top1}\\n")
"""
FINISH = """
(folder / "results.json").write_text(json.dumps({"test": {"top1": 0.123}}))
"""
STOPPED = """
import os, signal, time
def stop(number, _):
    (folder / "checkpoint").write_text("here")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(30)
"""
TOP1 = {"one": 0.2, "two": 0.9, "three": 0.4}


@pytest.fixture
def queue(monkeypatch, tmp_path):
    """The module, with three choices and two seeds in a folder of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "pretrained"))
    module = importlib.import_module("train_queue")
    monkeypatch.setattr(module, "RUNS", tmp_path / "queue")
    monkeypatch.setattr(module, "DATA", fashion_mnist_files.write(tmp_path / "data"))
    monkeypatch.setattr(module, "HELD_OUT", 10)
    monkeypatch.setattr(module, "BASE", {"batch": 10, "checkpoint_steps": 2})
    shifts = {name: {"shift": n} for n, name in enumerate(TOP1)}
    monkeypatch.setattr(module, "CHOICES", shifts)
    monkeypatch.setattr(module, "CHOICE_EPOCHS", 2)
    monkeypatch.setattr(module, "EPOCHS", 3)
    monkeypatch.setattr(module, "SEEDS", (0, 1))
    (tmp_path / "queue").mkdir()
    return module


@pytest.fixture
def trainer(queue, monkeypatch):
    """Runs that take no time; what to do at the end of each, by name, and the commands."""
    ends, commands = {}, []
    original = queue.Entry.command

    def command(entry):
        commands.append((entry.name, original(entry)))
        top1 = str(TOP1.get(entry.name.removeprefix("choice-"), 0.5))
        recipe = json.dumps(entry.recipe().as_dict())
        code = TRAINER + ends.get(entry.name, FINISH)
        return [sys.executable, "-c", code, str(entry.folder), top1, recipe]

    monkeypatch.setattr(queue.Entry, "command", command)
    return ends, commands


def test_real_recipes():
    """Every setting is one of a recipe, and none of them looks at the test set."""
    sys.path.insert(0, str(ROOT / "pretrained"))
    try:
        module = importlib.import_module("train_queue")
    finally:
        sys.path.pop(0)
    recipes = [entry.recipe() for entry in module.choices()]
    assert len(recipes) == len(module.CHOICES) > 1
    assert {recipe.data_dir for recipe in recipes} == {str(module.RUNS / "data")}
    assert {recipe.epochs for recipe in recipes} == {module.CHOICE_EPOCHS}
    assert recipes[1].random_erasing == 0.5
    assert recipes[1].cutout == 0


def test_order_and_choice(queue, trainer, capsys):
    _, commands = trainer
    assert queue.final() == []
    assert queue.Queue().work() == 0
    names = [name for name, _ in commands]
    assert names == ["choice-one", "choice-two", "choice-three", "final-two-0", "final-two-1"]
    assert not any("--resume" in command for _, command in commands)
    one, last = commands[0][1], commands[-1][1]
    assert {"held_out=0", f'data_dir="{queue.RUNS / "data"}"', "epochs=2"} <= {*one}
    assert {"held_out=10", f'data_dir="{queue.DATA}"', "seed=1", "shift=1", "epochs=3"} <= {*last}
    capsys.readouterr()
    queue.show()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "choice-two: 2 of 2 epochs, held out 90.00%"
    assert lines[-1] == "final-two-1: 2 of 3 epochs, held out 50.00%, test 12.30%"
    # Nothing is left.
    assert queue.Queue().work() == 0
    assert len(commands) == 5


def test_stopped_and_resumed(queue, trainer, monkeypatch):
    """A signal reaches the run, which writes a checkpoint, and no further one begins."""
    ends, commands = trainer
    ends["choice-two"] = STOPPED
    stopped = queue.Queue()
    before = signal.signal(signal.SIGTERM, stopped.note)
    try:
        assert stopped.work() == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [name for name, _ in commands] == ["choice-one", "choice-two"]
    assert (queue.RUNS / "choice-two" / "checkpoint").read_text() == "here"
    assert not stopped.failed
    ends.clear()
    assert queue.Queue().work() == 0
    assert [(name, "--resume" in command) for name, command in commands[2:4]] == [
        ("choice-two", True), ("choice-three", False),
    ]  # fmt: skip


def test_failed_run(queue, trainer, capsys):
    """The others are made; without all choices there is no best one."""
    ends, commands = trainer
    ends["choice-one"] = "sys.exit(2)"
    assert queue.Queue().work() == 1
    assert [name for name, _ in commands] == ["choice-one", "choice-two", "choice-three"]
    assert "failed: choice-one" in capsys.readouterr().out


def test_signal_before_the_first_run(queue, trainer):
    _, commands = trainer
    stopped = queue.Queue()
    stopped.note(signal.SIGTERM)
    assert stopped.work() == 143
    assert not commands


def test_changed_settings(queue, trainer, monkeypatch):
    assert queue.Queue().work() == 0
    monkeypatch.setitem(queue.CHOICES, "one", {"shift": 4})
    with pytest.raises(ValueError, match=r"choice-one: its run is of another recipe: shift"):
        queue.Queue().work()


def test_choice_data_has_no_test_pictures(queue, tmp_path):
    folder = tmp_path / "queue" / "data"
    (tmp_path / "queue" / "data.tmp").mkdir()
    queue.write_choice_data(folder)
    whole, parts = (load_pictures("fashion_mnist", path) for path in (queue.DATA, folder))
    for name, expected in (("train", whole["train"][:-10]), ("test", whole["train"][-10:])):
        np.testing.assert_array_equal(parts[name].pictures, expected.pictures)
        np.testing.assert_array_equal(parts[name].labels, expected.labels)
    assert [path.name for path in (tmp_path / "queue").iterdir()] == ["data"]


@pytest.mark.training
def test_trains(queue, tmp_path, monkeypatch):
    """The real command: a choice, then the final run."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    queue.write_choice_data(queue.RUNS / "data")
    monkeypatch.setattr(queue, "CHOICES", {"only": {"shift": 1, "random_erasing": 0.5}})
    monkeypatch.setattr(queue, "SEEDS", (0,))
    monkeypatch.chdir(tmp_path)
    assert queue.Queue().work() == 0
    (last,) = queue.final()
    assert len(last.held_out_top1()) == 3
    assert last.finished
