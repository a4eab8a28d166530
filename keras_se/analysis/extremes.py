"""The pictures with the most open and most closed gates of each block."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from PIL import Image, ImageOps

from keras_se.analysis.grad_cam import grad_cam
from keras_se.inspection import describe

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
        maps: Grad-CAM of the class that the network predicts for each picture, uint8
            `(count, side, side)`. `None` if the network is not a classifier that `grad_cam` takes.
    """

    thumbnails: np.ndarray
    labels: np.ndarray
    order: dict[str, np.ndarray]
    gates: dict[str, np.ndarray]
    maps: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for a file."""
        arrays = {"thumbnails": self.thumbnails, "labels": self.labels}
        for n, name in enumerate(self.order):
            arrays |= {f"order/{n}": self.order[name], f"gates/{n}": self.gates[name]}
        return arrays if self.maps is None else {**arrays, "maps": self.maps}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], blocks: list[str]) -> Extremes:
        """The inverse of `arrays`; raises a `KeyError` or a `ValueError` if they do not fit."""
        order, gates = (
            {name: arrays[f"{part}/{n}"] for n, name in enumerate(blocks)}
            for part in ("order", "gates")
        )
        maps = arrays.get("maps")
        found = cls(arrays["thumbnails"], arrays["labels"], order, gates, maps)
        shape, count = found.thumbnails.shape, len(found.labels)
        fits = found.thumbnails.dtype == np.uint8 and len(shape) == 4 and shape[0] == count
        fits &= shape[-1] in (1, 3) and found.labels.dtype.kind in "iu"
        if maps is not None:
            fits &= maps.dtype == np.uint8 and maps.shape == shape[:3]
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
        # By block: numbers of pictures and their mean gates, in descending order.
        self._best: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        # By its number: the picture, `(H, W, C)`, and its class.
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
            self._kept[number] = pictures[at].copy(), int(labels[at])
        self._seen += len(labels)

    def found(self, model: keras.Model | None = None) -> Extremes | None:
        """The extremes, with heat maps of a model; `None` if there are no pictures to show."""
        if not self._kept:
            return None
        place = {number: n for n, number in enumerate(self._kept)}
        pictures, labels = zip(*self._kept.values(), strict=True)
        side = min(SIDE, max(pictures[0].shape[:2]))
        return Extremes(
            np.stack([_thumbnail(_grey_levels(picture), side, "white") for picture in pictures]),
            np.array(labels),
            {
                name: np.array([place[n] for n in numbers.tolist()])
                for name, (numbers, _) in self._best.items()
            },
            {name: scores for name, (_, scores) in self._best.items()},
            None if model is None else _heat_maps(model, pictures, side),
        )


def _heat_maps(model: keras.Model, pictures: Sequence[np.ndarray], side: int) -> np.ndarray | None:
    """Thumbnails of `grad_cam` of pictures of any sizes, uint8 `(count, side, side)`.

    `None` unless the model is a classifier that `grad_cam` takes.
    """
    first = keras.config.image_data_format() == "channels_first"
    sizes: dict[tuple[int, ...], list[int]] = {}
    for n, picture in enumerate(pictures):
        sizes.setdefault(picture.shape, []).append(n)
    maps: dict[int, np.ndarray] = {}
    try:
        if describe(model).answers == "values":
            return None
        for same in sizes.values():
            batch = np.stack([pictures[n] for n in same])
            with warnings.catch_warnings(action="ignore"):
                found = grad_cam(model, np.moveaxis(batch, -1, 1) if first else batch)
            maps |= dict(zip(same, 255 * found[..., None], strict=True))
    except ValueError:
        return None
    return np.stack([_thumbnail(maps[n], side, "black")[..., 0] for n in range(len(pictures))])


def _channels_last(pictures: Any) -> np.ndarray | None:
    """Pictures as `(batch, H, W, C)`; `None` unless they are grey or RGB."""
    if not isinstance(pictures, np.ndarray) or pictures.ndim != 4:
        return None
    if keras.config.image_data_format() == "channels_first":
        pictures = np.moveaxis(pictures, 1, -1)
    return pictures if pictures.shape[-1] in (1, 3) else None


def _grey_levels(picture: np.ndarray) -> np.ndarray:
    """A picture in 0..255: 0..255 or 0..1 are taken literally, others stretched to their range."""
    values = picture.astype("float64")
    low, high = values.min(), values.max()
    if low < 0 or high > 255:
        values = (values - low) / ((high - low) or 1)
    return 255 * values if values.max() <= 1 else values


def _thumbnail(values: np.ndarray, side: int, around: str) -> np.ndarray:
    """A picture `(H, W, C)` in 0..255 whole on a square of a colour, uint8 `(side, side, C)`."""
    grey = values.shape[-1] == 1
    image = Image.fromarray(values.round().astype("uint8")[..., 0 if grey else slice(None)])
    image = ImageOps.pad(image, (side, side), Image.Resampling.BOX, color=around)
    return np.asarray(image).reshape(side, side, -1)
