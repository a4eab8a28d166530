"""Pruning by gates beside pruning by L1 norms and at random, at the same multiply-adds.

    python benchmarks/pruning.py                    # every line that pruning.csv lacks
    python benchmarks/pruning.py --methods norm     # those of a method only; several may run
    python benchmarks/pruning.py --latency          # times the networks, on a quiet machine

SE-ResNet-20 on Fashion-MNIST. Every network is the bundled one (94.68 % of the test pictures),
pruned once and fine-tuned for one epoch by one recipe with one seed, on 55,000 training pictures,
taught by the unpruned network (Hinton et al., arXiv:1503.02531, Section 2; on the held-out pictures
that brought 94.98 % where the labels brought 94.60 %). The gates are measured on 50 of them for
each class. Choices were made on the last 5,000 training pictures, which are held out; the test
pictures are read when a line is finished. Writes `pruning.csv`, a line at a time, and `pruning.md`;
minutes a line.
"""

from __future__ import annotations

import argparse
import csv
import functools
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se
from keras_se.benchmarking.runtimes import graph
from keras_se.benchmarking.timing import conditions, described, timed
from keras_se.data.datasets import load_pictures
from keras_se.data.labelled import Pictures
from keras_se.files import atomic
from keras_se.recipes import get_recipe
from keras_se.training.figures import figures, logits
from keras_se.training.optimizers import optimizer
from keras_se.training.recipe_data import training_batches

TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = (
    "method", "macs_at_most", "seed", "keep", "parameters", "macs", "validation_before",
    "validation_after", "test_before", "test_after", "latency_ms",
    "latency_of_batch_ms",
)  # fmt: skip
LEVELS = (0.7, 0.5)
SEEDS = (0, 1, 2)
HELD_OUT = 5000
BATCH = 500
# Of the softmax by which the unpruned network teaches.
TEMPERATURE = 2.0
# Pictures of which a latency is measured, by column.
TIMED = {"latency_ms": 1, "latency_of_batch_ms": 64}
# One epoch for every network alike.
RECIPE = get_recipe("fashion_mnist").changed(
    ["epochs=1", "warmup_epochs=0.1", "learning_rate=0.02", "cutout=0"]
)


@dataclass(frozen=True)
class Line:
    """A network to make.

    Attributes:
        method: `"unpruned"`, what prunes it, or what becomes of the gates of stage 4.
        level: Its multiply-adds at most, of the unpruned network's.
        seed: Of random pruning.
    """

    method: str
    level: float = 1.0
    seed: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        return self.method, str(self.level), str(self.seed)

    @property
    def prunes(self) -> bool:
        return self.level < 1


def lines(levels: Iterable[float]) -> list[Line]:
    found = [Line("unpruned")]
    for level in levels:
        found += [Line("gate", level), Line("norm", level)]
        found += [Line("random", level, seed) for seed in SEEDS]
    return [*found, Line("stage 4 without gates"), Line("stage 4 with mean gates")]


@functools.cache
def network() -> keras.Model:
    return keras_se.SEResNet20(weights="fashion_mnist", classifier_activation=None)


@functools.cache
def data() -> dict[str, Pictures]:
    parts = load_pictures("fashion_mnist")
    train = parts["train"]
    return {
        "train": train[:-HELD_OUT], "validation": train[-HELD_OUT:], "test": parts["test"],
    }  # fmt: skip


@functools.cache
def found() -> keras_se.Excitations:
    train = data()["train"]
    return keras_se.excitations(network(), train.pictures, train.labels)


@functools.cache
def keep_for(level: float) -> float:
    """The largest share of the channels, in steps of 1 / 64, with so many multiply-adds at most."""
    whole = keras_se.cost(network()).macs
    low, high = 1, 64
    while high - low > 1:
        middle = (low + high) // 2
        smaller = keras_se.prune(network(), found(), middle / 64)
        low, high = (
            (middle, high) if keras_se.cost(smaller).macs <= level * whole else (low, middle)
        )
    return low / 64


def make(line: Line) -> keras.Model:
    if line.prunes:
        keep = keep_for(line.level)
        return keras_se.prune(network(), found(), keep, by=line.method, seed=line.seed)
    if line.method == "unpruned":
        return keras_se.prune(network(), found(), 1.0)
    return keras_se.drop_stage(network(), 4, found() if "mean" in line.method else None)


def top1(model: keras.Model, part: str) -> float:
    pictures = data()[part]
    return figures(logits(model, pictures, BATCH), pictures.labels, "softmax")["top1"]


class Taught(keras.utils.PyDataset):
    """Training batches, with what the unpruned network says of them in place of the labels."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = training_batches(data()["train"], RECIPE, 0)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        pictures, _ = self.batches[index]
        taught = network().predict_on_batch(pictures) / TEMPERATURE
        return pictures, keras.ops.convert_to_numpy(keras.ops.softmax(taught))


def distillation(targets: Any, outputs: Any) -> Any:
    outputs = outputs / TEMPERATURE
    loss = keras.ops.categorical_crossentropy(targets, outputs, from_logits=True)
    # So that its gradients are as large as at a temperature of 1.
    return TEMPERATURE**2 * loss


def fine_tune(model: keras.Model) -> None:
    keras.utils.set_random_seed(RECIPE.seed)
    batches = Taught()
    model.compile(optimizer(RECIPE, len(batches)), distillation, jit_compile=False)
    model.fit(batches, verbose=0)


def measure(line: Line) -> dict[str, object]:
    model = make(line)
    cost = keras_se.cost(model)
    row: dict[str, object] = dict(zip(COLUMNS, line.key, strict=False))
    row |= {"keep": keep_for(line.level) if line.prunes else 1.0}
    row |= {"parameters": cost.params_total, "macs": cost.macs}
    for when in ("before", "after"):
        if when == "after":
            fine_tune(model)
        for part in ("validation", "test"):
            row[f"{part}_{when}"] = top1(model, part)
    return row


def read() -> dict[tuple[str, ...], dict[str, str]]:
    if not TABLE.exists():
        return {}
    with open(TABLE, encoding="utf-8") as file:
        return {tuple(row[name] for name in COLUMNS[:3]): row for row in csv.DictReader(file)}


def write(rows: Iterable[dict[str, object]]) -> None:
    with atomic(TABLE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def time_networks(rows: dict[tuple[str, ...], dict[str, str]]) -> None:
    """The latencies of the fused networks, all in turn; the values of the weights do not matter."""
    wanted = [line for line in lines(LEVELS) if line.key in rows and not line.seed]
    networks = {line.key: keras_se.fuse(make(line)) for line in wanted}
    print(described(conditions()))
    for column, count in TIMED.items():
        pictures = data()["test"].pictures[:count].astype("float32")
        answers = {
            key: graph(functools.partial(model, training=False), pictures)
            for key, model in networks.items()
        }
        for key, seconds in timed(answers, 100).items():
            rows[key][column] = f"{1000 * statistics.median(seconds):.3f}"


def page(rows: dict[tuple[str, ...], dict[str, str]]) -> str:
    """The table in Markdown; random pruning has a row for its mean."""
    head = (
        "network", "keep", "parameters", "multiply-adds", "of all", "1 picture",
        f"{TIMED['latency_of_batch_ms']} pictures", "before fine-tuning", "after",
    )  # fmt: skip
    text = [
        "# Pruning by gates", "",
        "Written by `benchmarks/pruning.py`, which says how; `pruning.csv` has every line. "
        "Accuracy: top-1 of the 10,000 test pictures, in percent; of random pruning the mean and "
        "the range of its seeds. Times: the fused network as a TensorFlow graph, in "
        "milliseconds.", "",
        "| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1),
    ]  # fmt: skip
    macs = {key: int(row["macs"]) for key, row in rows.items()}
    whole = keras_se.cost(network()).macs
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for key, row in sorted(rows.items(), key=lambda item: (-macs[item[0]], item[0])):
        groups.setdefault(key[:2], []).append(row)
    for (method, level), same in groups.items():
        row = same[0]
        cells = [
            method if level == "1.0" else f"{method}, at most {level}",
            f"{float(row['keep']):.3f}",
            f"{int(row['parameters']):,}",
            f"{int(row['macs']):,}",
            f"{int(row['macs']) / whole:.1%}",
            *(row[column] or "not measured" for column in TIMED),
        ]
        for column in ("test_before", "test_after"):
            values = [100 * float(row[column]) for row in same]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=float, nargs="*", default=LEVELS)
    parser.add_argument("--methods", nargs="*", help="defaults to all")
    parser.add_argument("--latency", action="store_true", help="time the networks of the lines")
    arguments = parser.parse_args()
    rows = read()
    if arguments.latency:
        time_networks(rows)
        write(rows.values())
    else:
        for line in lines(arguments.levels):
            wanted = not arguments.methods or line.method in arguments.methods
            if wanted and line.key not in rows:
                measured = measure(line)
                print(measured, flush=True)
                # Another process may have written lines since.
                rows = {**read(), line.key: measured}
                write(rows.values())
    TABLE.with_suffix(".md").write_text(page(read()), encoding="utf-8")


if __name__ == "__main__":
    main()
