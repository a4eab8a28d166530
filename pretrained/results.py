"""`results.csv`: what was measured here, a row a run or a bundled set."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results.csv"
# Shares of pictures, counts; a bundled set has no seed here, a run of the claim no top-2.
COLUMNS = (
    "name", "seed", "split", "pictures", "top1", "top2", "top5", "validation_top1", "epochs",
    "parameters_trainable", "parameters_total", "macs",
)  # fmt: skip


def read() -> list[dict[str, str]]:
    with open(RESULTS, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def replace(
    old: Callable[[Mapping[str, str]], bool], new: Iterable[Mapping[str, Any]]
) -> list[dict[str, str]]:  # fmt: skip
    """Put new rows in the place of those for which `old` is true, bundled sets first."""
    rows = [row for row in read() if not old(row)] + list(new)
    rows.sort(key=lambda row: int(str(row.get("seed", "")) or -1))
    with open(RESULTS, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return read()
