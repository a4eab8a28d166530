"""Long trainings on Fashion-MNIST, one by one, stopped and resumed at will.

    python pretrained/train_queue.py            # trains what is left; several at once may
    python pretrained/train_queue.py --list     # says how far each run is

Each set is trained with three seeds. The last 5,000 training pictures are held out: settings and
the seed that is published are chosen on them. The 10,000 test pictures are read once, at the end
of a run.

Each run is `keras-se train` in a folder of `runs/queue`, at the lowest priority, and is resumed if
it is there. SIGTERM and Ctrl-C end the queue after a checkpoint; a kill costs the steps since the
last one. Small networks are fastest with a core each: `taskset -c 0 python
pretrained/train_queue.py`, and another with `-c 1`.

Recipe: Random Erasing (Zhong et al., arXiv:1708.04896, Section 4.1) for ResNet-20, with a cosine in
place of its drops and a fifth of its 300 epochs. An epoch takes 85 to 95 seconds of a core with
AVX-512; in bfloat16 SE-ResNet-20 takes 0.7 of its time in float32, the others gain nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_se.recipes import get_recipe
from keras_se.training.recipe import Recipe, difference, from_dict

RUNS = Path(__file__).resolve().parent.parent / "runs" / "queue"
# oneDNN is off by default on processors without AVX-512 VNNI, where it takes a third off a step. A
# run that is resumed needs the same operations.
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

BASE: Mapping[str, Any] = {
    "held_out": 5000,
    "weight_decay": 5e-4,
    "cutout": 0,
    "shift": 4,
    "random_erasing": 0.5,
    "checkpoint_steps": 100,
}
# In the order of training: what differs from `BASE`, which differs from the recipe `fashion_mnist`.
SETS: Mapping[str, Mapping[str, Any]] = {
    "se_resnet20": {"epochs": 60, "precision": "mixed_bfloat16"},
    # The strides of the bundled set lose most of a picture of 28 x 28 in the first two blocks.
    "se_mobilenet_0_25": {
        "epochs": 45,
        "model": "SEMobileNet",
        "variant": {"alpha": 0.25, "strides": [1, 1, 2, 1, 2, 1]},
        "weight_decay": 1e-4,
    },
    "se_inception_resnet_v2": {
        "epochs": 45,
        "model": "SEInceptionResNetV2",
        "variant": {"alpha": 0.125, "blocks": [4, 4, 2], "stem": "small"},
    },
}
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


def entries() -> list[Entry]:
    """All runs: each set with the first seed, then with the second."""
    return [
        Entry(f"{name}-{seed}", {**BASE, **own, "seed": seed})
        for seed in SEEDS
        for name, own in SETS.items()
    ]


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
        """The runs that are neither finished nor in another queue's hands, locked meanwhile."""
        for entry in entries():
            entry.check()
            try:
                with FileLock(RUNS / f"{entry.name}.lock", timeout=0):
                    if not entry.finished:
                        yield entry
            except Timeout:
                continue

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
    """Print how far each run is, and the test figure of those that are finished."""
    for entry in entries():
        top1 = entry.held_out_top1()
        best = f", held out {top1[-1]:.2%}" if top1 else ""
        test = ""
        if entry.finished:
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
    os.nice(19)
    try:
        code = queue.work()
    except ValueError as error:
        sys.exit(str(error))
    show()
    sys.exit(code)


if __name__ == "__main__":
    main()
