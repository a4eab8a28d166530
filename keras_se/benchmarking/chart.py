"""The figure of a report: a panel per setting, a bar per network, runtime and precision."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_se.analysis.figure import STYLES, check_path, write
from keras_se.benchmarking.report import Line, Report
from keras_se.benchmarking.timing import described

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_path", "plot"]
# Inches.
WIDE, BAR, HEAD, LEGEND, MARGIN = 7.5, 0.26, 0.75, 0.2, 0.9
# Panels side by side.
COLUMNS = 2
PATTERNS = ("", "///", "...", "xxx")
# Characters of the conditions per panel.
LINE = 115


def plot(report: Report, path: Path) -> None:
    """Write the figure: medians, with the quartiles as error bars."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    panels = report.settings()
    names = [*dict.fromkeys(line.network for line in report.lines)]
    styles = {name: _style(n) for n, name in enumerate(names)}
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    height = HEAD + BAR * max(len(lines) + len(_groups(lines)) for lines in panels)
    size = (WIDE * columns, MARGIN + LEGEND * len(names) + rows * height)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, lines in zip(axes, panels, strict=False):
        _draw(panel, report, lines, styles)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    handles = [Patch(**styles[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside upper left", frameon=False, fontsize=9)
    figure.supxlabel(
        "\n".join(textwrap.wrap(described(report.conditions), LINE * columns)),
        fontsize=7,
        color="dimgrey",
    )
    write(path, figure)


def _draw(
    axes: Axes, report: Report, lines: Sequence[Line], styles: Mapping[str, Mapping[str, Any]]
) -> None:
    ticks, labels, at = [], [], 0.0
    for label, group in _groups(lines).items():
        places = at + np.arange(len(group))
        medians = np.array([line.median for line in group])
        spread = np.abs([[line.low, line.high] for line in group] - medians[:, None]).T
        for place, line in zip(places, group, strict=True):
            axes.barh(place, line.median, 0.85, **styles[line.network])
        axes.errorbar(medians, places, xerr=spread, fmt="none", ecolor="black", capsize=2.5, lw=1)
        for place, line in zip(places, group, strict=True):
            to_plain = report.to_plain(line)
            text = f"  {line.median:.3g} ms"
            text += "" if to_plain is None else f", {to_plain:.2f} of plain"
            axes.text(max(line.high, line.median), place, text, va="center", fontsize=8)
        ticks.append(places.mean())
        labels.append(label)
        at += len(group) + 1
    axes.set_yticks(ticks, labels, fontsize=9)
    axes.set_ylim(at - 0.5, -1)
    # Room for the figures beside the bars.
    axes.set_xlim(0, 1.25 * max(line.high for line in lines))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("milliseconds per batch: median and quartiles", fontsize=8)
    axes.set_title(_title(lines[0]), fontsize=10, loc="left")


def _style(n: int) -> dict[str, Any]:
    """Colour of a network, and a pattern from the seventh on."""
    return {
        "facecolor": STYLES[n % len(STYLES)][0],
        "hatch": PATTERNS[n // len(STYLES) % len(PATTERNS)],
        "edgecolor": "white",
    }


def _groups(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """The lines of each runtime and precision."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(f"{line.runtime}, {line.precision}", []).append(line)
    return found


def _title(line: Line) -> str:
    size = "each network's own size" if line.size is None else "x".join(map(str, line.size))
    return f"threads {line.threads}, batch {line.pictures[0]}, {size}"
