"""Reports of two machines, or of two dates, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from keras_se.benchmarking.report import Line, Report


@dataclass(frozen=True)
class Row:
    """A case in two reports; `None` in the one that lacks it."""

    network: str
    runtime: str
    precision: str
    threads: int
    pictures: tuple[int, ...]
    first: Line | None
    second: Line | None


def rows(first: Report, second: Report) -> list[Row]:
    """The cases of both reports, in the order of the first; a case includes its setting."""
    ours, theirs = ({_key(line): line for line in report.lines} for report in (first, second))
    return [Row(*key, ours.get(key), theirs.get(key)) for key in dict.fromkeys((*ours, *theirs))]


def conditions(first: Report, second: Report) -> dict[str, tuple[str, str]]:
    """The conditions of both reports, and what each skipped; "" where one lacks it."""
    ours, theirs = (
        {**report.conditions, "skipped": ", ".join(report.skipped)} for report in (first, second)
    )
    names = dict.fromkeys((*ours, *theirs))
    return {name: (str(ours.get(name, "")), str(theirs.get(name, ""))) for name in names}


def _key(line: Line) -> tuple[str, str, str, int, tuple[int, ...]]:
    return line.network, line.runtime, line.precision, line.threads, line.pictures
