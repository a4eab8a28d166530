"""Long trainings of SE-ResNet-20 on Fashion-MNIST, one by one, stopped and resumed at will.

    python pretrained/train_queue.py            # what is left
    python pretrained/train_queue.py --list     # how far each run is

First the choices: each setting of `CHOICES` is trained on 55,000 training pictures and judged by
the other 5,000. Their data folder, `runs/queue/data`, has no other pictures, so no choice can see
the test set. Then the best setting is trained with the seeds of `SEEDS`, on the same 55,000
pictures for longer; the 10,000 test pictures are read once at the end of each.

Each run is `keras-se train` in a folder of `runs/queue`, at the lowest priority, and resumed if it
is there. SIGTERM and Ctrl-C end the queue after a checkpoint; a kill costs the steps since the
last one.

Recipe: ResNet-20 of Random Erasing (Zhong et al., arXiv:1708.04896, Section 4.1), with a cosine in
place of its drops. On two cores with oneDNN, some 100 seconds an epoch.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from keras_se.training.datasets import load_pictures
from keras_se.training.recipe import Recipe, difference, from_dict, get_recipe

RUNS = Path(__file__).resolve().parent.parent / "runs" / "queue"
# Folder of the whole data set; `None`: where it usually is.
DATA: Path | None = None
HELD_OUT = 5000
# oneDNN is off by default on older processors, where it takes a third off a step. A run that is
# resumed needs the same operations.
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

BASE: Mapping[str, Any] = {"weight_decay": 5e-4, "cutout": 0, "checkpoint_steps": 100}
ERASING: Mapping[str, Any] = {"shift": 4, "random_erasing": 0.5}
CHOICES: Mapping[str, Mapping[str, Any]] = {
    "cutout": {"cutout": 8},
    "erasing": ERASING,
    "erasing_shift2": {**ERASING, "shift": 2},
    "erasing_mixup": {**ERASING, "mixup": 0.2},
    "erasing_average": {**ERASING, "ema": 0.999},
}
CHOICE_EPOCHS, EPOCHS = 60, 300
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Entry:
    """A run of the queue.

    Attributes:
        name: Of its folder.
        settings: What differs from the recipe `fashion_mnist`.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where it is."""
        return RUNS / self.name

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / "results.json").exists()

    def arguments(self) -> list[str]:
        """The settings as the command line takes them."""
        return [f"{name}={json.dumps(value)}" for name, value in self.settings.items()]

    def recipe(self) -> Recipe:
        """The recipe, checked."""
        return get_recipe("fashion_mnist").changed(self.arguments())

    def check(self) -> None:
        """Raise a `ValueError` if the folder has a run of another recipe."""
        path = self.folder / "recipe.json"
        if path.exists():
            stored = from_dict(json.loads(path.read_text("utf-8")))
            if differing := difference(stored, self.recipe()):
                raise ValueError(f"{self.folder}: its run is of another recipe: {differing}")

    def command(self) -> list[str]:
        """What trains it, or resumes it."""
        program = [sys.executable, "-c", "from keras_se.cli import main; main()"]
        settings = [part for setting in self.arguments() for part in ("--set", setting)]
        resume = ["--resume"] if (self.folder / "recipe.json").exists() else []
        where = ["--run", str(self.folder), "--strategy", "none"]
        return [*program, "train", "fashion_mnist", *settings, *where, *resume]

    def held_out_top1(self) -> list[float]:
        """Of each epoch that is done."""
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        with open(path, encoding="utf-8") as file:
            return [float(row["val_top1"]) for row in csv.DictReader(file)]


def choices() -> list[Entry]:
    """The runs that are compared."""
    data = {"data_dir": str(RUNS / "data"), "held_out": 0, "epochs": CHOICE_EPOCHS}
    return [Entry(f"choice-{name}", {**BASE, **own, **data}) for name, own in CHOICES.items()]


def final() -> list[Entry]:
    """The runs of the best choice; none before all choices are finished."""
    entries = dict(zip(CHOICES, choices(), strict=True))
    if not all(entry.finished for entry in entries.values()):
        return []
    best = max(entries, key=lambda name: entries[name].held_out_top1()[-1])
    data = {"data_dir": None if DATA is None else str(DATA), "held_out": HELD_OUT, "epochs": EPOCHS}
    own = {**BASE, **CHOICES[best], **data}
    return [Entry(f"final-{best}-{seed}", {**own, "seed": seed}) for seed in SEEDS]


def write_choice_data(folder: Path) -> None:
    """The training pictures as IDX files, those that are held out in the place of the test set."""
    if folder.exists():
        return
    training = load_pictures("fashion_mnist", DATA)["train"]
    unfinished = folder.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for part, data in (("train", training[:-HELD_OUT]), ("t10k", training[-HELD_OUT:])):
        arrays = {"images-idx3": data.pictures[..., 0], "labels-idx1": data.labels.astype("uint8")}
        for name, values in arrays.items():
            # Two zeros, 8 for unsigned bytes, the rank, and the sizes.
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            path = unfinished / f"{part}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(header + values.tobytes()))
    unfinished.rename(folder)


class Queue:
    """One run after the other; a signal ends the one that is on, and the queue.

    Attributes:
        signal: The signal that came, or 0.
        failed: Names of the runs that ended with an error.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.failed: list[str] = []
        self.child: subprocess.Popen[bytes] | None = None

    def note(self, number: int, _: Any = None) -> None:
        """Pass a signal on."""
        self.signal = number
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)

    def left(self) -> Iterator[Entry]:
        """What is to be done, the final runs once the choices are finished."""
        for entries in (choices, final):
            for entry in entries():
                entry.check()
                if not entry.finished:
                    yield entry

    def train(self, entry: Entry) -> None:
        """Train a run to its end, or to a signal."""
        print(entry.name, flush=True)
        self.child = subprocess.Popen(entry.command(), env={**os.environ, **ENVIRONMENT})
        if self.signal:
            # It came before there was a child to tell.
            self.note(self.signal)
        code = self.child.wait()
        if code and not self.signal:
            self.failed.append(entry.name)

    def work(self) -> int:
        """Everything that is left; gives the exit code."""
        for entry in self.left():
            if not self.signal:
                self.train(entry)
        if self.signal:
            return 128 + self.signal
        for name in self.failed:
            print(f"failed: {name}", flush=True)
        return int(bool(self.failed))


def show() -> None:
    """Print how far each run is; test figures of finished final runs only."""
    for entry in (*choices(), *final()):
        top1 = entry.held_out_top1()
        best = f", held out {top1[-1]:.2%}" if top1 else ""
        test = ""
        if entry.finished and entry.settings["held_out"]:
            results = json.loads((entry.folder / "results.json").read_text("utf-8"))
            test = f", test {results['test']['top1']:.2%}"
        print(f"{entry.name}: {len(top1)} of {entry.settings['epochs']} epochs{best}{test}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--list", action="store_true", help="say how far each run is")
    arguments = parser.parse_args()
    if arguments.list:
        show()
        return
    RUNS.mkdir(parents=True, exist_ok=True)
    queue = Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, queue.note)
    try:
        with FileLock(RUNS / "lock", timeout=0):
            os.nice(19)
            write_choice_data(RUNS / "data")
            code = queue.work()
    except Timeout:
        sys.exit(f"{RUNS}: another queue is at work here")
    except ValueError as error:
        sys.exit(str(error))
    show()
    sys.exit(code)


if __name__ == "__main__":
    main()
