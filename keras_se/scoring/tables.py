"""Tables with a row per picture: CSV, and Parquet with PyArrow.

A table is made as CSV. Both formats can be read in blocks of rows and put together from such
blocks, which shards need.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_se.files import atomic
from keras_se.pictures import printable

FILE, LABEL, SCORE, ERROR = "file", "label", "score", "error"
TEXTS = (FILE, LABEL, ERROR)
# Nine digits tell all float32 numbers apart.
NUMBER = "%.9g"
# Values of a row group in a Parquet file, one of which is held in memory.
GROUP_VALUES = 2**20
# Bytes that the CSV reader takes at a time, which must hold a row; a number takes 16 at most.
BLOCK_BYTES, NUMBER_BYTES = 2**20, 16

# Names of the files in some rows, and the rows as a format keeps them.
Block = tuple[list[str], Any]


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        values: Names of the network's outputs.
        labels: Names of its classes; `None` for a network whose outputs are not class scores.
    """

    values: tuple[str, ...]
    labels: tuple[str, ...] | None

    @classmethod
    def of(cls, classes: Sequence[tuple[str, str]] | None, count: int, scores: bool) -> Columns:
        """The columns of `count` outputs; `classes` has an identifier and a name of each."""
        numbers = tuple(map(str, range(count)))
        if not scores:
            return cls(numbers, None)
        identifiers = tuple(identifier for identifier, _ in classes or ()) or numbers
        labels = tuple(name for _, name in classes or ()) or numbers
        distinct = len({*identifiers, FILE, LABEL, SCORE, ERROR}) == count + 4
        return cls(identifiers if distinct else numbers, labels)

    def header(self) -> str:
        best = () if self.labels is None else (LABEL, SCORE)
        return line([FILE, *best, ERROR, *self.values])

    def rows(self, names: Sequence[str], errors: Sequence[str], outputs: np.ndarray) -> str:
        """The rows of some pictures; one with an error has no numbers."""
        numbers = ",".join([NUMBER] * len(self.values))
        lines = []
        scored = zip(names, errors, outputs.tolist(), outputs.argmax(1).tolist(), strict=True)
        for name, error, row, highest in scored:
            best = [] if self.labels is None else ["", ""]
            if error:
                lines.append(line([name, *best, error, *[""] * len(self.values)]))
                continue
            if self.labels is not None:
                best = [self.labels[highest], NUMBER % row[highest]]
            lines.append(f"{line([name, *best, ''])[:-1]},{numbers % tuple(row)}\n")
        return "".join(lines)


def line(fields: Iterable[str]) -> str:
    """A line of CSV."""
    return ",".join(map(_quoted, fields)) + "\n"


def _quoted(field: str) -> str:
    # `csv.writer` leaves a carriage return alone, which ends a line for readers.
    return '"' + field.replace('"', '""') + '"' if re.search('[",\r\n]', field) else field


class TableFormat(Protocol):
    """A format of tables."""

    def check(self, out: Path) -> None:
        """Raise a `ValueError` if files of this format cannot be written here."""

    def finish(self, rows: Path, out: Path) -> None:
        """Make a table of a complete CSV file, which disappears."""

    def header(self, path: Path) -> list[str]:
        """The columns of a table."""

    def blocks(self, path: Path, rows: int) -> Iterator[Block]:
        """The table in blocks of so many rows; the last may have fewer."""

    def join(self, header: Sequence[str], blocks: Iterable[Any], out: Path) -> None:
        """Write a table of blocks."""


class Csv:
    """CSV in UTF-8, fields quoted where they must be."""

    def check(self, out: Path) -> None:
        pass

    def finish(self, rows: Path, out: Path) -> None:
        os.replace(rows, out)

    def header(self, path: Path) -> list[str]:
        with open(path, encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])

    def blocks(self, path: Path, rows: int) -> Iterator[Block]:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            next(reader, None)
            while block := list(islice(reader, rows)):
                yield [row[0] for row in block], "".join(map(line, block))

    def join(self, header: Sequence[str], blocks: Iterable[Any], out: Path) -> None:
        with atomic(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(line(header))
            file.writelines(blocks)


class Parquet:
    """Parquet: text and float32; a picture with an error has nulls."""

    def check(self, out: Path) -> None:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise ValueError(
                "`out` needs PyArrow: pip install keras-se[parquet]. "
                f"Received: out={printable(out)!r}"
            ) from None

    def finish(self, rows: Path, out: Path) -> None:
        from pyarrow import Table
        from pyarrow import csv as arrow_csv

        header = Csv().header(rows)
        schema = _schema(header)
        reader = arrow_csv.open_csv(
            rows,
            arrow_csv.ReadOptions(block_size=max(BLOCK_BYTES, 8 * NUMBER_BYTES * len(header))),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(
                column_types=schema, null_values=[""], strings_can_be_null=True
            ),
        )
        with reader:
            self._write(schema, (Table.from_batches([batch]) for batch in reader), out)
        rows.unlink()

    def header(self, path: Path) -> list[str]:
        from pyarrow import parquet

        return list(parquet.read_schema(path).names)

    def blocks(self, path: Path, rows: int) -> Iterator[Block]:
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            groups = map(file.read_row_group, range(file.num_row_groups))
            for table in _regrouped(groups, rows):
                yield table[FILE].to_pylist(), table

    def join(self, header: Sequence[str], blocks: Iterable[Any], out: Path) -> None:
        self._write(_schema(header), blocks, out)

    def _write(self, schema: Any, tables: Iterable[Any], out: Path) -> None:
        from pyarrow import parquet

        rows = max(1, GROUP_VALUES // len(schema))
        with atomic(out) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
            for table in _regrouped(tables, rows):
                # One chunk: pages do not depend on how the rows came.
                writer.write_table(table.combine_chunks(), rows)


def _schema(header: Sequence[str]) -> Any:
    import pyarrow

    fixed = header[: header.index(ERROR) + 1]
    return pyarrow.schema(
        (name, pyarrow.string() if name in fixed and name in TEXTS else pyarrow.float32())
        for name in header
    )


def _regrouped(tables: Iterable[Any], rows: int) -> Iterator[Any]:
    """Arrow tables of so many rows; the last may have fewer."""
    import pyarrow

    held: list[Any] = []
    wanted = rows
    for table in tables:
        while len(table) >= wanted:
            yield pyarrow.concat_tables([*held, table.slice(0, wanted)])
            table, held, wanted = table.slice(wanted), [], rows
        held.append(table)
        wanted -= len(table)
    if wanted < rows:
        yield pyarrow.concat_tables(held)


FORMATS: dict[str, TableFormat] = {".csv": Csv(), ".parquet": Parquet()}


def table_format(out: Path) -> TableFormat:
    """The format of a table by its suffix."""
    found = FORMATS.get(out.suffix.lower())
    if found is None:
        raise ValueError(
            f"`out` must be a {' or '.join(FORMATS)} file; masks go into a folder, and are made of "
            f"files only. Received: out={printable(out)!r}"
        )
    return found
