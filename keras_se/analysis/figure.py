"""The paper's figures of the excitations: classes compared, and the spread within each."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_se.checks import positive_integer, unknown_choice
from keras_se.files import atomic, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_se.analysis.result import Excitations

SUFFIXES = (".png", ".pdf", ".svg")
# Default number of classes, as in the paper.
CLASSES = 4
# Colour, line and marker of each class: Okabe and Ito's colours, distinct under red-green colour
# blindness, from dark to light; lines and markers distinguish them in greyscale.
STYLES = (
    ("#0072B2", "-", "o"),
    ("#E69F00", "--", "s"),
    ("#CC79A7", "-.", "^"),
    ("#009E73", ":", "D"),
    ("#D55E00", (0, (6, 1.5, 1, 1.5, 1, 1.5)), "v"),
    ("#56B4E9", (0, (3, 3)), "P"),
)
# Longest class name that fits above a panel.
LONGEST = 30
# Inches.
ROW, WIDE, NARROW, MARGIN = 1.75, 4.6, 2.6, 1.1


def write(path: Path, figure: Figure) -> None:
    """Write the figure to a file."""
    with writing(path), atomic(path, path.suffix) as temporary:
        figure.savefig(temporary, dpi=110)


def compose(
    found: Excitations,
    classes: Sequence[str | int] | None,
    channels: int,
    blocks: Sequence[str] | None,
) -> Figure:
    """Compose the figure, without rendering it."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    channels = positive_integer("channels", channels)
    numbers = chosen_classes(found, classes)
    names = chosen_blocks(found, blocks)
    size = (WIDE + NARROW * len(numbers), MARGIN + ROW * len(names))
    figure = Figure(figsize=size, layout="constrained")
    widths = [WIDE, *[NARROW] * len(numbers)]
    panels = figure.subplots(
        len(names), len(widths), squeeze=False, sharey=True, width_ratios=widths
    )
    for row, name in zip(panels, names, strict=True):
        draw_classes(row[0], found, name, numbers, channels)
        for n, axes in enumerate(row[1:]):
            draw_spread(axes, found, name, numbers, n, channels)
        row[0].set_ylabel(f"{found.label(name)}\ngate", fontsize=9)
    for axes, number in zip(panels[0], [None, *numbers], strict=True):
        axes.set_title(title(found, number), fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("channel", fontsize=9)
    panels[0, 0].set_ylim(*limits(found, numbers, names))
    handles, _ = panels[0, 0].get_legend_handles_labels()
    handles.append(Patch(color="grey", alpha=0.3, lw=0, label="± standard deviation"))
    style = {"ncols": len(handles), "frameon": False, "handlelength": 4, "fontsize": 9}
    figure.legend(handles=handles, loc="outside upper left", **style)
    return figure


def check_path(path: Path) -> None:
    """Raise a `ValueError` unless Matplotlib is installed and the suffix is supported."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"`path` must end in one of {SUFFIXES}. Received: path={str(path)!r}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("a figure needs Matplotlib: pip install 'keras-se[train]'")


def draw_classes(
    axes: Axes, found: Excitations, name: str, numbers: Sequence[int], channels: int
) -> None:
    """Draw Fig. 6's panel of a block: mean gates of each class and of all classes."""
    at = _channels(found, name, channels)
    mean = found.mean[name]
    every = np.nanmean(mean, axis=0)
    axes.plot(at, every[at], color="black", linewidth=2.2, label="all classes", zorder=1)
    for n, number in enumerate(numbers):
        style = _style(n, len(numbers), len(at))
        axes.plot(at, mean[number, at], label=title(found, number), zorder=2, **style)
    _finish(axes)


def draw_spread(
    axes: Axes, found: Excitations, name: str, numbers: Sequence[int], n: int, channels: int
) -> None:
    """Draw Fig. 7's panel of a block: mean and standard deviation in the class `numbers[n]`."""
    at = _channels(found, name, channels)
    mean, std = found.mean[name][numbers[n], at], found.std[name][numbers[n], at]
    style = _style(n, len(numbers), len(at)) | {"linestyle": "-"}
    axes.fill_between(at, mean - std, mean + std, color=style["color"], alpha=0.3, lw=0)
    axes.plot(at, mean, **style)
    _finish(axes)


def limits(found: Excitations, numbers: Sequence[int], names: Sequence[str]) -> tuple[float, float]:
    """Limits of the gate axis for all panels, with room for the markers.

    If all means are within 0..1, the range of a gate, bands are clipped to it.
    """
    means = np.concatenate(
        [np.vstack([found.mean[name][numbers], np.nanmean(found.mean[name], 0)]) for name in names],
        axis=1,
    )
    spreads = np.concatenate([found.std[name][numbers] for name in names], axis=1)
    low, high = (means[:-1] - spreads).min(), (means[:-1] + spreads).max()
    low, high = min(low, means.min()), max(high, means.max())
    if means.min() >= 0 and means.max() <= 1:
        low, high = max(low, 0.0), min(high, 1.0)
    margin = 0.04 * ((high - low) or 1)
    return low - margin, high + margin


def _channels(found: Excitations, name: str, channels: int) -> np.ndarray:
    """Indices of evenly spaced channels of a block."""
    width = found.mean[name].shape[1]
    return np.unique(np.linspace(0, width - 1, min(channels, width)).round().astype(int))


def _style(n: int, classes: int, channels: int) -> dict[str, Any]:
    """Line style of a class, the same in every panel."""
    colour, line, marker = STYLES[n]
    # Stagger the markers of different classes.
    step = max(classes, channels // 8)
    return {
        "color": colour, "linestyle": line, "marker": marker, "markersize": 4, "linewidth": 1.4,
        "markevery": (n * step // classes, step),
    }  # fmt: skip


def _finish(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def title(found: Excitations, number: int | None) -> str:
    """A class's name, shortened to fit above its panel."""
    if number is None:
        return "mean of each class"
    name = found.classes[number].replace("_", " ")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def chosen_classes(found: Excitations, classes: Any) -> list[int]:
    """Numbers of the classes to draw."""
    present = np.flatnonzero(found.counts).tolist()
    if classes is None:
        chosen = np.linspace(0, len(present) - 1, min(CLASSES, len(present))).round().astype(int)
        return [present[n] for n in chosen]
    wanted = [classes] if isinstance(classes, str | int) else list(classes)
    numbers = [_class_number(found, item) for item in wanted]
    if not 0 < len(set(numbers)) == len(numbers) <= len(STYLES):
        raise ValueError(
            f"`classes` must be one to {len(STYLES)} distinct ones. Received: classes={classes!r}"
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
    # There may be thousands of classes; list only the nearest.
    near = difflib.get_close_matches(str(item), found.classes, 5, 0) or found.classes[:5]
    more = "others" if len(found.classes) > 5 else ""
    raise ValueError(unknown_choice("classes", item, near, more))


def chosen_blocks(found: Excitations, blocks: Any) -> list[str]:
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
