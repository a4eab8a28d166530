"""An HTML report on Squeeze-and-Excitation in a network."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from PIL import Image

import keras_se
from keras_se.analysis import figure
from keras_se.analysis.architecture import stages
from keras_se.analysis.gates import blocks_of
from keras_se.analysis.heat_maps import blended
from keras_se.analysis.sentences import sentences
from keras_se.checks import positive_integer
from keras_se.complexity import cost
from keras_se.graph.trace import is_functional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_se.analysis.result import Excitations

SUFFIXES = (".html", ".htm")
# Default number of blocks to draw from the last stage, and from a network without stages.
LAST, EVENLY = 3, 6
# Size of a panel of all classes, of one class, and of a legend line, in inches.
WIDE, NARROW, LINE = (4.2, 2.3), (2.3, 1.75), (0.55, 0.18)
# Largest thumbnail to compress losslessly, in pixels.
LOSSLESS = 32


class Panel(NamedTuple):
    """A chart of the page, with its data URL and its alternative text."""

    block: str
    source: str
    text: str


class Shown(NamedTuple):
    """A picture of the data."""

    source: str
    # The picture under its heat map, if there is one.
    heat: str | None
    label: str
    # Line of the legend, if its class is drawn.
    line: str | None
    gate: float


def check_path(path: Path) -> None:
    """Raise a `ValueError` unless a report can be written to the path."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"`path` must end in one of {SUFFIXES}. Received: path={str(path)!r}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(
            "`path` must be a file in a folder that can be written to. "
            f"Received: path={str(path)!r}"
        )
    missing = [name for name in ("jinja2", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError(f"a report needs {' and '.join(missing)}: pip install 'keras-se[report]'")


def compose(
    found: Excitations,
    model: keras.Model,
    classes: Sequence[str | int] | None,
    channels: int,
    blocks: Sequence[str] | None,
    title: str | None,
    input_shape: Sequence[int] | None,
) -> str:
    """Compose the page as HTML."""
    import jinja2
    from matplotlib import rc_context

    channels = positive_integer("channels", channels)
    measured, held = {name.split(":")[0] for name in found.blocks}, blocks_of(model).keys()
    # A model with its own `call` need not call every block.
    more = held - measured if is_functional(model) else set()
    for name in [*sorted(measured - held), *sorted(more)][:1]:
        which = "no block" if name in measured else "a block that was not measured,"
        raise ValueError(
            "`model` must be the one that was measured. "
            f"Received: model={model.name!r}, which has {which} {name!r}"
        )
    numbers = figure.chosen_classes(found, classes)
    names = figure.chosen_blocks(found, blocks) if blocks is not None else _papers(found)
    rows = found.summary().blocks
    counted, not_counted = None, ""
    try:
        counted = cost(model, input_shape)
    except ValueError as error:
        if input_shape is not None:
            raise
        not_counted = str(error)
    # A fixed salt makes the SVG reproducible.
    with rc_context({"svg.hashsalt": "keras-se", "svg.fonttype": "path"}):
        lines = [_line(n) for n in [None, *range(len(numbers))]]
        means, spreads = _panels(found, numbers, names, channels)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("keras_se.analysis").joinpath("report.html").read_text("utf-8")
    return environment.from_string(template).render(
        title=title or model.name,
        version=keras_se.__version__,
        found=found,
        rows=rows,
        total=int(found.counts.sum()),
        present=int(np.count_nonzero(found.counts)),
        absent=[n for n, count in zip(found.classes, found.counts, strict=True) if not count],
        sentences=sentences(rows, [found.stage(name) for name in found.blocks]),
        cost=counted,
        not_counted=not_counted,
        stages=stages(counted) if counted else [],
        labels={name: found.label(name) for name in found.blocks},
        legend=list(zip([None, *numbers], lines, strict=True)),
        title_of=lambda number: "all classes" if number is None else figure.title(found, number),
        means=means,
        spreads=spreads,
        pictures=dict(_pictures(found, dict(zip(numbers, lines[1:], strict=True)))),
    )


def _papers(found: Excitations) -> list[str]:
    """The paper's choice: the last block of each stage, and the last three of the last stage."""
    stage = {name: found.stage(name) for name in found.blocks}
    if None in stage.values():
        at = np.linspace(0, len(stage) - 1, min(EVENLY, len(stage))).round().astype(int)
        return [found.blocks[n] for n in at]
    *before, last = [list(names) for _, names in groupby(found.blocks, stage.__getitem__)]
    return [*(names[-1] for names in before), *last[-LAST:]]


def _panels(
    found: Excitations, numbers: Sequence[int], names: Sequence[str], channels: int
) -> tuple[list[Panel], list[tuple[int, list[Panel]]]]:
    """Fig. 6, a panel per block, and Fig. 7, a panel per class and block."""
    limits = figure.limits(found, numbers, names)
    drawn = ", ".join(figure.title(found, number) for number in numbers)
    means: list[Panel] = []
    spreads: list[tuple[int, list[Panel]]] = [(number, []) for number in numbers]
    for name in names:
        paper, axes = _paper(WIDE)
        figure.draw_classes(axes, found, name, numbers, channels)
        axes.set(ylim=limits, xlabel="channel", ylabel="gate")
        text = (
            f"Line chart of {found.label(name)}: mean gates over channels of {drawn} and of all "
            f"classes; {np.nanmean(found.mean[name]):.2f} on average."
        )
        means.append(Panel(found.label(name), _drawing(paper), text))
        for n, (number, panels) in enumerate(spreads):
            paper, axes = _paper(NARROW)
            figure.draw_spread(axes, found, name, numbers, n, channels)
            axes.set(ylim=limits)
            axes.tick_params(labelsize=10)
            axes.locator_params(nbins=3)
            mean, std = found.mean[name][number].mean(), found.std[name][number].mean()
            text = (
                f"Line chart of {found.label(name)}: gates of {figure.title(found, number)} over "
                f"channels; mean {mean:.2f}, standard deviation {std:.3f} on average."
            )
            panels.append(Panel(found.label(name), _drawing(paper), text))
    return means, spreads


def _line(n: int | None) -> str:
    """The legend's line of the drawn class `n`; `None` for all classes."""
    style: dict[str, Any] = {"color": "black", "linewidth": 2.2}
    if n is not None:
        colour, line, marker = figure.STYLES[n]
        style = {"color": colour, "linestyle": line, "marker": marker, "markevery": [1]}
    paper, axes = _paper(LINE)
    axes.plot([0, 1, 2], [0, 0, 0], **style)
    axes.set_axis_off()
    return _drawing(paper)


def _paper(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure of the given size, and its only axes."""
    from matplotlib.figure import Figure

    paper = Figure(figsize=size, layout="constrained")
    return paper, paper.subplots()


def _drawing(paper: Figure) -> str:
    """The figure as a data URL."""
    file = io.BytesIO()
    paper.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _address("svg+xml", file.getvalue())


def _pictures(
    found: Excitations, lines: dict[int, str]
) -> Iterator[tuple[str, tuple[list[Shown], list[Shown]]]]:
    """The most and the least excited pictures by block, most extreme first."""
    extremes = found.extremes
    if extremes is None:
        return
    sources = [_thumbnail(picture) for picture in extremes.thumbnails]
    heat: list[str | None] = [None] * len(sources)
    if extremes.maps is not None:
        hot = blended(extremes.thumbnails, extremes.maps / 255).round().astype("uint8")
        heat = [_thumbnail(picture) for picture in hot]
    for name, order in extremes.order.items():
        shown = [
            Shown(
                sources[at],
                heat[at],
                found.classes[extremes.labels[at]].replace("_", " "),
                lines.get(int(extremes.labels[at])),
                float(gate),
            )
            for at, gate in zip(order, extremes.gates[name], strict=True)
        ]
        half = (len(shown) + 1) // 2
        yield name, (shown[:half], shown[half:][::-1])


def _thumbnail(picture: np.ndarray) -> str:
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=max(image.size) <= LOSSLESS, quality=80, method=6)
    return _address("webp", file.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
