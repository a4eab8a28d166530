"""What the runs of `claim.py` show, beside the paper's tables.

    python pretrained/claim_report.py           # the two tables, claim.md and its plots
    python pretrained/claim_report.py --time    # first measures the steps; needs a quiet machine

Finished runs of `runs/claim/` are taken over into `results.csv` and `claim_curves.csv`, which keep
the rows of runs whose folders are gone; the page is made of these files alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from claim import ABLATED, PLAIN, RECIPE, RUNS, SE, is_of_study, recipe, runs
from claim_figures import (
    LAST_FIFTH,
    TITLES,
    ablation_title,
    alternatives,
    by_name,
    errors,
    gain,
    pairs,
    spread,
    validation_errors,
)
from claim_steps import measure_steps, step_times
from results import CURVES, RESULTS, Row

HERE = Path(__file__).resolve().parent
PAGE = HERE / "claim.md"
# The paper's top-1 errors of SE-ResNet-50, Tables 10 to 14.
REFERENCE = 22.28
# ECA and scSE are not in the paper.
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


Key = tuple[str, str]


def collect() -> tuple[dict[Key, Row], dict[Key, list[Row]]]:
    """The row of each finished run in `results.csv`, and its rows in `claim_curves.csv`."""
    import keras_se
    from keras_se.training.recipe import difference, from_dict

    found: dict[Key, Row] = {}
    curves: dict[Key, list[Row]] = {}
    for name, seed, settings in runs():
        folder = RUNS / f"{name}-{seed}"
        if not (folder / "results.json").exists():
            continue
        made = from_dict(json.loads((folder / "recipe.json").read_text("utf-8")))
        if other := difference(made, recipe(settings, seed)):
            raise SystemExit(f"{folder}: a run of another recipe: {other}")
        figures = json.loads((folder / "results.json").read_text("utf-8"))
        with open(folder / "metrics.csv", encoding="utf-8") as file:
            epochs = list(csv.DictReader(file))
        model = getattr(keras_se, made.model)(
            weights=None, input_shape=(28, 28, 1), classes=10, variant=made.variant,
            se=made.se_config(),
        )  # fmt: skip
        run = {"name": name, "seed": str(seed)}
        found[name, str(seed)] = run | {
            "split": "test", "pictures": "10000",
            "top1": f"{figures['test']['top1']:.4f}", "top5": f"{figures['test']['top5']:.4f}",
            "validation_top1": f"{float(epochs[-1]['val_top1']):.4f}", "epochs": str(made.epochs),
            "parameters_trainable": str(figures["parameters_trainable"]),
            "parameters_total": str(figures["parameters_total"]),
            "macs": str(keras_se.cost(model).macs),
        }  # fmt: skip
        curves[name, str(seed)] = [
            run | {"epoch": str(n), "validation_top1": f"{float(row['val_top1']):.4f}"}
            for n, row in enumerate(epochs, 1)
        ]
    return found, curves


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


def convergence_table(found: Mapping[str, Mapping[int, Row]], curves: Iterable[Row]) -> list[str]:
    """How far the error on held-out pictures moves in the last fifth of training."""
    by_epoch = validation_errors(curves)
    start = LAST_FIFTH - 1
    lines = [
        f"| network | after {LAST_FIFTH} epochs | after {RECIPE['epochs']} | moved "
        "| deviation over seeds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, both in pairs(found):
        for kind, title in ((PLAIN, TITLES[name][0]), (SE, f"SE-{TITLES[name][0]}")):
            seeds = [by_epoch[f"{name}_{kind}"][seed] for seed in sorted(both[kind])]
            before, after = ([errors[n] for errors in seeds] for n in (start, -1))
            moved = statistics.mean(before) - statistics.mean(after)
            deviation = f"{statistics.stdev(after):.2f}" if len(after) > 1 else ""
            lines.append(
                f"| {title} | {statistics.mean(before):.2f} | {statistics.mean(after):.2f} "
                f"| {moved:.2f} | {deviation} |"
            )
    return lines


def missing(found: Mapping[str, Mapping[int, Row]]) -> list[str]:
    """A line that names the networks without runs, if there are any."""
    made = dict(pairs(found))
    left = [titles[0] for name, titles in TITLES.items() if name not in made]
    return [f"Not run yet: {', '.join(left)}."] if left else []


def summary(found: Mapping[str, Mapping[int, Row]]) -> str:
    """Where SE is better, where worse, and where neither."""
    networks: dict[str, list[str]] = defaultdict(list)
    for name, both in pairs(found):
        networks[gain(both[PLAIN], both[SE])[1]].append(TITLES[name][0])
    return "; ".join(f"{verdict} in {', '.join(titles)}" for verdict, titles in networks.items())


def ablation_table(every: Mapping[str, Mapping[int, Row]]) -> list[str]:
    lines = [
        f"| SE-{TITLES[ABLATED][0]} with | seeds | error | gain over the standard "
        "| | the paper's gain |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for key, rows in every.items():
        improvement, verdict = ("", "") if key == SE else gain(every[SE], rows)
        paper = f"{REFERENCE - PAPER[key]:.2f}" if key in PAPER else ""
        lines.append(
            f"| {ablation_title(key)} | {len(rows)} | {spread(errors(rows))} | {improvement} "
            f"| {verdict} | {paper} |"
        )
    return lines


def page(rows: Iterable[Row], curves: Iterable[Row], steps: list[dict[str, str]]) -> str:
    """The page, as Markdown."""
    found = by_name(rows)
    conditions = steps[0]["conditions"] if steps else ""
    lines = [
        "# The paper's claim, measured on Fashion-MNIST",
        "",
        "Written by `python pretrained/claim_report.py` from `results.csv` and `claim_curves.csv`;",
        "the runs are those of `python pretrained/claim.py train`. Errors are top-1 in per cent on",
        "the 10,000 test pictures, which were read once at the end of a run: mean and standard",
        "deviation over the seeds. A gain is the mean over seeds of plain minus SE, which saw the",
        'same pictures in the same order; it is "better" or "worse" where its 95 % interval',
        "(Student, three seeds at least) does not contain zero, as that of one in twenty without a",
        "difference does not.",
        "",
        f"All runs: {RECIPE['epochs']} epochs of 55,000 pictures, batch {RECIPE['batch']},",
        "SGD with Nesterov momentum, shifts and flips; the learning rate falls to a tenth after",
        f"epochs {' and '.join(map(str, RECIPE['drops']))}. The first convolution has stride 2, so",
        "the networks see 14 x 14 positions, and their errors are above those at full resolution.",
        "",
        *network_table(found, steps),
        "",
        f"SE against plain: {summary(found)}.",
        *missing(found),
        "`results.csv` also has the rows of an earlier study, of three epochs; they do not count.",
        "",
        *(
            [f"Steps: median of 25 in turn, batch {RECIPE['batch']}, {conditions}.", ""]
            * bool(steps)
        ),
        "![errors with and without SE](claim.png)",
        "",
        "## Whether the runs are long enough",
        "",
        "Top-1 errors in per cent on the 5,000 held-out training pictures, where the last fifth of",
        "training begins and at the end. A run is long enough if the error moves by less than it",
        "differs between seeds.",
        "",
        *convergence_table(found, curves),
        "",
        "![errors on the held-out pictures after each epoch](claim_curves.png)",
        "",
    ]
    every = alternatives(found)
    if len(every) > 2:
        lines += [
            f"## Alternatives in SE-{TITLES[ABLATED][0]}",
            "",
            "The standard: ratio 16, average squeeze, sigmoid gate, placement before the sum, all",
            "stages. A gain is the standard's error minus the alternative's, over the seeds that",
            "both have. The paper's are SE-ResNet-50's on ImageNet, Tables 10 to 14, against",
            f"{REFERENCE} %; the plain network has {PAPER[PLAIN]:.2f} % there (in Table 2, of",
            "another training, 24.80 %). ECA and scSE are of other papers.",
            "",
            *ablation_table(every),
            "",
            "![errors of the alternatives](ablations.png)",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--time", action="store_true", help="measure the steps first")
    if parser.parse_args().time:
        measure_steps()
    found, own_curves = collect()
    rows = RESULTS.replace(
        lambda row: is_of_study(row) and (row["name"], row["seed"]) in found, found.values()
    )
    curves = CURVES.replace(
        lambda row: (row["name"], row["seed"]) in own_curves,
        (row for run in own_curves.values() for row in run),
    )
    PAGE.write_text(page(rows, curves, step_times()), encoding="utf-8")
    from claim_plots import plot_curves, plot_errors

    plot_errors(rows)
    plot_curves(rows, curves)


if __name__ == "__main__":
    main()
