"""The plots of the claim's page."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
from claim import ABLATED, PLAIN, SE
from claim_figures import (
    LAST_FIFTH,
    TITLES,
    ablation_title,
    alternatives,
    by_name,
    errors,
    pairs,
    validation_errors,
)
from results import Row

HERE = Path(__file__).resolve().parent


def plot_errors(rows: Iterable[Row]) -> None:
    """Each seed a point, the mean a line; plain and SE in two colours and two shapes."""
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


def plot_curves(rows: Iterable[Row], curves: Iterable[Row]) -> None:
    """Errors on the held-out pictures by epoch: a panel a network, a line a seed."""
    networks = dict(pairs(by_name(rows)))
    by_epoch = validation_errors(curves)
    height = -(-len(networks) // 2)
    figure, panels = plt.subplots(
        height, 2, figsize=(8, 2.6 * height), layout="constrained", squeeze=False
    )
    for panel in panels.flat[len(networks) :]:
        panel.remove()
    for panel, (name, both) in zip(panels.flat, networks.items(), strict=False):
        for kind, colour in ((PLAIN, "#d55e00"), (SE, "#0072b2")):
            for seed in both[kind]:
                values = by_epoch[f"{name}_{kind}"][seed]
                panel.plot(range(1, len(values) + 1), values, color=colour, alpha=0.7)
            panel.plot([], [], color=colour, label={PLAIN: "plain", SE: "with SE"}[kind])
        panel.axvline(LAST_FIFTH, color="grey", linestyle=":")
        panel.set(yscale="log", title=TITLES[name][0], xlabel="epoch", ylabel="error, per cent")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
        panel.grid(alpha=0.3, which="both")
    panels.flat[0].legend()
    figure.savefig(HERE / "claim_curves.png", dpi=120)
    plt.close(figure)
