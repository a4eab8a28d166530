"""`embeddings`: the features that a network's classifier sees."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.checks import positive_integer
from keras_se.graph.trace import is_functional, recursion
from keras_se.inspection import classifier_input, describe, ends_in_dense, warn_of_range


def embeddings(model: keras.Model, images: Any, batch_size: int = 32) -> np.ndarray:
    """The features of images before the classifier, one vector each.

    They are the input of the classifier, the dense layer at the model's end. For a model without
    one they are its output; feature maps are averaged over their positions.

    Args:
        model: A functional or Sequential model with one output, such as a network of this package
            with or without its head.
        images: An array of images as the network takes them, `(count, H, W, C)` or
            `(count, C, H, W)`; or an iterable of batches, such as a `tf.data.Dataset` or a
            generator, which may also give `(images, labels)`: only one batch is held in memory.
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
    if not is_functional(model) or len(model.outputs) != 1:
        raise ValueError(
            "`model` must be a functional or built Sequential `keras.Model` with one output. "
            f"Received: model of type {type(model).__name__}"
        )
    features, dense = classifier_input(model), ends_in_dense(model)
    if dense and describe(model).answers == "values":
        raise ValueError(
            "`model` must be a classifier with probabilities or known logits, or end without a "
            f"dense layer; use keras.Model(model.inputs, tensor). Received: model={model.name!r}, "
            "whose last dense layer may be a classifier or an embedding"
        )
    if dense and features is model.outputs[0]:
        raise ValueError(
            "`model` must have its classifier at its top level; use the nested model. "
            f"Received: model={model.name!r}"
        )
    if len(features.shape) > 2:
        first = keras.config.image_data_format() == "channels_first"
        axes = range(2, len(features.shape)) if first else range(1, len(features.shape) - 1)
        features = ops.mean(features, axis=tuple(axes))
    with recursion(2 * len(model.layers)):
        network = keras.Model(model.inputs, features)
    if hasattr(images, "__array__") or isinstance(images, list):
        images = np.asarray(images)
        warn_of_range(model, images)
        batches: Any = (images[n : n + batch_size] for n in range(0, len(images), batch_size))
    else:
        batches = (batch[0] if isinstance(batch, tuple | list) else batch for batch in images)
    vectors = [np.asarray(network.predict_on_batch(batch), "float32") for batch in batches]
    if not vectors:
        raise ValueError("`images` must hold at least one image. Received: none")
    return np.concatenate(vectors)
