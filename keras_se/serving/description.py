"""What `export` has to know of a model besides its layers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.checks import positive_integer
from keras_se.graph import is_functional, trace
from keras_se.labels import class_names
from keras_se.serving.decoding import Transform, decode
from keras_se.serving.network import Network
from keras_se.weights.entries import Preprocessing, Weights, get_weights

# Of a network without a size of its own.
SIZE = 224
# The usual share of a picture's shorter side; small pictures are taken whole.
CROP, WHOLE_BELOW = 0.875, 96
# Files of a folder of representative pictures, and how many are taken.
SUFFIXES, REPRESENTATIVE = (".jpg", ".jpeg", ".png", ".gif", ".bmp"), 300


def describe(
    model: Any, labels: Any, top_k: Any, preprocessing: Any, max_pixels: Any, image_bytes: bool
) -> Network:
    """What `export` was told of a model, checked; its arguments say what they are."""
    if not is_functional(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "`model` must be a functional or built Sequential `keras.Model` with one input and one "
            f"output. Received: model of type {type(model).__name__}"
        )
    shape = tuple(model.inputs[0].shape[1:])
    first = len(shape) == 3 and shape[2] not in (1, 3) and shape[0] in (1, 3)
    shape = (*shape[1:], shape[0]) if first else shape
    if len(shape) != 3 or shape[2] is None or (image_bytes and shape[2] not in (1, 3)):
        raise ValueError(
            "`model` must take pictures of one or three channels (with image_bytes=False: of any "
            f"known number). Received: input shape {tuple(model.inputs[0].shape)}"
        )
    if len(model.outputs[0].shape) != 2 or model.outputs[0].shape[1] is None:
        raise ValueError(
            "`model` must answer (batch, classes). "
            f"Received: output shape {tuple(model.outputs[0].shape)}"
        )
    classes = model.outputs[0].shape[1]
    positive_integer("max_pixels", max_pixels)
    transform = transform_of(model, shape, preprocessing, max_pixels)
    least = math.prod(transform.covered)
    if max_pixels < least:
        raise ValueError(
            f"`max_pixels` must be at least {least}, what a picture is resized to. "
            f"Received: max_pixels={max_pixels}"
        )
    return Network(
        model=model,
        shape=shape,
        channels_first=first,
        labels=_labels(model, labels, classes),
        top_k=min(positive_integer("top_k", top_k), classes),
        transform=transform if image_bytes else None,
    )


def _labels(model: keras.Model, labels: Any, classes: int) -> tuple[str, ...]:
    if labels is None:
        entry = getattr(model, "trained_weights", None)
        if entry is None or not entry.dataset or entry.classes != classes:
            return tuple(map(str, range(classes)))
        labels = entry.dataset
    if isinstance(labels, str):
        labels = [name for _, name in class_names(labels)]
    labels = tuple(labels)
    if len(labels) != classes or not all(isinstance(label, str) for label in labels):
        raise ValueError(
            f"`labels` must be {classes} names, one a class. Received: {len(labels)} values"
        )
    broken = next((label for label in labels if len(label.splitlines()) > 1), None)
    if broken is not None:
        raise ValueError(f"`labels` must be names of one line. Received: {broken!r}")
    return labels


def transform_of(
    model: keras.Model, shape: tuple[int | None, int | None, int], preprocessing: Any, most: int
) -> Transform:
    """What becomes of a file's picture before the network takes it."""
    if isinstance(preprocessing, str):
        preprocessing = get_weights(preprocessing)
    if preprocessing is None:
        preprocessing = _remembered(model)
    if isinstance(preprocessing, Weights):
        preprocessing = preprocessing.preprocessing
    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        raise ValueError(
            "`preprocessing` must be a set of weights, its name, or a `Preprocessing`. "
            f"Received: preprocessing={preprocessing!r}"
        )
    size = preprocessing.size if preprocessing else SIZE
    height, width = (known or size for known in shape[:2])
    if preprocessing is None:
        crop = CROP if min(height, width) >= WHOLE_BELOW else 1.0
        return Transform(height, width, shape[2], crop, "bilinear", most)
    interpolation = preprocessing.interpolation
    return Transform(height, width, shape[2], preprocessing.crop, interpolation, most)


def _remembered(model: keras.Model) -> Weights | None:
    """The set of weights that the model, or a network inside of it, was built with."""
    own = getattr(model, "trained_weights", None)
    inner = (_remembered(layer) for layer in model.layers if isinstance(layer, keras.Model))
    return own or next((entry for entry in inner if entry), None)


def any_size(network: Network) -> tuple[int | None, int | None, int]:
    """The shape with height and width `None` if the network takes pictures of any size."""
    height, width, channels = network.shape
    if height is None or width is None:
        return network.shape
    other = (2 * height + 1, 2 * width + 1)
    shape = (channels, *other) if network.channels_first else (*other, channels)
    try:
        outputs = trace(network.model, shape).outputs
    except ValueError:
        return network.shape
    same = tuple(outputs[0].shape) == tuple(network.model.outputs[0].shape)
    return (None, None, channels) if same else network.shape


def pictures(representative: Any, transform: Transform, shape: tuple[int, ...]) -> np.ndarray:
    """The representative pictures: an array, or the files of a folder."""
    if isinstance(representative, str | Path):
        folder = Path(representative)
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        chosen = files[:: max(1, len(files) // REPRESENTATIVE)][:REPRESENTATIVE]
        if not chosen:
            raise ValueError(
                "`representative` must be pictures, or a folder of them "
                f"({', '.join(SUFFIXES)}). Received: {folder}"
            )
        images, _, errors = decode([path.read_bytes() for path in chosen], transform)
        for path, error in zip(chosen, errors.numpy(), strict=True):
            if error:
                raise ValueError(f"{path}: {error.decode()}")
        return np.asarray(images)
    images = np.asarray(representative)
    if images.ndim != 4 or not len(images) or images.shape[1:] != shape:
        raise ValueError(
            f"`representative` must be pictures of the shape (n, {', '.join(map(str, shape))}). "
            f"Received: shape {images.shape}"
        )
    return images.astype("float32")
