"""How a table of files gives the labels of a picture: one, several, or a column for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_se.pictures import printable

FORMATS = ("one", "separated", "columns")
# Values in the column of a class: whether a picture has it. Tables of floats have the last two.
MARKS = {"0": False, "1": True, "0.0": False, "1.0": True}
# Characters of a value shown in a message.
SHOWN = 60


@dataclass(frozen=True)
class LabelFormat:
    """The form of the labels in a table.

    Attributes:
        kind: `"one"`: a column with the one label of each picture; `"separated"`: a column with
            the names of all its labels, or nothing; `"columns"`: a column for each class, 0 or 1
            (or 0.0 or 1.0).
        separator: Stands between the names.
    """

    kind: str = "one"
    separator: str = ";"

    @property
    def several(self) -> bool:
        """Whether a picture has any number of labels."""
        return self.kind != "one"

    def columns(self, where: str, header: Sequence[str], others: Sequence[int | None]) -> list[str]:
        """The classes of a table with a column for each.

        Args:
            where: The table, in messages.
            header: Names of all columns.
            others: Places of the columns that are no classes.
        """
        names = [name for n, name in enumerate(header) if n not in others]
        for n, name in enumerate(names):
            if not name or name in names[:n] or self.separator in name:
                raise ValueError(
                    f"{where}: expected columns with names that differ and do not contain "
                    f"{self.separator!r}, your `separator`. Received: {printable(name)[:SHOWN]!r}"
                )
        return names

    def found(self, where: str, cell: str) -> tuple[str, ...]:
        """The labels in a cell, stripped.

        Args:
            where: The table and the line, in messages.
            cell: The content.

        Raises:
            ValueError: If it is not one label, or, of several, one is empty or repeated.
        """
        if not self.several:
            if self.separator in cell:
                raise ValueError(
                    f"{where}: expected one label per picture; labels=separated reads several. "
                    f"Received: {cell[:SHOWN]}"
                )
            return (cell.strip(),)
        if not cell.strip():
            return ()
        names = tuple(name.strip() for name in cell.strip().split(self.separator))
        if "" in names or len(set(names)) < len(names):
            raise ValueError(
                f"{where}: expected names that differ, with {self.separator!r} between them. "
                f"Received: {cell[:SHOWN]}"
            )
        return names

    def marked(self, where: str, names: Sequence[str], cells: Sequence[str]) -> tuple[str, ...]:
        """The classes whose columns have a one."""
        marks = [cell.strip() for cell in cells]
        for name, mark in zip(names, marks, strict=True):
            if mark not in MARKS:
                raise ValueError(
                    f"{where}: expected 0 or 1 in the column of each class. "
                    f"Received: {printable(name)[:SHOWN]}={printable(mark)[:SHOWN]!r}"
                )
        return tuple(name for name, mark in zip(names, marks, strict=True) if MARKS[mark])

    def array(self, labels: Sequence[tuple[int, ...]], classes: int) -> np.ndarray:
        """The labels of pictures as int64: one each, `(count,)`, or multi-hot, `(count, classes)`.

        Args:
            labels: The classes of each picture.
            classes: Number of classes.
        """
        if not self.several:
            return np.array([label for (label,) in labels], np.int64)
        hot = np.zeros((len(labels), classes), np.int64)
        for row, places in zip(hot, labels, strict=True):
            row[list(places)] = 1
        return hot


def classes_of(labels: np.ndarray) -> np.ndarray:
    """The classes that some picture has, in order.

    Args:
        labels: Integers, `(count,)`, or multi-hot, `(count, classes)`.
    """
    return np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))
