"""Pictures with known objects for `detect.py` and `segment.py`.

Fashion-MNIST's garments scattered over coloured canvases: real pictures of things, where each is
and which pixels are its. Canvases to train on have garments of the training set, those to test on
garments of the test set; they come from Debian's package dataset-fashion-mnist, or Keras downloads
them. Or a data set that TensorFlow Datasets has prepared.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from keras_se.data.datasets import DEBIAN, read_idx
from keras_se.labels import class_names

CLASSES = tuple(name for _, name in class_names("fashion_mnist"))
# Height and width of a garment, which is 28 in the data set.
SIDE = (28, 48)
MOST = 4
TRIES = 20
# A pixel of a picture, 0..255, belongs to the garment if it is brighter.
BRIGHTER = 24


@dataclass(frozen=True)
class Scenes:
    """Pictures and what is on them.

    Attributes:
        pictures: `(n, height, width, 3)`, uint8 RGB.
        boxes: `(n, most, 4)`, float32: left, top, right, bottom in pixels; -1 where there is none.
        labels: `(n, most)`, int32: class of each box; -1 where there is none.
        masks: `(n, height, width)`, uint8: 0 for the background, 1 + class for a garment's pixel.
        classes: Names of the classes of the labels.
    """

    pictures: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    classes: tuple[str, ...]


def load(part: str, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST.

    Args:
        part: `"train"` or `"t10k"`.
        folder: Folder of the four gzipped IDX files. Defaults to Debian's, else Keras' download.

    Returns:
        Pictures `(n, 28, 28)` and labels `(n,)`, both uint8.
    """
    if folder is None and not DEBIAN.is_dir():
        return keras.datasets.fashion_mnist.load_data()[part == "t10k"]
    pictures, labels = (
        read_idx((folder or DEBIAN) / f"{part}-{name}-ubyte.gz")
        for name in ("images-idx3", "labels-idx1")
    )
    return pictures, labels


def scatter(part: str, count: int, size: int, seed: int, folder: Path | None = None) -> Scenes:
    """`count` canvases of `size` x `size` pixels with one to four garments, none upon another."""
    garments, classes = load(part, folder)
    random = np.random.default_rng((seed, part == "t10k"))
    scenes = Scenes(
        np.empty((count, size, size, 3), "uint8"),
        np.full((count, MOST, 4), -1, "float32"),
        np.full((count, MOST), -1, "int32"),
        np.zeros((count, size, size), "uint8"),
        CLASSES,
    )
    for canvas, boxes, labels, mask in zip(
        scenes.pictures, scenes.boxes, scenes.labels, scenes.masks, strict=True
    ):
        canvas[:] = random.integers(0, 96, 3)
        wanted, placed = random.integers(1, MOST + 1), 0
        for _ in range(TRIES):
            which = random.integers(len(classes))
            side = random.integers(SIDE[0], SIDE[1] + 1)
            picture = np.asarray(Image.fromarray(garments[which]).resize((side, side)))
            garment = picture > BRIGHTER
            top, left = random.integers(0, size - side + 1, 2)
            place = np.s_[top : top + side, left : left + side]
            if placed == wanted or mask[place][garment].any():
                continue
            canvas[place][garment] = picture[garment][:, None] * random.uniform(0.5, 1, 3)
            mask[place][garment] = 1 + classes[which]
            rows, columns = np.nonzero(garment)
            boxes[placed] = (
                left + columns.min(), top + rows.min(),
                left + columns.max() + 1, top + rows.max() + 1,
            )  # fmt: skip
            labels[placed] = classes[which]
            placed += 1
    return scenes


def training_and_test(arguments: argparse.Namespace, feature: str) -> tuple[Scenes, Scenes]:
    """What an example's arguments say to train on, and to test on; `feature` as for `prepared`."""
    size, counts = arguments.size, (arguments.samples, arguments.tests)
    smallest = 32 if arguments.tfds else 64
    if size < smallest or size % 32:
        raise ValueError(
            f"--size must be a multiple of 32 and at least {smallest}. Received: {size}"
        )
    if arguments.tfds:
        parts = zip(("train", "test"), counts, strict=True)
        train, test = (prepared(arguments.tfds, *part, size, feature) for part in parts)
    else:
        parts = zip(("train", "t10k"), counts, strict=True)
        train, test = (scatter(*part, size, arguments.seed, arguments.data) for part in parts)
    return train, test


def prepared(name: str, part: str, count: int, size: int, feature: str) -> Scenes:
    """Pictures of a data set of TensorFlow Datasets, resized to `size` x `size`; no download.

    Args:
        name: The data set, such as `"voc/2007"`.
        part: `"train"`, or `"test"` for its validation split, where it has one, or its test split.
        count: How many pictures at most.
        size: Height and width.
        feature: What is needed beside `image`: `"objects"` or `"segmentation_mask"`. The scenes
            have no other truth.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
        if part == "test" and "validation" in builder.info.splits:
            part = "validation"
        data = builder.as_dataset(split=part)
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"--tfds must be a data set that TFDS has prepared. Received: {name} "
            f"({str(error).splitlines()[0]})"
        ) from None
    features = builder.info.features
    if not {"image", feature} <= set(features):
        raise ValueError(f"--tfds must have `image` and `{feature}`. Received: {list(features)}")
    pictures, boxes, labels, masks = [], [], [], []
    for example in data.take(count).as_numpy_iterator():
        pictures.append(tf.image.resize(example["image"], (size, size)).numpy().astype("uint8"))
        if feature == "objects":
            # Top, left, bottom and right, in 0..1.
            boxes.append(example["objects"]["bbox"][:, [1, 0, 3, 2]] * size)
            labels.append(example["objects"]["label"])
        else:
            mask = tf.image.resize(example[feature], (size, size), method="nearest")
            masks.append(mask[..., 0].numpy())
    most = max(map(len, labels), default=0)
    return Scenes(
        np.stack(pictures),
        np.array([np.pad(b, ((0, most - len(b)), (0, 0)), constant_values=-1) for b in boxes]),
        np.array([np.pad(n, (0, most - len(n)), constant_values=-1) for n in labels]),
        np.array(masks),
        tuple(features["objects"]["label"].names) if feature == "objects" else (),
    )
