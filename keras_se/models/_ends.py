"""The input, the normalisation and the head of a network."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers

from keras_se.checks import boolean, one_of, positive_integer
from keras_se.labels import has_names
from keras_se.layers import Dense, PictureNormalization
from keras_se.layers._arguments import HALF_PRECISION, get_activation
from keras_se.layers.dense import HEAD
from keras_se.models._network import NetworkDescription, channel_axis, global_pool
from keras_se.models._pretrained import OwnFile
from keras_se.weights.entries import Weights

if TYPE_CHECKING:
    from keras_se.models._builder import Defaults

POOLINGS = (None, "avg", "max")
# By the number of spatial axes.
AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
EXTENTS = {
    1: "{0} long",
    2: "{1} high and wide",
    3: "{0} deep and at least {1} high and wide",
}


def check_head(include_top: bool, pooling: Any, classes: Any, activation: Any) -> None:
    """Raise a `ValueError` unless the arguments of the head are valid."""
    boolean("include_top", include_top)
    one_of(*POOLINGS)("pooling", pooling)
    if include_top:
        if classes is not None:
            positive_integer("classes", classes)
        get_activation("classifier_activation", activation)


def shape_of(input_tensor: Any, input_shape: Any, builder: str, ranks: Sequence[int]) -> Any:
    """Return the checked shape of the input without the batch; `None` if neither is given."""
    if input_tensor is not None:
        if not keras.utils.is_keras_tensor(input_tensor):
            raise ValueError(
                "`input_tensor` must be a Keras tensor such as `keras.Input(...)`. "
                f"Received: {type(input_tensor).__name__}"
            )
        shape = tuple(input_tensor.shape[1:])
        same = isinstance(input_shape, list | tuple) and tuple(input_shape) == shape
        if input_shape is not None and not same:
            raise ValueError(
                f"`input_shape` must be that of `input_tensor`, {shape}. "
                f"Received: input_shape={input_shape}"
            )
        input_shape = shape
    if input_shape is None:
        return None
    first = channel_axis() == 1
    try:
        shape = tuple(None if n is None else positive_integer("", n) for n in input_shape)
        channels, rank = shape[0 if first else -1], len(shape) - 1
    except (TypeError, ValueError, IndexError):
        channels, rank = None, 0
    if channels is None or rank not in ranks:
        named = [("channels", *AXES[n]) if first else (*AXES[n], "channels") for n in ranks]
        forms = " or ".join(f"({', '.join(names)})" for names in named)
        raise ValueError(
            f"`input_shape` of {builder} must be {forms} with a known number of channels; the "
            f"others may be None. Received: input_shape={input_shape}"
        )
    return shape


def input_of(
    input_tensor: Any, shape: Any, include_top: bool, source: Any, defaults: Defaults,
    min_size: int, min_length: int,
) -> Any:  # fmt: skip
    """Return the network's input tensor; `shape` comes from `shape_of`."""
    default = (defaults.size, defaults.size, 3)
    first = channel_axis() == 1
    if shape is None:
        *sizes, channels = source.input_shape if isinstance(source, Weights) else default
        sizes = sizes if include_top else [None] * len(sizes)
        shape = (channels, *sizes) if first else (*sizes, channels)
    sizes = shape[1:] if first else shape[:-1]
    least = [min_size] * len(sizes)
    if len(sizes) != 2:
        least[0] = min_length
    if any(n is not None and n < m for n, m in zip(sizes, least, strict=True)):
        raise ValueError(
            f"`input_shape` must be at least {EXTENTS[len(sizes)].format(min_length, min_size)}. "
            f"Received: input_shape={shape}"
        )
    return layers.Input(shape) if input_tensor is None else input_tensor


def normalise(x: Any, source: Any, defaults: Defaults, architecture: Mapping[str, Any]) -> Any:
    """Normalise the images; the layer stores how to prepare them."""
    channels = trained_on = x.shape[channel_axis()]
    record: dict[str, Any] = {"mean": defaults.mean, "std": defaults.std}
    if isinstance(source, OwnFile) and source.normalization is not None:
        record = source.normalization
        trained_on = len(record["mean"])
        if channels not in (1, trained_on):
            raise ValueError(
                f"`weights` needs images with {trained_on} channels. "
                f"Received: images with {channels}, weights={str(source.path)!r}"
            )
    elif isinstance(source, Weights):
        statistics, trained_on = source.preprocessing, source.input_shape[-1]
        record = {key: getattr(statistics, key) for key in ("mean", "std", "channel_order")}
        if source.dataset:
            for key in ("size", "crop", "interpolation"):
                record[key] = getattr(statistics, key)
    mean, std = record["mean"], record["std"]
    if len(mean) != trained_on:
        # There are no statistics for so many channels, so use the average.
        mean, std = ((sum(values) / len(values),) * trained_on for values in (mean, std))
    if channels not in (1, len(mean)):
        # The first kernels repeat, too.
        mean, std = (tuple(np.resize(values, channels).tolist()) for values in (mean, std))
        record["channel_order"] = "RGB"
    record = {**record, "mean": mean, "std": std, "architecture": architecture}
    return PictureNormalization(**record, dtype="float32", name="normalization")(x)


def head(
    x: Any, net: NetworkDescription, include_top: bool, pooling: str | None, classes: int,
    activation: Any, labels: str | Sequence[str] | None = None, scores: str | None = None,
) -> Any:  # fmt: skip
    """Build the classifier or the pooling, if any, on the last feature maps."""
    if include_top:
        x = net.vector(x)
        half = keras.config.dtype_policy().compute_dtype in HALF_PRECISION
        return Dense(
            operator.index(classes),
            activation=activation,
            dtype="float32" if half else None,
            labels=labels,
            scores=scores,
            name=HEAD,
        )(x)
    if pooling == "avg":
        return global_pool(x, "Average", "avg_pool")
    if pooling == "max":
        return global_pool(x, "Max", "max_pool")
    return x


def meaning_of(source: Any, include_top: bool) -> dict[str, Any]:
    """Return the class names and the function from logits to probabilities, if known."""
    if not include_top:
        return {}
    if isinstance(source, OwnFile):
        return {key: source.head.get(key) for key in ("labels", "scores")}
    if isinstance(source, Weights) and source.dataset:
        named = source.dataset.removesuffix("_backbone")
        return {"labels": named if has_names(named) else None, "scores": "softmax"}
    return {}
