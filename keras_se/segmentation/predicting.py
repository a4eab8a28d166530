"""The mask of a picture from a network that answers for every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_se.description import Description
from keras_se.inspection import describe
from keras_se.labels import probabilities
from keras_se.pictures import colours_for, decoded, printable, sides_of

# The one class of a network with one output is where it is more likely than not.
THRESHOLD = 0.5


def answers_pixels(model: Any) -> bool:
    """Whether a model answers `(batch, H, W, ...)`."""
    shape = getattr(model, "output_shape", None)
    return isinstance(shape, tuple) and len(shape) == 4


def check_pixel_classes(model: Any, known: Description) -> None:
    """Raise a `ValueError` unless a model is known to give each pixel one of at most 256 classes.

    Feature maps have the same shape, and logits do not say whether classes exclude each other.
    """
    classes = model.output_shape[-1]
    if known.answers == "values":
        raise ValueError(
            "`model` must end in a softmax or sigmoid over the classes, its last axis, such as "
            "keras.Sequential([model, keras.layers.Softmax()]). Received: outputs of unknown "
            f"meaning, of shape {model.output_shape}"
        )
    if classes > 1 and known.independent:
        raise ValueError(
            "`model` must give each pixel one class; use model.predict where classes overlap. "
            f"Received: a sigmoid over {classes} classes"
        )
    if classes > 256:
        raise ValueError(
            f"`model` must have at most 256 classes for masks of 8 bits. Received: {classes}"
        )


def whole(known: Description, path: str | Path, strict: bool) -> Image.Image:
    """The whole picture in a file, upright, in the colours of a described network."""
    return decoded(Path(path).read_bytes(), colours_for(known), printable(path), strict)


def predict_mask(
    model: keras.Model, path: str | Path, strict: bool = False
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The mask of a picture in its own size.

    The whole picture is resized to the network's size, as in training with masks, and the mask
    back by repeating pixels. A network of any and no known size takes the picture as it is.

    Args:
        model: A network that answers `(batch, H, W, classes)`, after a softmax, or after a sigmoid
            for one class; or logits whose meaning a run has stored.
        path: The picture's file.
        strict: Whether to refuse a picture that needs conversion, as `load_image` does. Defaults to
            `False`.

    Returns:
        The picture, upright, uint8 RGB `(height, width, 3)`, and the class numbers, uint8
        `(height, width)`; for a single class 0 and 1.

    Raises:
        ValueError: If it is not a picture, or the network does not give each pixel one of at most
            256 classes.
        OSError: If it cannot be read.
    """
    known = describe(model)
    check_pixel_classes(model, known)
    image = whole(known, path, strict)
    free = known.size is None and (known.height is None or known.width is None)
    height, width = image.size[::-1] if free else sides_of(known)
    x = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), "float32")
    x = x.reshape(1, height, width, known.channels)
    outputs = model.predict_on_batch(np.moveaxis(x, -1, 1) if known.channels_first else x)
    scores = probabilities(np.asarray(outputs, "float32")[0], known.scores)
    numbers = scores.argmax(-1) if scores.shape[-1] > 1 else scores[..., 0] > THRESHOLD
    mask = Image.fromarray(numbers.astype(np.uint8))
    mask = mask.resize(image.size, Image.Resampling.NEAREST)
    return np.asarray(image.convert("RGB")), np.asarray(mask)
