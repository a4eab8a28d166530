"""A CSV table of files, their labels and their parts."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_se.data.label_format import LabelFormat
from keras_se.data.splits import PART_OF, WORDS
from keras_se.pictures import printable, printable_names

# Names of the columns.
COLUMNS = {
    "file": ("file", "filename", "file_name", "image", "path"),
    "label": ("label", "labels", "class"),
    "split": ("split",),
}
DELIMITERS = ",;\t"


class Row(NamedTuple):
    """A file of a table, with the line where its row ends."""

    line: int
    file: str
    labels: tuple[str, ...]
    part: str


def read_table(
    table: Path, labels: LabelFormat, report: Callable[[str], None]
) -> tuple[list[str], list[Row]]:
    """The names of the classes and the rows of a table.

    Args:
        table: The file.
        labels: The form of the labels.
        report: Called with a line that names the columns left out, if there are any.

    Raises:
        ValueError: If it is not such a table, or has fewer than two classes.
        OSError: If it cannot be read.
    """
    shown = printable(table)
    try:
        text = table.read_text("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        header = [name.strip() for name in next(reader, [])]
        file, label, split = places = _places(shown, header, labels)
        names = labels.columns(shown, header, places) if labels.kind == "columns" else []
        others = [name for n, name in enumerate(header) if n not in places]
        if others and not names:
            listed = printable_names([name or "(no name)" for name in others])
            report(f"{shown}: left out: {len(others)} column(s), {listed}")
        rows = []
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            where = f"{shown}, line {reader.line_num}"
            fits = len(row) == len(header)
            cell = "" if label is None or not fits else row[label]
            if not fits or not row[file].strip() or not (labels.several or cell.strip()):
                raise ValueError(
                    f"{where}: expected {len(header)} values, with a file and a label. "
                    f"Received: {printable_names(row)}"
                )
            if names:
                marks = [value for n, value in enumerate(row) if n not in places]
                own = labels.marked(where, names, marks)
            else:
                own = labels.found(where, cell)
            word = "train" if split is None else row[split].strip().lower()
            if word not in PART_OF:
                raise ValueError(f"{where}: expected a split of {WORDS}. Received: {word[:60]!r}")
            rows.append(Row(reader.line_num, row[file].strip(), own, PART_OF[word]))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{shown}: expected a CSV file in UTF-8. Received: {error}") from None
    if labels.kind == "separated" and all(len(row.labels) < 2 for row in rows):
        raise ValueError(
            f"{shown}: expected a picture with several labels, with {labels.separator!r} between "
            "them; `separator` sets another, labels=one reads one each. Received: none"
        )
    names = names or sorted({name for row in rows for name in row.labels})
    if len(names) < 2:
        raise ValueError(
            f"{shown}: expected at least two classes. Received: {printable_names(names)}"
        )
    return names, rows


def _delimiter(text: str) -> str:
    """The delimiter that sets a column of files apart; other cells of the header may contain it."""
    for mark in DELIMITERS:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), [])
        if any(name.strip().lower() in COLUMNS["file"] for name in header):
            return mark
    return DELIMITERS[0]


def _places(
    shown: str, header: Sequence[str], labels: LabelFormat
) -> tuple[int, int | None, int | None]:
    """The places of the columns of the file, the label and the split in the header of a table."""
    wide = labels.kind == "columns"
    found: dict[str, int] = {}
    for n, name in enumerate(header):
        column = next((column for column, words in COLUMNS.items() if name.lower() in words), None)
        if column is None or (wide and (column == "label" or column in found)):
            continue
        if column in found:
            raise ValueError(
                f"{shown}: expected one column of {', '.join(COLUMNS[column])}. "
                f"Received: {header[found[column]]}, {name}"
            )
        found[column] = n
    if "file" not in found or ("label" not in found and not wide):
        kind = "the classes" if wide else "label"
        raise ValueError(
            f"{shown}: expected the header file,{kind} (and split, if there are several). "
            f"Received: {printable_names(header)}"
        )
    return found["file"], found.get("label"), found.get("split")
