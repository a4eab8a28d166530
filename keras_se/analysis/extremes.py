"""The pictures with the most open and most closed gates of each block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from PIL import Image, ImageOps

# Pictures of each kind to keep per block.
KEPT = 6
# Largest side of a thumbnail, in pixels.
SIDE = 96


@dataclass(frozen=True, eq=False)
class Extremes:
    """Pictures with the largest and the smallest mean gate of each block.

    Attributes:
        thumbnails: The pictures, uint8 `(count, side, side, C)`, grey or RGB.
        labels: Their classes, `(count,)`; the first class of a picture that has several.
        order: Indices of the pictures, by block, from the largest mean gate to the smallest: the
            first half is the most excited, the other the least. At most 12.
        gates: Their mean gates over all channels, by block, float64, in that order.
    """

    thumbnails: np.ndarray
    labels: np.ndarray
    order: dict[str, np.ndarray]
    gates: dict[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for a file."""
        arrays = {"thumbnails": self.thumbnails, "labels": self.labels}
        for n, name in enumerate(self.order):
            arrays |= {f"order/{n}": self.order[name], f"gates/{n}": self.gates[name]}
        return arrays

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], blocks: list[str]) -> Extremes:
        """The inverse of `arrays`; raises a `KeyError` or a `ValueError` if they do not fit."""
        order, gates = (
            {name: arrays[f"{part}/{n}"] for n, name in enumerate(blocks)}
            for part in ("order", "gates")
        )
        found = cls(arrays["thumbnails"], arrays["labels"], order, gates)
        shape, count = found.thumbnails.shape, len(found.labels)
        fits = found.thumbnails.dtype == np.uint8 and len(shape) == 4 and shape[0] == count
        fits &= shape[-1] in (1, 3) and found.labels.dtype.kind in "iu"
        for name in blocks:
            own = order[name]
            fits &= own.shape == gates[name].shape and own.ndim == 1 and own.dtype.kind in "iu"
            fits &= bool(np.all((own >= 0) & (own < count)))
        if not fits:
            raise ValueError("pictures that do not fit together")
        return found


class Extremest:
    """Keeps the extremes of pictures that come in batches, in constant memory."""

    def __init__(self) -> None:
        self._seen = 0
        self._side: int | None = None
        # By block: numbers of pictures and their mean gates, in descending order.
        self._best: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        # By the number of the picture.
        self._kept: dict[int, tuple[np.ndarray, int]] = {}

    def add(self, gates: Mapping[str, np.ndarray], pictures: Any, labels: np.ndarray) -> None:
        """Add gates, `(batch, C)` by block; pictures whose class is negative do not count.

        `pictures` are ignored unless they are one array of grey or RGB pictures.
        """
        pictures = _channels_last(pictures)
        if pictures is None:
            return
        counted = np.flatnonzero(labels >= 0)
        for name, array in gates.items():
            numbers, scores = self._best.get(name, (np.array([], np.int64), np.array([])))
            numbers = np.concatenate([numbers, self._seen + counted])
            scores = np.concatenate([scores, array[counted].astype("float64").mean(1)])
            falling = np.argsort(-scores, kind="stable")
            if len(falling) > 2 * KEPT:
                falling = np.concatenate([falling[:KEPT], falling[-KEPT:]])
            self._best[name] = numbers[falling], scores[falling]
        wanted = {n for numbers, _ in self._best.values() for n in numbers.tolist()}
        self._kept = {n: kept for n, kept in self._kept.items() if n in wanted}
        for number in sorted(wanted - self._kept.keys()):
            at = number - self._seen
            self._side = self._side or min(SIDE, max(pictures.shape[1:3]))
            self._kept[number] = _thumbnail(pictures[at], self._side), int(labels[at])
        self._seen += len(labels)

    def found(self) -> Extremes | None:
        """The extremes; `None` if there are no pictures to show."""
        if not self._kept:
            return None
        place = {number: n for n, number in enumerate(self._kept)}
        thumbnails, labels = zip(*self._kept.values(), strict=True)
        return Extremes(
            np.stack(thumbnails),
            np.array(labels),
            {
                name: np.array([place[n] for n in numbers.tolist()])
                for name, (numbers, _) in self._best.items()
            },
            {name: scores for name, (_, scores) in self._best.items()},
        )


def _channels_last(pictures: Any) -> np.ndarray | None:
    """Pictures as `(batch, H, W, C)`; `None` unless they are grey or RGB."""
    if not isinstance(pictures, np.ndarray) or pictures.ndim != 4:
        return None
    if keras.config.image_data_format() == "channels_first":
        pictures = np.moveaxis(pictures, 1, -1)
    return pictures if pictures.shape[-1] in (1, 3) else None


def _thumbnail(picture: np.ndarray, side: int) -> np.ndarray:
    """The whole picture on a white square, uint8 `(side, side, C)`.

    Values in 0..255 or 0..1 are taken literally; others are stretched to their own range.
    """
    values = picture.astype("float64")
    low, high = values.min(), values.max()
    if low < 0 or high > 255:
        values = (values - low) / ((high - low) or 1)
    if values.max() <= 1:
        values = 255 * values
    grey = picture.shape[-1] == 1
    image = Image.fromarray(values.round().astype("uint8")[..., 0 if grey else slice(None)])
    image = ImageOps.pad(image, (side, side), Image.Resampling.BOX, color="white")
    return np.asarray(image).reshape(side, side, -1)
