"""The queue of long trainings: what is left, in order, resumed."""

import importlib
import json
import os
import signal
import sys

import fashion_mnist_files
import pytest
from filelock import FileLock
from places import PRETRAINED, ROOT

import keras_se

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
TOP1 = {"one-0": 0.2, "two-0": 0.9}


@pytest.fixture
def queue(monkeypatch, tmp_path):
    """The module, with two small sets and two seeds in a folder of its own."""
    monkeypatch.syspath_prepend(str(PRETRAINED))
    module = importlib.import_module("train_queue")
    monkeypatch.setattr(module, "RUNS", tmp_path / "queue")
    data = str(fashion_mnist_files.write(tmp_path / "data"))
    base = {"data_dir": data, "batch": 10, "checkpoint_steps": 2, "held_out": 10, "epochs": 3}
    monkeypatch.setattr(module, "BASE", base)
    monkeypatch.setattr(module, "SETS", {"one": {"shift": 0}, "two": {"random_erasing": 0.5}})
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
        top1 = str(TOP1.get(entry.name, 0.5))
        recipe = json.dumps(entry.recipe().as_dict())
        code = TRAINER + ends.get(entry.name, FINISH)
        return [sys.executable, "-c", code, str(entry.folder), top1, recipe]

    monkeypatch.setattr(queue.Entry, "command", command)
    return ends, commands


def test_real_recipes(monkeypatch):
    """Every setting is one of a recipe, and each validates on held-out pictures."""
    monkeypatch.syspath_prepend(str(PRETRAINED))
    module = importlib.import_module("train_queue")
    recipes = {entry.name: entry.recipe() for entry in module.entries()}
    assert len(recipes) == 3 * len(module.SETS)
    assert {recipe.held_out for recipe in recipes.values()} == {5000}
    assert {recipe.random_erasing for recipe in recipes.values()} == {0.5}
    assert recipes["se_mobilenet_0_25-2"].seed == 2
    for recipe in recipes.values():
        shape = (28, 28, 1)
        keras_se.get_model(recipe.model, weights=None, input_shape=shape, variant=recipe.variant)


def test_order(queue, trainer, capsys):
    _, commands = trainer
    assert queue.Queue().work() == 0
    assert [name for name, _ in commands] == ["one-0", "two-0", "one-1", "two-1"]
    assert not any("--resume" in command for _, command in commands)
    assert {"held_out=10", "seed=0", "shift=0", "epochs=3"} <= {*commands[0][1]}
    assert {"held_out=10", "seed=1", "random_erasing=0.5"} <= {*commands[-1][1]}
    capsys.readouterr()
    queue.show()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "two-0: 2 of 3 epochs, held out 90.00%, test 12.30%"
    # Nothing is left.
    assert queue.Queue().work() == 0
    assert len(commands) == 4


def test_stopped_and_resumed(queue, trainer):
    """A signal reaches the run, which writes a checkpoint, and no further one begins."""
    ends, commands = trainer
    ends["two-0"] = STOPPED
    stopped = queue.Queue()
    before = signal.signal(signal.SIGTERM, stopped.note)
    try:
        assert stopped.work() == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [name for name, _ in commands] == ["one-0", "two-0"]
    assert (queue.RUNS / "two-0" / "checkpoint").read_text() == "here"
    assert not stopped.failed
    ends.clear()
    assert queue.Queue().work() == 0
    assert [(name, "--resume" in command) for name, command in commands[2:4]] == [
        ("two-0", True), ("one-1", False),
    ]  # fmt: skip


def test_failed_run(queue, trainer, capsys):
    """The others are trained."""
    ends, commands = trainer
    ends["one-0"] = "sys.exit(2)"
    assert queue.Queue().work() == 1
    assert len(commands) == 4
    assert "failed: one-0" in capsys.readouterr().out


def test_two_queues_at_once(queue, trainer):
    """A run in another's hands is left to it."""
    _, commands = trainer
    with FileLock(queue.RUNS / "one-0.lock"):
        assert queue.Queue().work() == 0
    assert [name for name, _ in commands] == ["two-0", "one-1", "two-1"]
    assert queue.Queue().work() == 0
    assert commands[-1][0] == "one-0"


def test_signal_before_the_first_run(queue, trainer):
    _, commands = trainer
    stopped = queue.Queue()
    stopped.note(signal.SIGTERM)
    assert stopped.work() == 143
    assert not commands


def test_changed_settings(queue, trainer, monkeypatch):
    assert queue.Queue().work() == 0
    monkeypatch.setitem(queue.SETS, "one", {"shift": 4})
    with pytest.raises(ValueError, match=r"one-0: its run is of another recipe: shift"):
        queue.Queue().work()


@pytest.mark.training
def test_trains(queue, tmp_path, monkeypatch):
    """The real command."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(queue, "SETS", {"only": {"shift": 1, "random_erasing": 0.5}})
    monkeypatch.setattr(queue, "SEEDS", (0,))
    monkeypatch.chdir(tmp_path)
    assert queue.Queue().work() == 0
    (only,) = queue.entries()
    assert len(only.held_out_top1()) == 3
    assert only.finished
