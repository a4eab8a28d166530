"""The table of docs/volumes.md: parameters of networks here and in ZFTurbo's packages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from places import ROOT

# Of the networks in the table.
CHANNELS, CLASSES = 3, 1000
LINE = re.compile(r"\| `(SEResNet\d+)` \| ([13])-D \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+)")


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        name: Our builder.
        rank: Number of spatial axes.
        here: Parameters of our default network.
        same: Those of our network in ZFTurbo's variant.
        theirs: Those of ZFTurbo's, with the same kernels.
        default: Those of ZFTurbo's by default.
    """

    name: str
    rank: int
    here: int
    same: int
    theirs: int
    default: int

    def __str__(self) -> str:
        return f"{self.name}-{self.rank}d"


def _rows() -> list[Row]:
    text = (ROOT / "docs" / "volumes.md").read_text("utf-8")
    found = LINE.findall(text)
    return [
        Row(name, int(rank), *(int(count.replace(",", "")) for count in counts))
        for name, rank, *counts in found
    ]


ROWS = _rows()
