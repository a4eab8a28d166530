"""Folders of pictures, with one folder a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_se.training.files import EncodedPictures
from keras_se.training.networks import encoded_as
from keras_se.training.parts import with_test
from keras_se.training.recipe import Recipe

if TYPE_CHECKING:
    import tensorflow as tf

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
TEST_NAMES = ("test", "val")


class Files:
    """Pictures in a file each.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        import tensorflow as tf

        self.paths, self.tensor = paths, tf.constant(list(paths), tf.string)

    def data(self, index: tf.Tensor) -> tf.Tensor:
        """Bytes of the picture of that index."""
        import tensorflow as tf

        return tf.io.read_file(self.tensor[index])

    def name(self, index: int) -> str:
        """Its path."""
        return self.paths[index]


def load_folder(recipe: Recipe, report: Callable[[str], None]) -> dict[str, EncodedPictures]:
    """The parts `"train"` and `"test"` of a folder of pictures.

    Args:
        recipe: Says the folder, the size, and what to do with files that are no pictures.
        report: Called with a line for each file that is left out.

    Raises:
        ValueError: If the folder has not two classes, or a setting is not for files.
    """
    if recipe.data_dir is None:
        raise ValueError("`data_dir` must be given with data='folder'. Received: data_dir=None")
    shape, crop = encoded_as(recipe)
    folder = Path(recipe.data_dir)
    if not folder.is_dir():
        raise ValueError(f"`data_dir` must be a folder. Received: data_dir={recipe.data_dir!r}")
    test = next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)
    parted = test is not None and (folder / "train").is_dir()
    places = {"train": folder / "train", "test": test} if parted and test else {"train": folder}
    names = sorted(path.name for path in places["train"].iterdir() if path.is_dir())
    if len(names) < 2:
        raise ValueError(
            f"{folder}: expected a folder of pictures for each of at least two classes. "
            f"Received: {len(names)} folder(s)"
        )
    parts = {}
    for part, place in places.items():
        if extra := {path.name for path in place.iterdir() if path.is_dir()} - set(names):
            raise ValueError(f"{place}: expected the classes of `train`. Received: {min(extra)}")
        found = [
            (str(path), label)
            for label, name in enumerate(names)
            if (place / name).is_dir()
            for path in sorted((place / name).iterdir())
            if path.suffix.lower() in SUFFIXES
        ]
        paths, labels = [path for path, _ in found], np.array([n for _, n in found], np.int64)
        pictures = EncodedPictures(
            Files(paths), np.arange(len(paths)), labels, names, shape, crop
        )  # fmt: skip
        if recipe.bad_pictures == "skip":
            pictures = pictures.sound(report)
        empty = sorted(set(range(len(names))) - set(pictures.labels.tolist()))
        if empty and part == "train":
            raise ValueError(
                f"{place / names[empty[0]]}: expected a picture ({', '.join(SUFFIXES)}). "
                "Received: none"
            )
        if not len(pictures):
            raise ValueError(f"{place}: expected a picture ({', '.join(SUFFIXES)}). Received: none")
        parts[part] = pictures
    return with_test(str(folder), parts)
