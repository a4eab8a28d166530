"""Streaming mean and variance by class."""

from __future__ import annotations

import numpy as np


class Moments:
    """Counts, means and variances of rows by class, in float64; memory is one row per class.

    Reference:
        Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances (1979), Eqs. 2.1.
    """

    def __init__(self) -> None:
        # Count, mean and sum of squared deviations of each class seen.
        self._parts: dict[int, tuple[int, np.ndarray, np.ndarray]] = {}

    def add(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Add rows `(count, width)` of the classes `labels`, `(count,)`."""
        for label in np.unique(labels).tolist():
            own = rows[labels == label].astype("float64")
            mean = own.mean(0)
            part = len(own), mean, np.square(own - mean).sum(0)
            self._parts[label] = _merged(self._parts[label], part) if label in self._parts else part

    def counts(self, classes: int) -> np.ndarray:
        """Number of rows of each class: int64 `(classes,)`."""
        return np.array([self._parts[n][0] if n in self._parts else 0 for n in range(classes)])

    def mean(self, classes: int) -> np.ndarray:
        """Mean of each class, `(classes, width)`; NaN for a class without rows."""
        return self._table(classes, {n: mean for n, (_, mean, _) in self._parts.items()})

    def std(self, classes: int) -> np.ndarray:
        """Standard deviation of each class (divided by the count), as `mean`."""
        parts = self._parts.items()
        return self._table(
            classes, {n: np.sqrt(squares / count) for n, (count, _, squares) in parts}
        )

    def _table(self, classes: int, rows: dict[int, np.ndarray]) -> np.ndarray:
        width = len(next(iter(rows.values())))
        table = np.full((classes, width), np.nan)
        for label, row in rows.items():
            table[label] = row
        return table


def _merged(
    a: tuple[int, np.ndarray, np.ndarray], b: tuple[int, np.ndarray, np.ndarray]
) -> tuple[int, np.ndarray, np.ndarray]:
    count, apart = a[0] + b[0], b[1] - a[1]
    mean = a[1] + apart * (b[0] / count)
    return count, mean, a[2] + b[2] + np.square(apart) * (a[0] * b[0] / count)
