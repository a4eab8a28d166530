"""The paper's figures of the excitations: classes side by side, and the spread within each."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_se.checks import positive_integer, unknown_choice
from keras_se.weights.variable_file import atomic, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_se.analysis.result import Excitations

SUFFIXES = (".png", ".pdf", ".svg")
# The paper's number of classes, where none are chosen.
CLASSES = 4
# Colour, line and marker of each class: colours of Okabe and Ito, which are told apart without red
# or green, from dark to light; lines and markers tell them apart in grey.
STYLES = (
    ("#0072B2", "-", "o"),
    ("#E69F00", "--", "s"),
    ("#CC79A7", "-.", "^"),
    ("#009E73", ":", "D"),
    ("#D55E00", (0, (6, 1.5, 1, 1.5, 1, 1.5)), "v"),
    ("#56B4E9", (0, (3, 3)), "P"),
)
# Letters of a class's name that fit above its panel.
LONGEST = 30
# In inches.
ROW, WIDE, NARROW, MARGIN = 1.75, 4.6, 2.6, 1.1


def draw(
    found: Excitations,
    path: Path,
    classes: Sequence[str | int] | None,
    channels: int,
    blocks: Sequence[str] | None,
) -> None:
    """`Excitations.plot`."""
    check_path(path)
    figure = compose(found, classes, channels, blocks)
    with writing(path), atomic(path, path.suffix) as temporary:
        figure.savefig(temporary, dpi=110)


def compose(
    found: Excitations,
    classes: Sequence[str | int] | None,
    channels: int,
    blocks: Sequence[str] | None,
) -> Figure:
    """The figure, not drawn yet."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    channels = positive_integer("channels", channels)
    numbers = _classes(found, classes)
    names = _blocks(found, blocks)
    size = (WIDE + NARROW * len(numbers), MARGIN + ROW * len(names))
    figure = Figure(figsize=size, layout="constrained")
    widths = [WIDE, *[NARROW] * len(numbers)]
    panels = figure.subplots(
        len(names), len(widths), squeeze=False, sharey=True, width_ratios=widths
    )
    for row, name in zip(panels, names, strict=True):
        _draw_block(row, found, name, numbers, channels)
    for axes, number in zip(panels[0], [None, *numbers], strict=True):
        axes.set_title(_title(found, number), fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("channel", fontsize=9)
    # Bands leave the range that gates have.
    means = np.concatenate([found.mean[name][numbers].ravel() for name in names])
    if means.min() >= 0 and means.max() <= 1:
        low, high = panels[0, 0].get_ylim()
        panels[0, 0].set_ylim(max(low, -0.03), min(high, 1.03))
    handles, _ = panels[0, 0].get_legend_handles_labels()
    handles.append(Patch(color="grey", alpha=0.3, lw=0, label="± standard deviation"))
    style = {"ncols": len(handles), "frameon": False, "handlelength": 4, "fontsize": 9}
    figure.legend(handles=handles, loc="outside upper left", **style)
    return figure


def check_path(path: Path) -> None:
    """Raise a `ValueError` unless a figure can be drawn and be of that name."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"`path` must end in one of {SUFFIXES}. Received: path={str(path)!r}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("a figure needs Matplotlib: pip install 'keras-se[train]'")


def _draw_block(
    row: Any, found: Excitations, name: str, numbers: Sequence[int], channels: int
) -> None:
    """A block's panels: all classes, then each of them with its spread."""
    from matplotlib.ticker import MaxNLocator

    mean, std = found.mean[name], found.std[name]
    width = mean.shape[1]
    at = np.unique(np.linspace(0, width - 1, min(channels, width)).round().astype(int))
    every = np.nanmean(mean, axis=0)
    row[0].plot(at, every[at], color="black", linewidth=2.2, label="all classes", zorder=1)
    for n, (number, (colour, line, marker)) in enumerate(zip(numbers, STYLES, strict=False)):
        # Markers of two classes are not at the same channels.
        step = max(len(numbers), len(at) // 8)
        style = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4}
        style |= {"linewidth": 1.4, "markevery": (n * step // len(numbers), step)}
        row[0].plot(at, mean[number, at], label=_title(found, number), zorder=2, **style)
        own, spread = mean[number, at], std[number, at]
        row[1 + n].fill_between(at, own - spread, own + spread, color=colour, alpha=0.3, lw=0)
        row[1 + n].plot(at, own, **style | {"linestyle": "-"})
    row[0].set_ylabel(f"{found.label(name)}\ngate", fontsize=9)
    for axes in row:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)


def _title(found: Excitations, number: int | None) -> str:
    if number is None:
        return "mean of each class"
    name = found.classes[number].replace("_", " ")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _classes(found: Excitations, classes: Any) -> list[int]:
    """Numbers of the classes to draw."""
    present = np.flatnonzero(found.counts).tolist()
    if classes is None:
        chosen = np.linspace(0, len(present) - 1, min(CLASSES, len(present))).round().astype(int)
        return [present[n] for n in chosen]
    wanted = [classes] if isinstance(classes, str | int) else list(classes)
    numbers = [_class_number(found, item) for item in wanted]
    if not 0 < len(set(numbers)) == len(numbers) <= len(STYLES):
        raise ValueError(
            f"`classes` must be one to {len(STYLES)} different ones. Received: classes={classes!r}"
        )
    for item, number in zip(wanted, numbers, strict=True):
        if not found.counts[number]:
            raise ValueError(f"`classes` must have pictures. Received: {item!r}, which has none")
    return numbers


def _class_number(found: Excitations, item: Any) -> int:
    if item in found.classes:
        return found.classes.index(item)
    if isinstance(item, int | np.integer) and 0 <= item < len(found.classes):
        return int(item)
    # There may be thousands.
    near = difflib.get_close_matches(str(item), found.classes, 5, 0) or found.classes[:5]
    more = "others" if len(found.classes) > 5 else ""
    raise ValueError(unknown_choice("classes", item, near, more))


def _blocks(found: Excitations, blocks: Any) -> list[str]:
    """Names of the blocks to draw."""
    if blocks is None:
        return found.blocks
    names = {found.label(name): name for name in found.blocks}
    wanted = [blocks] if isinstance(blocks, str) else list(blocks)
    for item in wanted:
        if item not in names and item not in found.mean:
            raise ValueError(unknown_choice("blocks", item, names))
    if not wanted:
        raise ValueError(f"`blocks` must name a block. Received: blocks={blocks!r}")
    return [names.get(item, item) for item in wanted]
