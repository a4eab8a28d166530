"""Pictures in files, through `tf.data`: decoded, cropped and resized while the network trains.

What is done to a picture is a pure function of (seed, epoch, its index, how often it was shown),
whatever the number of threads: the seeds of TensorFlow's stateless functions are made of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_se.training.batches import CROP, PARTS, mix_of, randomly_augmented, rows, views
from keras_se.training.randomness import bits, permutation
from keras_se.training.recipe import Recipe

if TYPE_CHECKING:
    import tensorflow as tf

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
# Random crops that are tried before the largest one of a fitting shape is taken.
ATTEMPTS = 10
TEST_NAMES = ("test", "val")
# One of this many pictures is for the test where the folder does not say which.
TEST = 5


@dataclass(frozen=True)
class PictureFiles:
    """Files of RGB pictures and what is on them.

    Attributes:
        files: Paths of JPEG, PNG, BMP or GIF files.
        labels: int64 from 0 to less than `classes`, `(count,)`.
        names: Names of the classes.
        size: Height and width of what the network takes, in pixels.
        crop: Share of the shorter side that an evaluated picture's centre has.
    """

    files: Sequence[str]
    labels: np.ndarray
    names: Sequence[str]
    size: int
    crop: float

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, chosen: slice) -> PictureFiles:
        return PictureFiles(
            self.files[chosen], self.labels[chosen], self.names, self.size, self.crop
        )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture."""
        return (self.size, self.size, 3)

    def bad(self) -> Iterator[str]:
        """Files that are no pictures."""
        return bad_files(self.files)

    def training(
        self, recipe: Recipe, epoch: int, first: int = 0, part: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """The batches of an epoch, from a step on: `(pictures in 0..255, targets)`."""
        import tensorflow as tf

        chosen = rows(recipe.batch, part)
        shown = views(recipe, epoch, len(self))[first:, chosen]
        key = int(bits(recipe.seed, CROP, epoch)) >> 1
        files, labels = tf.constant(list(self.files)), tf.constant(self.labels)
        smoothing, classes = recipe.label_smoothing, self.classes

        def augmented(picture: np.ndarray, view: int) -> np.ndarray:
            return randomly_augmented(picture, recipe, epoch, view)

        def load(view: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            index = view % len(self)
            numbers = tf.random.stateless_uniform((2 * ATTEMPTS + 3,), (key, view))
            picture = random_crop(
                tf.io.read_file(files[index]), numbers[1:], self.size, recipe.crop_area
            )
            if recipe.flip:
                picture = tf.cond(
                    numbers[0] < 0.5, lambda: tf.image.flip_left_right(picture), lambda: picture
                )
            if recipe.rand_augment:
                rounded = tf.cast(tf.round(picture), tf.uint8)
                done = tf.numpy_function(augmented, (rounded, view), tf.uint8, stateful=False)
                picture = tf.ensure_shape(tf.cast(done, tf.float32), self.shape)
            target = tf.one_hot(labels[index], classes)
            return picture, target * (1 - smoothing) + smoothing / classes

        data = tf.data.Dataset.from_tensor_slices(shown.ravel())
        data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        data = data.batch(len(chosen), drop_remainder=True)
        if recipe.mixup or recipe.cutmix:
            steps = range(first, first + len(shown))
            mixes = [mix_of(recipe, epoch, step, self.shape) for step in steps]
            table = np.array([(mix.own, *mix.window, mix.target) for mix in mixes], "float32")
            numbers = tf.data.Dataset.from_tensor_slices(table)
            data = tf.data.Dataset.zip(data, numbers).map(_mixed)
        data = data.map(lambda pictures, targets: (pictures[1:], targets[1:]))
        return data.prefetch(tf.data.AUTOTUNE)

    def evaluation(self, batch: int) -> tf.data.Dataset:
        """All pictures in order, in batches of one size, filled up with the last picture."""
        import tensorflow as tf

        count = math.ceil(len(self) / batch) * batch
        files = [*self.files, *[self.files[-1]] * (count - len(self))]
        data = tf.data.Dataset.from_tensor_slices(files)
        data = data.map(
            lambda file: central_crop(tf.io.read_file(file), self.size, self.crop),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return data.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def random_crop(
    data: tf.Tensor, numbers: tf.Tensor, size: int, area: tuple[float, float]
) -> tf.Tensor:
    """A random part of a picture, resized: GoogLeNet's augmentation. Only that part is decoded.

    Args:
        data: Bytes of a file.
        numbers: 22 numbers in 0..1: area and aspect ratio of ten attempts, then where.
        size: Height and width of the result.
        area: Least and largest share of the picture's area.

    Returns:
        `(size, size, 3)`, float32 in 0..255.
    """
    import tensorflow as tf

    shape = picture_shape(data)
    height, width = tf.cast(shape[0], tf.float32), tf.cast(shape[1], tf.float32)
    attempts = tf.reshape(numbers[: 2 * ATTEMPTS], (ATTEMPTS, 2))
    surface = height * width * (area[0] + attempts[:, 0] * (area[1] - area[0]))
    # Evenly in the logarithm, from 3/4 to 4/3.
    aspect = tf.exp((2 * attempts[:, 1] - 1) * math.log(4 / 3))
    heights, widths = tf.round(tf.sqrt(surface / aspect)), tf.round(tf.sqrt(surface * aspect))
    fits = (heights <= height) & (widths <= width) & (heights > 0) & (widths > 0)
    # Else as much of the middle as such an aspect ratio allows.
    middle = tf.stack(
        [tf.minimum(height, tf.round(width * 4 / 3)), tf.minimum(width, tf.round(height * 4 / 3))]
    )
    chosen = tf.argmax(tf.cast(fits, tf.int32))
    found = tf.reduce_any(fits)
    part = tf.where(found, tf.stack([heights[chosen], widths[chosen]]), middle)
    at = tf.where(found, numbers[2 * ATTEMPTS : 2 * ATTEMPTS + 2], 0.5)
    corner = tf.floor(at * (tf.stack([height, width]) - part + 1))
    corner = tf.minimum(corner, tf.stack([height, width]) - part)
    window = tf.cast(tf.concat([corner, part], 0), tf.int32)
    picture = tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.io.decode_and_crop_jpeg(data, window, channels=3, dct_method="INTEGER_FAST"),
        lambda: tf.slice(
            _decoded(data),
            tf.concat([window[:2], [0]], 0),
            tf.concat([window[2:], [3]], 0),
        ),
    )
    picture = tf.image.resize(picture, (size, size))
    return tf.ensure_shape(picture, (size, size, 3))


def central_crop(data: tf.Tensor, size: int, crop: float) -> tf.Tensor:
    """The centre of a picture whose shorter side is resized to `size / crop` pixels.

    Args:
        data: Bytes of a file.
        size: Height and width of the result.
        crop: Share of the shorter side that the centre has.

    Returns:
        `(size, size, 3)`, float32 in 0..255.
    """
    import tensorflow as tf

    picture = _decoded(data)
    shape = tf.shape(picture)[:2]
    shorter = math.floor(size / crop)
    resized = shorter * shape // tf.reduce_min(shape)
    picture = tf.image.resize(picture, resized, antialias=True)
    top, left = tf.unstack((resized - size) // 2)
    picture = picture[top : top + size, left : left + size]
    return tf.ensure_shape(tf.clip_by_value(picture, 0, 255), (size, size, 3))


def _mixed(batch: tuple[tf.Tensor, tf.Tensor], numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`augmentation.mixed`, of the numbers of a `Mix`."""
    import tensorflow as tf

    pictures, targets = batch
    own, top, bottom, left, right, target = tf.unstack(numbers)
    others = tf.roll(pictures, 1, 0)
    rows = tf.range(pictures.shape[1], dtype=tf.float32)[:, None, None]
    columns = tf.range(pictures.shape[2], dtype=tf.float32)[:, None]
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    pictures = tf.where(inside, others, own * pictures + (1 - own) * others)
    return pictures, target * targets + (1 - target) * tf.roll(targets, 1, 0)


def load_folder(recipe: Recipe, report: Callable[[str], None]) -> dict[str, PictureFiles]:
    """The parts `"train"` and `"test"` of a folder of pictures.

    Args:
        recipe: Says the folder, the size, and what to do with files that are no pictures.
        report: Called with a line for each file that is left out.

    Raises:
        ValueError: If the folder has not two classes, or a setting is not for files.
    """
    if recipe.data_dir is None or recipe.image_size is None:
        raise ValueError(
            "`data_dir` and `image_size` must be given with data='folder'. "
            f"Received: data_dir={recipe.data_dir!r}, image_size={recipe.image_size!r}"
        )
    for name in ("shift", "cutout"):
        if getattr(recipe, name):
            raise ValueError(
                f"`{name}` must be 0 with data='folder', whose pictures are cropped otherwise. "
                f"Received: {name}={getattr(recipe, name)}"
            )
    folder = Path(recipe.data_dir)
    if not folder.is_dir():
        raise ValueError(f"`data_dir` must be a folder. Received: data_dir={recipe.data_dir!r}")
    test = next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)
    parted = test is not None and (folder / "train").is_dir()
    places = {"train": folder / "train", "test": test} if parted and test else {"all": folder}
    names = sorted(path.name for path in next(iter(places.values())).iterdir() if path.is_dir())
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
        if recipe.bad_pictures == "skip":
            bad = set(bad_files([path for path, _ in found]))
            for path in sorted(bad):
                report(f"no picture, left out: {path}")
            found = [item for item in found if item[0] not in bad]
        # What is held out, and tested, is of all classes.
        found = [found[n] for n in permutation(len(found), PARTS)]
        files, labels = [path for path, _ in found], np.array([n for _, n in found], np.int64)
        parts[part] = PictureFiles(files, labels, names, recipe.image_size, recipe.crop)
        empty = sorted(set(range(len(names))) - set(labels.tolist()))
        if empty and part != "test":
            raise ValueError(
                f"{place / names[empty[0]]}: expected a picture ({', '.join(SUFFIXES)}). "
                "Received: none"
            )
    if parted:
        return parts
    every = parts["all"]
    count = len(every) // TEST
    if not count:
        raise ValueError(f"{folder}: expected at least {TEST} pictures. Received: {len(every)}")
    return {"train": every[:-count], "test": every[-count:]}


def bad_files(files: Sequence[str]) -> Iterator[str]:
    """Those that TensorFlow cannot decode."""
    import tensorflow as tf

    def is_sound(path: str) -> bool:
        try:
            _decoded(tf.io.read_file(path))
        except (tf.errors.InvalidArgumentError, ValueError):
            return False
        return True

    with ThreadPoolExecutor() as pool:
        for path, sound in zip(files, pool.map(is_sound, files), strict=True):
            if not sound:
                yield path


def picture_shape(data: tf.Tensor) -> tf.Tensor:
    """Height and width; of a JPEG from its header."""
    import tensorflow as tf

    return tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.io.extract_jpeg_shape(data)[:2],
        lambda: tf.shape(_decoded(data))[:2],
    )


def _decoded(data: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.ensure_shape(
        tf.io.decode_image(data, channels=3, expand_animations=False), (None, None, 3)
    )
