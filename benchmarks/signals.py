"""Signals on real data: a 1-D SE-ResNet beside the same network without SE.

    pip install "keras-se[signals]"
    python benchmarks/signals.py               # every run that signals.csv lacks
    python benchmarks/signals.py --only GunPoint --seeds 0

Seven problems of the UCR and UEA archives that come inside the package aeon, with their official
splits. The network is `SEResNet20` with the widths of the archive's ResNet baseline (Wang et al.,
arXiv:1611.06455: 64, 128, 128). Each run trains for the same number of steps at every problem; the
test split is read once, at its end. Series of JapaneseVowels have 7 to 29 steps: they are padded
with zeros, or resampled, to the longest. Writes `signals.csv`, a line a run, and `signals.md`.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections import defaultdict
from pathlib import Path

import aeon.datasets
import keras
import numpy as np

import keras_se
from keras_se.files import atomic

FILE = Path(__file__).with_suffix(".csv")
COLUMNS = ("problem", "network", "seed", "parameters", "train_accuracy", "test_accuracy")
FOLDER = Path(aeon.datasets.__file__).parent / "data"
SEEDS = range(5)
STEPS, BATCH, RATE = 1000, 16, 1e-3

# Mean accuracy of the ResNet baseline, in percent. The first four and JapaneseVowels: Ismail Fawaz
# et al. (arXiv:1809.04356), Tables 8 and 9, ten runs, JapaneseVowels with its series prepared by
# others; ACSF1: five runs in that paper's repository; BasicMotions is in neither.
PUBLISHED = {
    "ArrowHead": 84.5,
    "GunPoint": 99.1,
    "ItalyPowerDemand": 96.3,
    "OSULeaf": 97.9,
    "ACSF1": 91.6,
    "JapaneseVowels": 99.2,
    "BasicMotions": None,
}
RESAMPLED = "JapaneseVowels, resampled"
PROBLEMS = (*PUBLISHED, RESAMPLED)
NETWORKS = {"SE-ResNet": keras_se.SEConfig(ratio=8), "ResNet": None}
VARIANT = {"blocks": (2, 2, 2), "widths": (64, 128, 128)}


def equally_long(series: list[np.ndarray], length: int, resampled: bool) -> np.ndarray:
    """Series `(channels, steps)` of any length as `(count, length, channels)`."""
    if not resampled:
        return np.stack([np.pad(x, ((0, 0), (0, length - x.shape[1]))).T for x in series])
    places = np.linspace(0, 1, length)
    return np.stack([
        np.stack([np.interp(places, np.linspace(0, 1, len(row)), row) for row in x], axis=1)
        for x in series
    ])  # fmt: skip


def load(problem: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The training and test series `(count, length, channels)` and labels from 0."""
    name = problem.split(",")[0]
    files = (str(FOLDER / name / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    (train, classes), (test, test_classes) = (aeon.datasets.load_from_ts_file(f) for f in files)
    length = max(x.shape[1] for part in (train, test) for x in part)
    known, labels = np.unique(classes, return_inverse=True)
    x, x_test = (equally_long(list(p), length, problem == RESAMPLED) for p in (train, test))
    mean, std = x.mean((0, 1)), x.std((0, 1))
    x, x_test = (((values - mean) / std).astype("float32") for values in (x, x_test))
    return (x, labels), (x_test, np.searchsorted(known, test_classes))


def run(problem: str, network: str, seed: int) -> dict[str, object]:
    """Train a network; gives its line."""
    keras.utils.set_random_seed(seed)
    (x, labels), (x_test, test_labels) = load(problem)
    model = keras_se.SEResNet20(
        weights=None, input_shape=x.shape[1:], classes=int(labels.max()) + 1, se=NETWORKS[network],
        variant=VARIANT, include_preprocessing=False,
    )  # fmt: skip
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 10, STEPS * 9 // 10, warmup_target=RATE, warmup_steps=STEPS // 10
    )
    model.compile(keras.optimizers.AdamW(schedule), "sparse_categorical_crossentropy")
    random = np.random.default_rng(seed)
    batch, count = min(BATCH, len(x)), 0
    while count < STEPS:
        order = random.permutation(len(x))
        for first in range(0, len(x) - batch + 1, batch):
            chosen = order[first : first + batch]
            model.train_on_batch(x[chosen], labels[chosen])
            count += 1
            if count == STEPS:
                break
    accuracy = {
        part: float((model.predict(series, verbose=0).argmax(1) == truth).mean())
        for part, series, truth in (("train", x, labels), ("test", x_test, test_labels))
    }
    return {
        "problem": problem, "network": network, "seed": seed, "parameters": model.count_params(),
        "train_accuracy": f"{accuracy['train']:.4f}", "test_accuracy": f"{accuracy['test']:.4f}",
    }  # fmt: skip


def lines() -> list[dict[str, str]]:
    """The runs that are done."""
    if not FILE.exists():
        return []
    with open(FILE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, object]]) -> None:
    """Write all runs, in the order of the problems."""
    order = {problem: n for n, problem in enumerate(PROBLEMS)}
    rows = sorted(rows, key=lambda r: (order[r["problem"]], r["network"], int(r["seed"])))
    with atomic(FILE) as path, open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def page(rows: list[dict[str, str]]) -> str:
    """The table: mean and deviation of each network, and what was published."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        found[row["problem"], row["network"]].append(100 * float(row["test_accuracy"]))
    text = [
        "# Signals", "",
        "Written by `benchmarks/signals.py`, which says how; `signals.csv` has every run. Test",
        "accuracy in percent, the mean and the standard deviation of the seeds; the published",
        "baseline is a claim of its authors.", "",
        f"| problem | seeds | {' | '.join(NETWORKS)} | published ResNet |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for problem in PROBLEMS:
        cells = [found[problem, network] for network in NETWORKS]
        if not all(cells):
            continue
        shown = [f"{statistics.mean(c):.1f} ({statistics.pstdev(c):.1f})" for c in cells]
        claim = PUBLISHED.get(problem)
        seeds = min(map(len, cells))
        text.append(f"| {problem} | {seeds} | {' | '.join(shown)} | {claim or ''} |")
    claimed = [p for p, claim in PUBLISHED.items() if claim and found[p, "SE-ResNet"]]
    if claimed:
        means = {n: [statistics.mean(found[p, n]) for p in claimed] for n in NETWORKS}
        means["published"] = [PUBLISHED[p] for p in claimed]
        ranks = np.argsort(np.argsort(-np.array(list(means.values())), axis=0), axis=0) + 1
        text += [
            "", f"The {len(claimed)} problems with a published figure:", "",
            f"| | {' | '.join(means)} |", f"| --- |{' ---: |' * len(means)}",
            "| mean accuracy | " + " | ".join(f"{statistics.mean(v):.2f}" for v in means.values())
            + " |",
            "| mean rank | " + " | ".join(f"{r.mean():.2f}" for r in ranks) + " |",
        ]  # fmt: skip
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PROBLEMS, nargs="*", default=PROBLEMS)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    arguments = parser.parse_args()
    rows = lines()
    done = {(row["problem"], row["network"], int(row["seed"])) for row in rows}
    for seed in arguments.seeds:
        for problem in arguments.only:
            for network in NETWORKS:
                if (problem, network, seed) in done:
                    continue
                line = run(problem, network, seed)
                print(*line.values(), flush=True)
                rows = [*lines(), line]
                write(rows)
                keras.backend.clear_session()
    with atomic(FILE.with_suffix(".md")) as path:
        Path(path).write_text(page(lines()), "utf-8")


if __name__ == "__main__":
    main()
