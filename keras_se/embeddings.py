"""`embeddings`: the features that a network's classifier sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.checks import positive_integer
from keras_se.graph.trace import check_functional, recursion
from keras_se.inspection import (
    answers_of,
    channels_first,
    check_images,
    ends_in_dense,
    warn_of_range,
    without_classifier,
)


def embeddings(model: keras.Model, images: Any, batch_size: int = 32) -> np.ndarray:
    """The features of images before the classifier, one vector each.

    They are the input of the classifier, the dense layer at the model's end. For a model without
    one they are its output; feature maps are averaged over their positions.

    Args:
        model: A functional or Sequential model with one input and one output, such as a network of
            this package with or without its head.
        images: An array of images as the network takes them, `(count, H, W, C)` or
            `(count, C, H, W)`; or a finite iterable of such batches, such as a `tf.data.Dataset`,
            a list or a generator, which may also give `(images, labels)`: only one batch is held in
            memory.
        batch_size: Images per batch of an array. Defaults to 32.

    Returns:
        A float32 array `(count, features)`.

    Raises:
        ValueError: If the model is unsuitable, the meaning of its last dense layer is not known, or
            there are no images.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> x = keras_se.load_image("ankle_boot.png", model)
    >>> keras_se.embeddings(model, x).shape
    (1, 64)
    """
    positive_integer("batch_size", batch_size)
    network = feature_network(model)
    vectors: list[np.ndarray] = []
    for batch in _batches(images, batch_size):
        check_images(model, batch)
        if not vectors:
            warn_of_range(model, batch)
        vectors.append(np.asarray(network.predict_on_batch(batch), "float32"))
    if not vectors:
        raise ValueError("`images` must hold at least one image. Received: none")
    return np.concatenate(vectors)


def feature_network(model: keras.Model) -> keras.Model:
    """The network from the images of a model to the vectors of `embeddings`."""
    check_functional(
        model,
        " with one input and one output",
        lambda model: len(model.inputs) == len(model.outputs) == 1,
    )
    if ends_in_dense(model) and answers_of(model) == "values":
        raise ValueError(
            "`model` must be a classifier with probabilities or known logits, or end without a "
            f"dense layer; use keras.Model(model.inputs, tensor). Received: model={model.name!r}, "
            "whose last dense layer may be a classifier or an embedding"
        )
    headless = without_classifier(model)
    features = headless.outputs[0]
    if len(features.shape) > 2:
        # A dense layer takes the channels last, whatever the data format.
        first = channels_first(model) and not ends_in_dense(model)
        last = 1 if first else len(features.shape) - 1
        axes = tuple(axis for axis in range(1, len(features.shape)) if axis != last)
        features = ops.mean(features, axis=axes)
    with recursion(2 * len(model.layers)):
        return keras.Model(headless.inputs, features)


def _batches(images: Any, batch_size: int) -> Iterator[np.ndarray]:
    """The batches of an array or of an iterable of batches, maybe with labels."""
    if hasattr(images, "shape"):
        images = ops.convert_to_numpy(images)
        yield from (images[n : n + batch_size] for n in range(0, len(images), batch_size))
        return
    if isinstance(images, str | Mapping) or not hasattr(images, "__iter__"):
        raise ValueError(
            "`images` must be an array of images or an iterable of batches. "
            f"Received: {type(images).__name__}"
        )
    for batch in images:
        yield ops.convert_to_numpy(batch[0] if isinstance(batch, tuple | list) else batch)
