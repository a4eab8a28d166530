"""Folders of pictures: one folder per class, or a table of files and labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_se.data.encoded import EncodedPictures
from keras_se.data.label_format import classes_of
from keras_se.data.listing import list_folder
from keras_se.data.loading import DataRequest
from keras_se.data.splits import with_test
from keras_se.pictures import SUFFIXES, printable

if TYPE_CHECKING:
    import tensorflow as tf


class Files:
    """Pictures in one file each.

    Args:
        paths: The files.
        sizes: Bytes of each. Defaults to none.
        root: The folder that their keys are relative to. Defaults to `None`.
    """

    def __init__(
        self, paths: Sequence[str], sizes: Sequence[int] = (), root: Path | None = None
    ) -> None:
        import tensorflow as tf

        self.paths, self.sizes, self.root = paths, sizes, root
        # Names need not be UTF-8.
        self.tensor = tf.constant([os.fsencode(path) for path in paths], tf.string)

    def data(self, index: tf.Tensor) -> tf.Tensor:
        """Bytes of the picture at `index`."""
        import tensorflow as tf

        return tf.io.read_file(self.tensor[index])

    def name(self, index: int) -> str:
        """Its path."""
        return printable(self.paths[index])

    def entry(self, index: int) -> tuple[str, int]:
        """Its path relative to the root, and its size in bytes."""
        path = self.paths[index]
        return printable(os.path.relpath(path, self.root)), self.sizes[index]


def load_folder(request: DataRequest, report: Callable[[str], None]) -> dict[str, EncodedPictures]:
    """The parts of a folder of pictures: `"train"`, `"test"` and, if it has them, `"validation"`.

    With validation pictures but no test pictures, the former are used as `"test"`.

    Args:
        request: Provides the folder, the size, and how to treat files that are not pictures.
        report: Called with a line for each skipped file.

    Raises:
        ValueError: If the folder has fewer than two classes, or a setting does not apply to files.
        OSError: If a folder cannot be read.
    """
    if request.data_dir is None:
        raise ValueError("`data_dir` must be given with data='folder'. Received: data_dir=None")
    shape, crop = request.encoding(3)
    listing = list_folder(Path(request.data_dir), request.skip, report, request.labels)
    parts = {}
    for part, files in listing.parts.items():
        paths, sizes = [path for path, _, _ in files], [size for _, size, _ in files]
        labels = request.labels.array([own for _, _, own in files], len(listing.names))
        pictures = EncodedPictures(
            Files(paths, sizes, listing.root), np.arange(len(paths)), labels, listing.names, shape,
            crop, listing.origins[part],
        )  # fmt: skip
        if request.skip:
            pictures = pictures.sound(report)
        empty = np.setdiff1d(np.arange(len(listing.names)), classes_of(pictures.labels)).tolist()
        if part != "train" and len(pictures):
            empty = []
        if empty:
            place = f"{listing.origins[part]}, class {listing.names[empty[0]]}"
            raise ValueError(f"{place}: expected a picture ({', '.join(SUFFIXES)}). Received: none")
        parts[part] = pictures
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    return with_test(printable(request.data_dir), parts)
