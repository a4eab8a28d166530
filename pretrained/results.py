"""CSV files of what was measured: runs, bundled sets, and held-out accuracy by epoch."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        file: Its name, in this folder.
        columns: Names of its columns.
        key: Those by which rows are sorted, as numbers; an empty cell comes first.
    """

    file: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def path(self) -> Path:
        return Path(__file__).resolve().parent / self.file

    def read(self) -> list[dict[str, str]]:
        with open(self.path, encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def replace(self, old: Callable[[Row], bool], new: Iterable[Mapping[str, Any]]) -> list[Row]:
        """Put new rows in the place of those for which `old` is true."""
        rows = [row for row in self.read() if not old(row)] + list(new)
        rows.sort(key=lambda row: [int(str(row.get(name, "")) or -1) for name in self.key])
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return list(self.read())


# Shares of pictures, counts; a bundled set has no seed here, a run of the claim no top-2.
RESULTS = Table(
    "results.csv",
    (
        "name", "seed", "split", "pictures", "top1", "top2", "top5", "validation_top1", "epochs",
        "parameters_trainable", "parameters_total", "macs",
    ),
    ("seed",),
)  # fmt: skip
CURVES = Table("claim_curves.csv", ("name", "seed", "epoch", "validation_top1"), ("seed",))
