"""The report of a benchmark: its lines and conditions, as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_se.benchmarking.timing import ratio
from keras_se.checks import Check, number, positive_integer, readable, tuple_of
from keras_se.fields import CHECK, check_fields
from keras_se.files import write_text

TEXT: Check[str] = Check("a text", lambda value: isinstance(value, str))
POSITIVE = number("above 0", lambda value: value > 0)
SHAPE = tuple_of(positive_integer, "integers of at least 1", least=1)
# `None` is each network's own.
SIDES: Check[tuple[int, int] | None] = Check(
    "None or (height, width)",
    lambda value: value is None or (SHAPE.accepts(value) and len(value) == 2),
    lambda value: None if value is None else (value[0], value[1]),
)
CONDITIONS: Check[Mapping[str, str | int]] = Check(
    "texts and integers by name",
    lambda value: isinstance(value, dict) and all(type(v) in (str, int) for v in value.values()),
)
# Suffix of the name of a builder's twin.
WITHOUT_SE = " without SE"


@dataclass(frozen=True)
class Case:
    """A network in a runtime.

    Attributes:
        network: Its name, as given.
        runtime: Name of the runtime.
        precision: Compute precision; `"own"` is that of a given file.
        pictures: Shape of the batch, as the file takes it.
    """

    network: str = field(metadata={CHECK: TEXT})
    runtime: str = field(metadata={CHECK: TEXT})
    precision: str = field(metadata={CHECK: TEXT})
    pictures: tuple[int, ...] = field(metadata={CHECK: SHAPE})


@dataclass(frozen=True)
class Line(Case):
    """The figures of a case.

    Attributes:
        threads: Threads of the runtime.
        size: Height and width as asked; `None` is each network's own.
        median: Milliseconds per batch.
        low: The lower quartile.
        high: The upper quartile.
        pictures_per_second: Throughput, from the median.
        ratio: Median over rounds of the ratio to the first line of the same setting.
        milliseconds: Those of every round.
    """

    threads: int = field(metadata={CHECK: positive_integer})
    size: tuple[int, int] | None = field(metadata={CHECK: SIDES})
    median: float = field(metadata={CHECK: POSITIVE})
    low: float = field(metadata={CHECK: POSITIVE})
    high: float = field(metadata={CHECK: POSITIVE})
    pictures_per_second: float = field(metadata={CHECK: POSITIVE})
    ratio: float = field(metadata={CHECK: POSITIVE})
    milliseconds: tuple[float, ...] = field(
        metadata={CHECK: tuple_of(POSITIVE, "numbers above 0", least=1)}
    )

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def setting(self) -> tuple[int, int, tuple[int, int] | None]:
        """Threads, batch and size: only lines that share them are comparable."""
        return self.threads, self.pictures[0], self.size

    def ratio_to(self, other: Line) -> float:
        """Median over rounds of the ratio to another line of the same setting."""
        return ratio(self.milliseconds, other.milliseconds)


@dataclass(frozen=True)
class Report:
    """The result of `benchmark`.

    Attributes:
        conditions: The machine, the versions and the settings behind the figures.
        lines: The figures.
        skipped: Asked combinations that no runtime supports.
    """

    conditions: Mapping[str, str | int] = field(metadata={CHECK: CONDITIONS})
    lines: tuple[Line, ...] = field(
        metadata={CHECK: tuple_of(Check("", lambda x: isinstance(x, Line)), "lines", least=1)}
    )
    skipped: tuple[str, ...] = field(metadata={CHECK: tuple_of(TEXT, "texts")})

    def __post_init__(self) -> None:
        check_fields(self)

    def settings(self) -> list[list[Line]]:
        """The lines of each setting."""
        found: dict[Any, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.setting, []).append(line)
        return [*found.values()]

    def to_plain(self, line: Line) -> float | None:
        """The ratio to the network's twin without SE beside it; `None` if it was not timed."""
        for other in self.lines:
            case = other.network, other.runtime, other.precision, other.setting
            if case == (line.network + WITHOUT_SE, line.runtime, line.precision, line.setting):
                return line.ratio_to(other)
        return None

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        write_text(path, f"{json.dumps(asdict(self), indent=1)}\n")


def read(path: Path) -> Report:
    """Read a report from JSON; anything else raises a one-line `ValueError`."""
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict) or "lines" not in value:
            raise ValueError("JSON without `lines`")
        lines = [Line(**line) for line in value.pop("lines")]
        return Report(lines=tuple(lines), **value)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected a report of `keras-se benchmark --out`. Received: {readable(error)}"
        ) from None
