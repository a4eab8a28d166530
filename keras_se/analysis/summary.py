"""The figures behind the paper's claims about the excitations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np

from keras_se.tables import as_text

COLUMNS = (
    "block", "layer", "channels", "mean", "> 0.9", "< 0.1", "between", "within", "ratio"
)  # fmt: skip


@dataclass(frozen=True)
class BlockSummary:
    """The gates of one block; classes with pictures are weighted equally.

    Attributes:
        label: The paper's name of the block, `SE_stage_block`; else the layer's name.
        name: The layer's name.
        channels: Number of channels.
        mean: Mean gate.
        high: Share of the gates above 0.9.
        low: Share of the gates below 0.1.
        between: Spread between classes: standard deviation of the classes' means, as the root of
            the mean variance over channels.
        within: Spread within a class, computed alike.
        ratio: Between-class to within-class variance; `None` if nothing varies within a class.
    """

    label: str
    name: str
    channels: int
    mean: float
    high: float
    low: float
    between: float
    within: float
    ratio: float | None


@dataclass(frozen=True)
class Summary:
    """A `BlockSummary` for each block, in the order of the network; `str` gives a table."""

    blocks: tuple[BlockSummary, ...]

    def __str__(self) -> str:
        rows = []
        for block in self.blocks:
            label, name, channels, mean, high, low, between, within, ratio = astuple(block)
            spreads = f"{between:.4f}", f"{within:.4f}", "" if ratio is None else f"{ratio:.3f}"
            shares = f"{high:.1%}", f"{low:.1%}"
            rows.append((label, name, str(channels), f"{mean:.3f}", *shares, *spreads))
        return as_text(COLUMNS, rows, words=2)


def summarise(
    labels: Mapping[str, str],
    mean: Mapping[str, np.ndarray],
    std: Mapping[str, np.ndarray],
    high: Mapping[str, np.ndarray],
    low: Mapping[str, np.ndarray],
) -> Summary:
    """Summarise means, standard deviations and shares by block and class."""
    rows = []
    for name, means in mean.items():
        between = float(np.nanvar(means, axis=0).mean())
        within = float(np.nanmean(np.square(std[name]), axis=0).mean())
        rows.append(
            BlockSummary(
                label=labels[name],
                name=name,
                channels=means.shape[1],
                mean=float(np.nanmean(means)),
                high=float(np.nanmean(high[name])),
                low=float(np.nanmean(low[name])),
                between=between**0.5,
                within=within**0.5,
                ratio=between / within if within else None,
            )
        )
    return Summary(tuple(rows))
