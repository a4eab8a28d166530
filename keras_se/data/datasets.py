"""Data sets that fit into memory, as NumPy arrays.

They need neither TensorFlow nor, once downloaded, a connection, so training also runs with Keras on
JAX alone.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.checks import unknown_choice
from keras_se.data.labelled import Pictures
from keras_se.labels import class_names

# Installed by Debian's package dataset-fashion-mnist.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# Magic numbers of the IDX format: unsigned bytes of rank 1 and 3.
IDX = {bytes((0, 0, 8, 1)): 1, bytes((0, 0, 8, 3)): 3}


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes; any other file raises a `ValueError`."""
    try:
        with gzip.open(path) as file:
            data = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a gzipped IDX file. Received: {error}") from None
    rank = IDX.get(data[:4], 0)
    shape = np.frombuffer(data[4 : 4 + 4 * rank], ">u4")
    if not rank or len(data) != 4 + 4 * rank + int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path}: expected an undamaged IDX file of unsigned bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _fashion_mnist(folder: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if folder is None and DEBIAN.is_dir():
        folder = DEBIAN
    if folder is None:
        from keras.datasets import fashion_mnist

        return fetched("fashion_mnist", fashion_mnist.load_data)
    return {
        part: (
            read_idx(folder / f"{name}-images-idx3-ubyte.gz"),
            read_idx(folder / f"{name}-labels-idx1-ubyte.gz"),
        )
        for part, name in (("train", "train"), ("test", "t10k"))
    }


def _cifar(classes: int) -> Callable[[Path | None], dict[str, tuple[np.ndarray, np.ndarray]]]:
    def load(folder: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        import keras

        if folder is not None:
            raise ValueError(
                "`data_dir` must be null for CIFAR, which Keras keeps under KERAS_HOME. "
                f"Received: data_dir={str(folder)!r}"
            )
        module = getattr(keras.datasets, f"cifar{classes}")
        return fetched(f"cifar{classes}", module.load_data)

    return load


def fetched(name: str, load: Callable[[], Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both parts of a Keras data set, downloaded if it is not cached."""
    try:
        return dict(zip(("train", "test"), load(), strict=True))
    except Exception as error:
        # Keras raises nothing narrower.
        if not str(error).startswith("URL fetch failure"):
            raise
        raise OSError(
            f"{name}: not in Keras' cache (KERAS_HOME), and the download failed: {error}"
        ) from None


DATASETS: Mapping[str, Callable[[Path | None], dict[str, tuple[np.ndarray, np.ndarray]]]] = {
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar(10),
    "cifar100": _cifar(100),
}


def load_pictures(name: str, folder: Path | None = None) -> Mapping[str, Pictures]:
    """The parts `"train"` and `"test"` of one of the `DATASETS`, from a folder or the usual place.

    Raises:
        ValueError: If there is no such data set, or a file or a label is invalid.
        OSError: If a file is missing and cannot be downloaded.
    """
    if name not in DATASETS:
        raise ValueError(unknown_choice("data", name, DATASETS))
    names = [name for _, name in class_names(name)]
    parts: dict[str, Pictures] = {}
    for part, (pictures, labels) in DATASETS[name](folder).items():
        pictures = pictures[..., None] if pictures.ndim == 3 else pictures
        labels = np.asarray(labels).reshape(-1).astype(np.int64)
        if len(pictures) != len(labels) or not len(labels):
            raise ValueError(
                f"{name}: expected as many labels as pictures, at least one. "
                f"Received: {len(pictures)} pictures, {len(labels)} labels"
            )
        check_labels(f"{name} {part}", labels, len(names))
        parts[part] = Pictures(pictures, labels, names, f"{name}, {part}")
    return parts


def check_labels(where: str, labels: np.ndarray, classes: int) -> None:
    """Raise a `ValueError` unless all labels are from 0 to `classes - 1`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise ValueError(
            f"{where}: expected labels from 0 to {classes - 1}. "
            f"Received: {labels[wrong[0]]}, of picture {wrong[0]} ({len(wrong)} such labels)"
        )
