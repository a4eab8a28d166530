"""Pictures with masks, from files, in the size of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_se.data.labelled import EvaluationBatches
from keras_se.data.mask_files import read_mask
from keras_se.pictures import decoded, printable
from keras_se.views import CENTRE, View

# Left, top, right and bottom, in pixels.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pair:
    """A picture and its mask.

    Attributes:
        key: Name of the picture relative to the data's folder, the same in any copy.
        picture: Path of the picture.
        mask: Path of the mask.
        bytes: Sizes of both files.
        size: Height and width in pixels.
    """

    key: str
    picture: str
    mask: str
    bytes: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class MaskedPictures:
    """Pictures of any size whose every pixel has a class.

    For evaluation the whole picture is resized to the network's size, also if that changes its
    aspect ratio, and the mask by taking the nearest pixels.

    Attributes:
        pairs: The files.
        names: Names of the classes.
        shape: Input shape of the network: `(size, size, channels)`, grey or RGB.
        origin: Where they are from, in words. Defaults to an empty string.
    """

    pairs: Sequence[Pair]
    names: Sequence[str]
    shape: tuple[int, int, int]
    origin: str = ""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, chosen: slice | np.ndarray) -> MaskedPictures:
        return replace(self, pairs=[self.pairs[n] for n in np.arange(len(self))[chosen]])

    @property
    def labels(self) -> np.ndarray:
        """Zeros: a picture has no class of its own."""
        return np.zeros(len(self), np.int64)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    def called(self, origin: str) -> MaskedPictures:
        """The same pictures with another `origin`."""
        return replace(self, origin=origin)

    def keys(self) -> Iterator[str]:
        """Paths relative to the data's folder."""
        return (pair.key for pair in self.pairs)

    def entries(self) -> Iterator[tuple[str, str]]:
        """The key of each picture; the sizes in bytes of its file and its mask's."""
        return ((pair.key, f"{pair.bytes[0]} {pair.bytes[1]}") for pair in self.pairs)

    def bad(self) -> Iterator[str]:
        """A line for each picture or mask that cannot be read."""
        for n in range(len(self)):
            try:
                self.example(n)
            except (ValueError, OSError) as error:
                yield " ".join(str(error).split())

    def picture(self, index: int, box: Box | None = None) -> np.ndarray:
        """A picture, or the part in a box, in the network's size: uint8 `(size, size, C)`."""
        pair = self.pairs[index]
        image = whole_picture(pair.picture, self.shape[2])
        if image.size != pair.size[::-1]:
            raise ValueError(
                f"{printable(pair.picture)}: expected the size of its mask, {pair.size[1]} x "
                f"{pair.size[0]}. Received: {image.width} x {image.height}"
            )
        return resized(image, self.shape, box)

    def example(self, index: int, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """A picture as `picture` gives it, and its mask, uint8 `(size, size)`."""
        return self.picture(index, box), self.mask(index, box)

    def mask(self, index: int, box: Box | None = None) -> np.ndarray:
        """A mask, or the part in a box, in the network's size: uint8 `(size, size)`."""
        mask = Image.fromarray(read_mask(self.pairs[index].mask, self.classes))
        size = (self.shape[1], self.shape[0])
        return np.asarray(mask.resize(size, Image.Resampling.NEAREST, box))

    def pictures(self, chosen: np.ndarray) -> np.ndarray:
        """Some pictures in the network's size, uint8 `(count, size, size, C)`."""
        return np.stack(threaded(self.picture, chosen.tolist()))

    def evaluation(self, batch: int, view: View = CENTRE) -> EvaluationBatches:
        """All pictures in order, maybe mirrored, in batches of one size; there is no margin."""
        return EvaluationBatches(self.pictures, len(self), batch, view.mirrored)

    def masks(self, first: int, count: int) -> np.ndarray:
        """The masks of some pictures in the network's size, uint8 `(count, size, size)`."""
        return np.stack(threaded(self.mask, range(first, min(first + count, len(self)))))


def threaded(function: Callable[[Any], Any], values: Any) -> list[Any]:
    """Results of a function for some values, in order, from several threads."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, values))


def whole_picture(path: str | Path, channels: int) -> Image.Image:
    """A picture in its own size, upright, grey or RGB."""
    colours = "L" if channels == 1 else "RGB"
    return decoded(Path(path).read_bytes(), colours, printable(path))


def resized(
    image: Image.Image, shape: tuple[int, int, int], box: Box | None = None
) -> np.ndarray:  # fmt: skip
    """A picture, or the part in a box, in the size and with the channels of `shape`, uint8."""
    small = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box)
    return np.asarray(small).reshape(shape)
