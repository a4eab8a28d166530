"""What the runs of `claim.py` show, beside the paper's tables.

    python pretrained/claim_report.py           # results.csv, claim.md and its two plots
    python pretrained/claim_report.py --time    # first measures the steps; needs a quiet machine

Finished runs of `runs/claim/` are taken over into `results.csv`, which keeps the rows of runs whose
folders are gone; the page is made of that file alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import results
from claim import (
    ABLATED,
    ABLATION_SEEDS,
    ABLATIONS,
    NETWORKS,
    PLAIN,
    RECIPE,
    RUNS,
    SE,
    recipe,
    runs,
)

HERE = Path(__file__).resolve().parent
STEPS, PAGE = HERE / "step_times.csv", HERE / "claim.md"
# Title, and the paper's top-1 errors in per cent without and with SE, of its nearest network.
TITLES: Mapping[str, tuple[str, str, float, float]] = {
    "resnet8": ("ResNet-8", "ResNet-50, Table 2", 24.80, 23.29),
    "resnet20": ("ResNet-20", "ResNet-50, Table 2", 24.80, 23.29),
    "resnet32": ("ResNet-32", "ResNet-101, Table 2", 23.17, 22.38),
    "resnet56": ("ResNet-56", "ResNet-152, Table 2", 22.42, 21.57),
    "resnext": ("ResNeXt-11 (8 groups)", "ResNeXt-50, Table 2", 22.11, 21.10),
    "mobilenet": ("MobileNet (alpha 0.25)", "MobileNet, Table 3", 28.4, 25.3),
    "vgg": ("VGG (4 convolutions)", "VGG-16, Table 2", 27.02, 25.22),
}
# The paper's top-1 errors of SE-ResNet-50, Tables 10 to 14.
REFERENCE = 22.28
PAPER: Mapping[str, float] = {
    PLAIN: 23.30,
    "ratio2": 22.29,
    "ratio4": 22.25,
    "ratio8": 22.26,
    "squeeze_max": 22.57,
    "gate_tanh": 23.00,
    "gate_relu": 23.47,
    "placement_pre": 22.23,
    "placement_post": 22.78,
    "placement_identity": 22.20,
    "stage2": 23.03,
    "stage3": 23.04,
    "stage4": 22.68,
}
# 97.5 % quantiles of Student's distribution, by the number of seeds.
QUANTILES: Mapping[int, float] = {3: 4.303, 4: 3.182, 5: 2.776}

Row = Mapping[str, str]


def collect() -> list[dict[str, Any]]:
    """The rows of all finished runs."""
    from keras_se.config import SEConfig

    import keras_se
    from keras_se.training.recipe import difference, from_dict

    found = []
    for name, seed, settings in runs():
        folder = RUNS / f"{name}-{seed}"
        if not (folder / "results.json").exists():
            continue
        made = from_dict(json.loads((folder / "recipe.json").read_text("utf-8")))
        if other := difference(made, recipe(settings, seed)):
            raise SystemExit(f"{folder}: a run of another recipe: {other}")
        figures = json.loads((folder / "results.json").read_text())
        with open(folder / "metrics.csv", encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        se = settings["se"]
        model = getattr(keras_se, settings["model"])(
            weights=None, input_shape=(28, 28, 1), classes=10, variant=settings["variant"],
            se=None if se is None else SEConfig(**se),
        )  # fmt: skip
        found.append(
            {
                "name": name, "seed": seed, "split": "test", "pictures": 10000,
                "top1": f"{figures['test']['top1']:.4f}",
                "top5": f"{figures['test']['top5']:.4f}",
                "validation_top1": f"{float(last['val_top1']):.4f}",
                "epochs": last["epoch"].removesuffix(".0"),
                "parameters_trainable": figures["parameters_trainable"],
                "parameters_total": figures["parameters_total"],
                "macs": keras_se.cost(model).macs,
            }
        )  # fmt: skip
    return found


def measure_steps() -> None:
    """Training steps of both of a pair, in turn in one run, to `step_times.csv`."""
    import keras
    import numpy as np
    from keras_se.config import SEConfig

    import keras_se
    from keras_se.benchmarking.timing import conditions, described, timed

    batch = RECIPE["batch"]
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (batch, 28, 28, 1)).astype("float32")
    y = random.integers(0, 10, batch)
    rows = []
    for name, (builder, variant, _) in NETWORKS.items():
        models = {
            kind: getattr(keras_se, builder)(
                weights=None, input_shape=(28, 28, 1), classes=10, classifier_activation=None,
                variant=variant, se=se,
            )
            for kind, se in ((PLAIN, None), (SE, SEConfig()))
        }  # fmt: skip
        for model in models.values():
            model.compile(
                keras.optimizers.SGD(0.1, momentum=0.9),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                jit_compile=False,
            )
        times = timed({k: lambda m=m: m.train_on_batch(x, y) for k, m in models.items()}, 25, 5)
        ratios = [a / b for a, b in zip(times[SE], times[PLAIN], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "name": name,
                "plain_ms": f"{1000 * statistics.median(times[PLAIN]):.1f}",
                "ratio": f"{middle:.2f}", "low": f"{low:.2f}", "high": f"{high:.2f}",
                "conditions": described(conditions()),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    with open(STEPS, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def step_times() -> list[dict[str, str]]:
    """What `measure_steps` wrote."""
    if not STEPS.exists():
        return []
    with open(STEPS, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_name(rows: Iterable[Row]) -> dict[str, dict[int, Row]]:
    """Rows of each name by seed."""
    found: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["seed"]:
            found[row["name"]][int(row["seed"])] = row
    return found


def errors(rows: Mapping[int, Row]) -> list[float]:
    """Top-1 errors in per cent, by seed."""
    return [100 * (1 - float(rows[seed]["top1"])) for seed in sorted(rows)]


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def gain(one: Mapping[int, Row], other: Mapping[int, Row]) -> tuple[str, str]:
    """How much smaller the second's error is, over the seeds that both have, and whether it is.

    It is where the 95 % interval of Student's distribution does not contain zero.
    """
    seeds = sorted(one.keys() & other.keys())
    both = (errors({s: rows[s] for s in seeds}) for rows in (one, other))
    gains = [a - b for a, b in zip(*both, strict=True)]
    if len(gains) not in QUANTILES:
        return spread(gains), "too few seeds"
    mean, error = statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5
    if abs(mean) <= QUANTILES[len(gains)] * error:
        return spread(gains), "no clear difference"
    return spread(gains), "better" if mean > 0 else "worse"


def pairs(found: Mapping[str, Mapping[int, Row]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each network that has both, and the rows of both kinds over the seeds that both have."""
    for name in TITLES:
        both = {kind: found.get(f"{name}_{kind}", {}) for kind in (PLAIN, SE)}
        if seeds := sorted(both[PLAIN].keys() & both[SE].keys()):
            yield name, {kind: {seed: rows[seed] for seed in seeds} for kind, rows in both.items()}


def network_table(found: Mapping[str, Mapping[int, Row]], steps: Iterable[Row]) -> list[str]:
    ratios = {row["name"]: row for row in steps}
    lines = [
        "| network | seeds | error plain | error SE | gain | | parameters "
        "| multiply-adds | step | the paper's gain |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for name, both in pairs(found):
        title, nearest, paper_plain, paper_se = TITLES[name]
        plain, se = both[PLAIN], both[SE]
        one, other = next(iter(plain.values())), next(iter(se.values()))
        improvement, verdict = gain(plain, se)
        time = f"{ratios[name]['ratio']} times" if name in ratios else ""
        parameters, macs = (
            f"{int(one[key]) / scale:,.{digits}f} → {int(other[key]) / scale:,.{digits}f}"
            for key, scale, digits in (("parameters_total", 1e3, 1), ("macs", 1e6, 2))
        )
        lines.append(
            f"| {title} | {len(plain)} | {spread(errors(plain))} | {spread(errors(se))} "
            f"| {improvement} | {verdict} "
            f"| {parameters} k | {macs} M | {time} | {paper_plain - paper_se:.2f} ({nearest}) |"
        )
    return lines


def summary(found: Mapping[str, Mapping[int, Row]]) -> str:
    """Where SE is better, where worse, and where neither."""
    networks: dict[str, list[str]] = defaultdict(list)
    for name, both in pairs(found):
        networks[gain(both[PLAIN], both[SE])[1]].append(TITLES[name][0])
    return "; ".join(f"{verdict} in {', '.join(titles)}" for verdict, titles in networks.items())


def alternatives(found: Mapping[str, Mapping[int, Row]]) -> dict[str, Mapping[int, Row]]:
    """Rows of the network with standard SE, without SE, and with each alternative, by key."""
    every = {key: found.get(f"{ABLATED}_{SE}_{key}", {}) for key in ABLATIONS}
    base = {key: found.get(f"{ABLATED}_{key}", {}) for key in (SE, PLAIN)}
    seeds = range(ABLATION_SEEDS)
    return {
        key: {seed: rows[seed] for seed in seeds if seed in rows}
        for key, rows in (base | every).items()
        if rows
    }


def ablation_title(key: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=\d)", " ", key.replace("_", " "))
    return {SE: "standard", PLAIN: "without SE"}.get(key, words.replace("stage", "only stage"))


def ablation_table(every: Mapping[str, Mapping[int, Row]]) -> list[str]:
    lines = [
        f"| SE-{TITLES[ABLATED][0]} with | seeds | error | gain over the standard "
        "| | the paper's gain |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for key, rows in every.items():
        improvement, verdict = ("", "") if key == SE else gain(every[SE], rows)
        paper = "" if key == SE else f"{REFERENCE - PAPER[key]:.2f}"
        lines.append(
            f"| {ablation_title(key)} | {len(rows)} | {spread(errors(rows))} | {improvement} "
            f"| {verdict} | {paper} |"
        )
    return lines


def page(rows: Iterable[Row], steps: list[dict[str, str]]) -> str:
    """The page, as Markdown."""
    found = by_name(rows)
    conditions = steps[0]["conditions"] if steps else ""
    lines = [
        "# The paper's claim, measured on Fashion-MNIST",
        "",
        "Written by `python pretrained/claim_report.py` from `results.csv`; the runs are those of",
        "`python pretrained/claim.py train`. Errors are top-1 in per cent on the 10,000 test",
        "pictures, which were read once at the end of a run: mean and standard deviation over the",
        "seeds. A gain is the mean over seeds of plain minus SE, which saw the same pictures in",
        'the same order; it is "better" or "worse" where its 95 % interval (Student, three seeds',
        "at least) does not contain zero, as that of one in twenty without a difference does not.",
        "",
        f"All runs: {RECIPE['epochs']} epochs of 55,000 pictures, batch {RECIPE['batch']},",
        "SGD with Nesterov momentum, cosine, shifts and flips, a first convolution of stride 2:",
        "short runs on two cores, so the errors are above what these networks reach, and the gains",
        "are those of short runs. ResNet-8 ran for two epochs and ResNet-56 for one at first, with",
        "gains of -0.89 (two seeds) and 1.80 (one seed); with time for three they were repeated.",
        "",
        *network_table(found, steps),
        "",
        f"SE against plain: {summary(found)}.",
        "",
        *(
            [f"Steps: median of 25 in turn, batch {RECIPE['batch']}, {conditions}.", ""]
            * bool(steps)
        ),
        "![errors with and without SE](claim.png)",
        "",
    ]
    every = alternatives(found)
    if len(every) > 2:
        lines += [
            "The standard: ratio 16, average squeeze, sigmoid gate, placement before the sum, all",
            "stages. A gain is the standard's error minus the alternative's, over the seeds that",
            "both have. The paper's are SE-ResNet-50's on ImageNet, Tables 10 to 14, against",
            f"{REFERENCE} %; the plain network has {PAPER[PLAIN]:.2f} % there (in Table 2, of",
            "another training, 24.80 %).",
            "",
            *ablation_table(every),
            "",
            "![errors of the alternatives](ablations.png)",
            "",
        ]
    return "\n".join(lines)


def plot(rows: Iterable[Row]) -> None:
    """Each seed a point, the mean a line; plain and SE in two colours and two shapes."""
    import matplotlib.pyplot as plt

    found = by_name(rows)
    networks = dict(pairs(found))
    figure, axes = plt.subplots(figsize=(7, 0.6 * len(networks) + 1.2), layout="constrained")
    for kind, offset, colour, marker in (
        (PLAIN, 0.12, "#d55e00", "s"),
        (SE, -0.12, "#0072b2", "o"),
    ):
        for place, both in enumerate(networks.values()):
            values = errors(both[kind])
            height = len(networks) - place + offset
            label = {PLAIN: "plain", SE: "with SE"}[kind] if place == 0 else None
            axes.plot(values, [height] * len(values), marker, color=colour, alpha=0.7, label=label)
            axes.plot([statistics.mean(values)] * 2, [height - 0.1, height + 0.1], color=colour)
    axes.set_yticks(range(len(networks), 0, -1), [TITLES[name][0] for name in networks])
    axes.set_xlabel("top-1 error on the test pictures, per cent")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    figure.savefig(HERE / "claim.png", dpi=120)
    plt.close(figure)
    every = {ablation_title(key): rows for key, rows in alternatives(found).items()}
    if len(every) <= 2:
        return
    figure, axes = plt.subplots(figsize=(7, 0.35 * len(every) + 1), layout="constrained")
    for place, values in enumerate(map(errors, every.values())):
        height = len(every) - place
        axes.plot(values, [height] * len(values), "o", color="#0072b2", alpha=0.6)
        axes.plot([statistics.mean(values)] * 2, [height - 0.3, height + 0.3], color="black")
    axes.set_yticks(range(len(every), 0, -1), list(every))
    axes.axvline(statistics.mean(errors(every["standard"])), color="grey", linestyle=":")
    axes.set_xlabel(f"top-1 error of SE-{TITLES[ABLATED][0]} on the test pictures, per cent")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(HERE / "ablations.png", dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--time", action="store_true", help="measure the steps first")
    if parser.parse_args().time:
        measure_steps()
    new = {(row["name"], str(row["seed"])): row for row in collect()}
    rows = results.replace(lambda row: (row["name"], row["seed"]) in new, new.values())
    PAGE.write_text(page(rows, step_times()), encoding="utf-8")
    plot(rows)


if __name__ == "__main__":
    main()
