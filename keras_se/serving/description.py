"""The arguments of `export`, checked and combined with the model's description."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_se.checks import one_of, positive_integer
from keras_se.description import Description
from keras_se.graph.trace import trace
from keras_se.inspection import describe
from keras_se.labels import class_names
from keras_se.pictures import MAX_PIXELS
from keras_se.serving.decoding import Transform
from keras_se.serving.network import SCORES, ServedNetwork
from keras_se.weights.entries import Preprocessing, Weights, get_weights

# Input size for a network that takes any size and does not know its own.
SIZE = 224


def network_of(
    model: Any,
    labels: Any = None,
    top_k: Any = 1,
    scores: Any = None,
    transform: Transform | None = None,
) -> ServedNetwork:
    """Check the arguments of `export`, described there, and build the `ServedNetwork`.

    `transform` is `None` if files are not taken.
    """
    known = describe(model)
    if transform is not None and len(known.spatial) != 2:
        raise ValueError(
            "`image_bytes` must be False for a model of signals or volumes, which have no files. "
            f"Received: image_bytes=True, input_shape={model.input_shape}"
        )
    if transform is not None and known.channels not in (1, 3):
        raise ValueError(
            "`image_bytes` is only supported for models with one or three input channels. "
            f"Received: a model with {known.channels} channels"
        )
    positive_integer("top_k", top_k)
    one_of(*SCORES)("scores", scores)
    names, width = _output_names(model), _classes(model)
    if (scores or labels is not None) and width is None:
        raise ValueError(
            f"`{'scores' if scores else 'labels'}` is only supported for a model that answers "
            f"(batch, classes). Received: outputs {[tuple(y.shape) for y in model.outputs]}"
        )
    if scores and known.answers.endswith("probabilities"):
        raise ValueError(
            f"`scores` must be None for a model that answers {known.answers}. "
            f"Received: scores={scores!r}"
        )
    scores = scores or known.scores
    named = _labels(labels, known, model.outputs[0].shape[-1], scores)
    return ServedNetwork(
        model=model,
        shape=(*known.spatial, known.channels),
        channels_first=known.channels_first,
        outputs=names,
        scores=scores,
        labels=named,
        top_k=min(top_k, len(named)) if named and width else 0,
        transform=transform,
    )


def _output_names(model: keras.Model) -> tuple[str, ...]:
    if len(model.outputs) == 1:
        return ("outputs",)
    structured = isinstance(model.output, dict) and not isinstance(model, keras.Sequential)
    names = tuple(sorted(model.output) if structured else model.output_names)
    if len(set(names)) < len(names) or "error" in names:
        raise ValueError(
            "`model` must have outputs with distinct names, none of them 'error'. "
            f"Received: {', '.join(names)}"
        )
    return names


def _classes(model: keras.Model) -> int | None:
    """The width of the model's one output, if it is a vector."""
    shape = model.outputs[0].shape
    return shape[1] if len(model.outputs) == 1 and len(shape) == 2 else None


def _labels(
    labels: Any, known: Description, width: int | None, scores: str | None
) -> tuple[str, ...] | None:
    """Names of the classes; `None` if the outputs are not known to be class scores."""
    if labels is None:
        if width is None or (known.answers == "values" and scores is None):
            return None
        return known.labels or tuple(map(str, range(width)))
    if isinstance(labels, str):
        labels = [name for _, name in class_names(labels)]
    labels = tuple(labels)
    single = scores == "sigmoid" or known.answers == "independent probabilities"
    counts = (1, 2) if width == 1 and single else (width,)
    if len(labels) not in counts or not all(isinstance(label, str) for label in labels):
        raise ValueError(
            f"`labels` must be {width} names, one per class. Received: {len(labels)} values"
        )
    broken = next((label for label in labels if len(label.splitlines()) > 1), None)
    if broken is not None:
        raise ValueError(f"`labels` must be single-line names. Received: {broken!r}")
    return labels


def transform_of(
    model: keras.Model, preprocessing: Any = None, max_pixels: Any = MAX_PIXELS,
    strict: bool = False,
) -> Transform:  # fmt: skip
    """The preprocessing of a file for the network."""
    positive_integer("max_pixels", max_pixels)
    if isinstance(preprocessing, str):
        preprocessing = get_weights(preprocessing)
    if isinstance(preprocessing, Weights):
        preprocessing = preprocessing.preprocessing
    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        raise ValueError(
            "`preprocessing` must be a set of weights, its name, or a `Preprocessing`. "
            f"Received: preprocessing={preprocessing!r}"
        )
    known = describe(model)
    chosen = preprocessing or known
    height, width = (side or chosen.size or SIZE for side in (known.height, known.width))
    # A mask is of the whole picture.
    pixels = len(model.outputs[0].shape) == 4 and known.answers != "values"
    transform = Transform(
        height, width, known.channels, chosen.crop, chosen.interpolation, max_pixels, strict,
        whole=pixels and preprocessing is None,
    )  # fmt: skip
    least = math.prod(transform.covered)
    if max_pixels < least:
        raise ValueError(
            f"`max_pixels` must be at least {least}, the size after resizing. "
            f"Received: max_pixels={max_pixels}"
        )
    return transform


def any_size(network: ServedNetwork) -> tuple[int | None, ...]:
    """The input shape, with sizes `None` if the network takes any size."""
    channels: Any
    *sizes, channels = network.shape
    other = [2 * n + 1 for n in sizes if n is not None]
    if len(other) < len(sizes):
        return network.shape
    shape = (channels, *other) if network.channels_first else (*other, channels)
    try:
        outputs = trace(network.model, shape).outputs
    except ValueError:
        return network.shape
    same = tuple(outputs[0].shape) == tuple(network.model.outputs[0].shape)
    return (*[None] * len(sizes), channels) if same else network.shape


def with_size(
    shape: tuple[int | None, ...], image_size: Any, batch_size: Any
) -> tuple[int | None, ...]:
    """The input shape with a known size; checks the sizes that `export` was given."""
    if batch_size is not None:
        positive_integer("batch_size", batch_size)
    if image_size is None:
        return shape
    *own, channels = shape
    sizes = image_size if isinstance(image_size, Sequence) else [image_size] * len(own)
    if len(sizes) != len(own):
        raise ValueError(
            f"`image_size` must be an integer or {len(own)} of them. Received: {image_size!r}"
        )
    sizes = tuple(positive_integer("image_size", size) for size in sizes)
    if any(known not in (None, size) for known, size in zip(own, sizes, strict=True)):
        raise ValueError(
            f"`image_size` must be None or {tuple(own)}, the model's own. Received: {image_size!r}"
        )
    return (*sizes, channels)
