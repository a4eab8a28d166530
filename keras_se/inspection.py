"""`describe`: a model's inputs and outputs, as far as known from its layers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.description import Description
from keras_se.graph.trace import Call, Graph, is_functional, recalled, recursion, trace
from keras_se.labels import class_names
from keras_se.layers import Dense, MatchSize, PictureNormalization

# Activations that give probabilities, and their names in `export`.
PROBABILITIES = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
# Layers after a classifier that keep the order of the classes.
ELEMENTWISE = (
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.Rescaling,
    keras.layers.Softmax,
)
# Layers after a classifier of every pixel that change only the size of its maps.
RESIZING = (
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    MatchSize,
)


def describe(model: keras.Model) -> Description:
    """Describe the inputs and outputs of a model.

    The networks of this package store the description in their first and last layer; it survives
    `.keras` and `.weights.h5` files, copies, and models built on their tensors. For other models
    only what the layers compute is known.

    Args:
        model: A functional or built Sequential model whose one input is pictures, signals or
            volumes.

    Returns:
        A `Description`.

    Raises:
        ValueError: If the model has no such input.

    Example:

    >>> keras_se.describe(keras_se.SEResNet20(weights="fashion_mnist")).labels[9]
    'Ankle_boot'
    """
    shape = tuple(model.inputs[0].shape) if is_functional(model) else ()
    if not 3 <= len(shape) <= 5 or len(model.inputs) != 1:
        raise ValueError(
            "`model` must be a functional or built Sequential `keras.Model` with one input, "
            "(batch, *spatial, C) or (batch, C, *spatial). Received: "
            f"{type(model).__name__} with inputs "
            f"{[tuple(x.shape) for x in model.inputs] if is_functional(model) else None}"
        )
    first = takes_channels_first(model)
    channels, spatial = (shape[1], shape[2:]) if first else (shape[-1], shape[1:-1])
    height, width = spatial[-2:] if len(spatial) > 1 else (None, None)
    if channels is None:
        raise ValueError(
            f"`model` must take pictures with a known number of channels. Received: shape {shape}"
        )
    pictures = normalization(model)
    last, classifier = _ends(model)
    answers, scores = "values", None
    if len(model.outputs) == 1:
        answers, scores = _answers(last, classifier, len(model.outputs[0].shape))
    return Description(
        height=height,
        width=width,
        channels=channels,
        channels_first=first,
        size=pictures.size if pictures else None,
        crop=(pictures.crop if pictures else None) or 1.0,
        interpolation=pictures.interpolation if pictures else "bilinear",
        normalises=pictures is not None,
        mean=pictures.mean if pictures else None,
        std=pictures.std if pictures else None,
        channel_order=pictures.channel_order if pictures else "RGB",
        answers=answers,
        scores=scores,
        classes=None if answers == "values" else named(classifier),
        features=_features(model),
        spatial=spatial,
    )


def tell(
    model: keras.Model,
    *,
    size: int | None = None,
    crop: float | None = None,
    interpolation: str = "bilinear",
    labels: Sequence[str] | None = None,
    scores: str | None = None,
) -> None:
    """Store a description of pictures and classes in a network of this package."""
    pictures = normalization(model)
    if pictures is not None:
        pictures.size, pictures.crop, pictures.interpolation = size, crop, interpolation
    _, classifier = _ends(model)
    if isinstance(classifier, Dense):
        classifier.labels = None if labels is None else tuple(labels)
        classifier.scores = scores


def warn_of_range(model: keras.Model, pictures: Any) -> None:
    """Warn about pictures in 0..1 for a network that takes 0..255 and normalises inside."""
    array = np.asarray(pictures)
    floating = array.dtype.kind == "f" and array.size and 0 < float(array.max()) <= 1
    if floating and float(array.min()) >= 0 and normalization(model) is not None:
        warnings.warn(
            "The pictures are in 0..1, but the network takes 0..255 and normalises inside: do not "
            "divide by 255",
            stacklevel=3,
        )


def check_images(model: keras.Model, images: Any) -> None:
    """Raise a `ValueError` unless an array is a batch of images for a model's (first) input."""
    functional = is_functional(model)
    shape = tuple(model.inputs[0].shape) if functional else (None, *images.shape[1:])
    fits = len(images.shape) == len(shape) and all(
        known in (None, n) for known, n in zip(shape[1:], images.shape[1:], strict=True)
    )
    if not fits or not len(images) or np.dtype(images.dtype).kind not in "iufb":
        one = " (one image needs an axis in front)" if len(images.shape) == len(shape) - 1 else ""
        raise ValueError(
            f"`images` must be numbers of shape {shape}, at least one image{one}. "
            f"Received: {images.dtype}, shape {tuple(images.shape)}"
        )
    if functional and None in shape[1:] and _too_small(model, tuple(images.shape)):
        raise ValueError(
            "`images` must be of a size that the model takes. "
            f"Received: shape {tuple(images.shape)}, which is too small"
        )


def _too_small(model: keras.Model, shape: tuple[int, ...]) -> bool:
    """Whether images are too small for a convolution or a pooling, which fails on some builds."""
    try:
        with recursion(2 * len(model.layers)):
            model.compute_output_shape(shape)
    except Exception as error:
        # Keras' words; custom layers may raise others for images that they do take.
        return "output size would be" in str(error)
    return False


def check_finite(images: Any) -> None:
    """Raise a `ValueError` if an array or a structure of arrays has NaN, which a ReLU may hide."""
    if not all(np.isfinite(array).all() for array in keras.tree.flatten(images)):
        raise ValueError("`images` must be finite numbers. Received: NaN or infinity")


def as_images(images: Any) -> np.ndarray:
    """Images as an array, from an array of any library or a list of images of one size."""
    try:
        if isinstance(images, np.ndarray):
            return images
        return ops.convert_to_numpy(images) if hasattr(images, "shape") else np.asarray(images)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`images` must be an array, or a list of images of one size. "
            f"Received: {type(images).__name__} ({' '.join(str(error).split())[:80]})"
        ) from None


def normalization(model: keras.Model) -> PictureNormalization | None:
    """The normalization layer on the model's input, also inside a nested model."""
    graph = _graph(model)
    for step in graph.consumers(graph.inputs[0]):
        if isinstance(step.layer, PictureNormalization):
            return step.layer
        if is_functional(step.layer) and (found := normalization(step.layer)) is not None:
            return found
    return None


def named(classifier: Any) -> tuple[tuple[str, str], ...] | None:
    """Identifier and name of each class of a classifier; `None` if unknown."""
    labels = getattr(classifier, "labels", None) if isinstance(classifier, Dense) else None
    if labels is None:
        return None
    return class_names(labels) if isinstance(labels, str) else tuple((n, n) for n in labels)


def _answers(last: Any, classifier: Any, rank: int) -> tuple[str, str | None]:
    """`answers` and `scores` of a description, from the model's ends and its output's rank."""
    if isinstance(last, keras.layers.Softmax):
        return ("probabilities" if last.axis in (-1, rank - 1) else "values"), None
    scores = PROBABILITIES.get(getattr(last, "activation", None))
    if scores is not None:
        return ("probabilities" if scores == "softmax" else "independent probabilities"), None
    known = isinstance(last, Dense) and last is classifier
    if known and last.activation is keras.activations.linear and last.scores:
        return "logits", last.scores
    return "values", None


def _ends(model: keras.Model) -> tuple[Any, Any]:
    """The last layer, and the classifier, which is that layer or precedes it."""
    graph = _graph(model)
    last = layer = None
    x = graph.outputs[0]
    while (step := graph.producer(x)) is not None:
        layer = step.layer
        if is_functional(layer):
            graph = _graph(layer)
            x = graph.outputs[0]
            continue
        if not isinstance(layer, RESIZING):
            last = last or layer
            if not isinstance(layer, ELEMENTWISE) or not step.inputs:
                break
        x = step.inputs[0]
    return last, layer


def answers_of(model: keras.Model) -> str:
    """The `answers` of `describe` for a model with one output and inputs of any rank."""
    return _answers(*_ends(model), len(model.outputs[0].shape))[0]


def ends_in_dense(model: keras.Model) -> bool:
    """Whether a dense layer is at the model's end, also in a nested model."""
    return isinstance(_ends(model)[1], keras.layers.Dense)


def without_classifier(model: keras.Model) -> keras.Model:
    """The model up to the dense layer at its end, which may be in a nested model, or the model.

    All layers are shared with the model.
    """
    graph = _own_graph(model) or recalled(model)
    x = graph.outputs[0]
    with recursion(2 * len(graph.calls)):
        while (step := graph.producer(x)) is not None:
            if isinstance(step.layer, keras.layers.Dense):
                return keras.Model(graph.inputs, step.inputs[0])
            if is_functional(step.layer) and ends_in_dense(step.layer):
                inner = without_classifier(step.layer)
                return keras.Model(graph.inputs, inner(*step.args, **step.kwargs))
            if not isinstance(step.layer, (*ELEMENTWISE, *RESIZING)) or not step.inputs:
                break
            x = step.inputs[0]
        return keras.Model(graph.inputs, graph.outputs)


def _graph(model: keras.Model) -> Graph:
    return _own_graph(model) or trace(model)


def _own_graph(model: keras.Model) -> Graph | None:
    """The calls on the model's own tensors, if they are the first ones of all its layers."""
    if any(isinstance(layer, keras.Model) for layer in model.layers):
        # `input` and `output` of a nested model are its own, not those of the call.
        return None
    calls = []
    for layer in model.layers:
        try:
            ends = [keras.tree.flatten(x) for x in (layer.input, layer.output)]
        except (AttributeError, ValueError):
            # The layer is called several times.
            continue
        if not isinstance(layer, keras.layers.InputLayer):
            calls.append(Call(layer, tuple(ends[0]), {}, ends[1]))
    made = {id(x) for x in model.inputs} | {id(x) for call in calls for x in call.outputs}
    used = [*model.outputs, *(x for call in calls for x in call.inputs)]
    return Graph(calls, model.inputs, model.outputs) if all(id(x) in made for x in used) else None


def channels_first(model: keras.Model) -> bool:
    """Whether feature maps have their channels first: as in the first layer that has a data format.

    If there is none, Keras' setting counts.
    """
    for layer in layers_of(model):
        known = getattr(layer, "data_format", None)
        if known is not None:
            return bool(known == "channels_first")
    return bool(keras.config.image_data_format() == "channels_first")


def takes_channels_first(model: keras.Model) -> bool:
    """Whether the model takes channels first, which a `Permute` at its start can change."""
    first = channels_first(model)
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Permute):
            return bool(layer.dims[0 if first else -1] == 1)
        if getattr(layer, "data_format", None) is not None:
            break
    return first


def layers_of(model: keras.Model) -> Iterator[Any]:
    """All layers, with nested models replaced by their layers."""
    for layer in model.layers:
        yield from layers_of(layer) if isinstance(layer, keras.Model) else (layer,)


def _features(model: keras.Model) -> int | None:
    dense = [layer for layer in layers_of(model) if isinstance(layer, keras.layers.Dense)]
    if dense:
        return int(dense[-1].kernel.shape[0])
    shape = model.outputs[0].shape
    return shape[-1] if len(shape) == 2 else None
