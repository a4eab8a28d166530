"""The signature shared by the public builders, and the work around a network's own layers.

Builders first check every argument, then build the graph, then load weights.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import keras
import numpy as np
from keras import layers, ops

from keras_se.checks import boolean, positive_integer, unknown_choice
from keras_se.graph.trace import recursion
from keras_se.labels import has_names
from keras_se.layers import Dense, PictureNormalization, SEConfig
from keras_se.layers._arguments import HALF_PRECISION, get_activation
from keras_se.layers.attention import AttentionConfig
from keras_se.layers.dense import HEAD
from keras_se.models._network import NetworkDescription, channel_axis
from keras_se.models._pretrained import (
    TRAINING_ONLY,
    OwnFile,
    architecture_of,
    check_architecture,
    check_file,
    check_fits,
    check_variant,
    place_file,
    place_set,
    read_own_file,
)
from keras_se.weights.entries import BACKBONE, Weights, resolve_weights

POOLINGS = (None, "avg", "max")
# The identity of this object, not its value, shows that the caller omitted the argument.
DEFAULT_SE = SEConfig()


@dataclass(frozen=True)
class Defaults:
    """Defaults of a family of networks.

    Attributes:
        weights: Default of the `weights` argument.
        classes: Number of classes unless the weights fix it.
        size: Height and width of the default input.
        min_size: Smallest height and width.
        mean: Channel means of the normalisation, in 0..1, RGB order.
        std: Channel standard deviations, in 0..1.
    """

    weights: str | None
    classes: int
    size: int
    min_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Defaults("imagenet", 1000, 224, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Defaults("cifar10", 10, 32, 8, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))

# Families without their own weights: those whose plain network has weights, and the others.
WARM_START = replace(IMAGENET, weights=BACKBONE)
UNTRAINED = replace(IMAGENET, weights=None)
UNTRAINED_CIFAR = replace(CIFAR, weights=None)
NO_WEIGHTS = "No trained weights are published; `weights` defaults to `None`, random values."

DOCSTRING = """{summary}

Args:
    include_top: Whether to end in global average pooling and the classifier. Defaults to `True`.
    weights: `None` for random values; a data set's name, such as `"{dataset}"`, for this network's
        default set for it; `"imagenet_backbone"` for Keras' weights of the plain network, if there
        are any, with the same function at the start; the name or entry of any of this network's
        sets (see `keras_se.list_weights`); or the path of a `.weights.h5` file of the same
        network. A set or file fixes the variant of the network; a file also holds normalisation
        and class names. Defaults to {weights}.
    input_tensor: Keras tensor to use as the input. Defaults to `None`.
    input_shape: Shape of one image, `(H, W, C)` or `(C, H, W)`; H and W may be `None`, even with
        the head, else at least {min_size}. Defaults to the shape of the weights, else
        `({size}, {size}, 3)`, or `(None, None, 3)` without the head. Weights adapt to another
        number of channels: with one channel the network computes the same as the RGB network on
        the grey image repeated in all three; otherwise the first kernels repeat, rescaled.
    pooling: Without the head: `None` for the last feature maps, `"avg"` or `"max"` for a vector.
    classes: Number of classes, with the head. Defaults to those of the weights, else {classes}.
    classifier_activation: Activation of the head; `None` gives logits. Defaults to `"softmax"`.
    include_preprocessing: `True` (default): the input is RGB in 0..255, uint8 or float, and the
        model normalises it. `False`: the input is already preprocessed.
    name: Name of the model. Defaults to `"{name}"`.
    se: `keras_se.SEConfig` of the Squeeze-and-Excitation blocks; `keras_se.ECAConfig` or
        `keras_se.SCSEConfig` for other attention blocks in their places; `None` for the plain
        network. Defaults to the setting of the weights, else `keras_se.SEConfig()`.
    variant: Fields of the network's description that differ from the default; see
        `keras_se.models.{description}`. Defaults to `None`.
{options}
Returns:
    A functional `keras.Model`: `(batch, H, W, C)` or `(batch, C, H, W)` to `(batch, classes)`; a
    float32 output under any policy.

Raises:
    ValueError: If an argument is not one of the above, or pretrained weights do not fit it.

Example:

>>> model = keras_se.{builder}(weights=None, classes=7)
>>> model.output_shape
(None, 7)

Reference:
    {reference}
"""


class Builder(Protocol):
    """A function that builds a network; all networks have the same arguments."""

    __name__: str
    network: NetworkDescription
    defaults: Defaults
    resolve: Callable[..., Weights | Path | None]

    def __call__(
        self,
        include_top: bool = True,
        weights: str | Path | Weights | None = ...,
        input_tensor: Any = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = "softmax",
        include_preprocessing: bool = True,
        name: str = ...,
        *,
        se: AttentionConfig | None = ...,
        variant: Mapping[str, Any] | None = None,
    ) -> keras.Model: ...


def network_builder(
    builder_name: str,
    model_name: str,
    network: NetworkDescription,
    defaults: Defaults,
    *,
    summary: str,
    reference: str,
    options: Mapping[str, str] | None = None,
) -> Builder:
    """Create the public function that builds `network`.

    Args:
        builder_name: Its name.
        model_name: Default name of the models.
        network: The description that it builds by default.
        defaults: Defaults of its family.
        summary: First line of the docstring.
        reference: Last lines of the docstring.
        options: Fields of `network` that become keyword arguments, with their documentation.
    """
    options = options or {}

    def resolve(weights: Any, said: Mapping[str, Any] | None = None) -> Weights | Path | None:
        """Resolve `weights` for a network with the fields `said` fixed."""
        said = {key: value for key, value in (said or {}).items() if key in options}
        assumed = {key: getattr(network, key) for key in options}
        return resolve_weights(weights, builder_name, said, assumed)

    def build(
        include_top: bool = True,
        weights: str | Path | Weights | None = defaults.weights,
        input_tensor: Any = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = "softmax",
        include_preprocessing: bool = True,
        name: str = model_name,
        *,
        se: AttentionConfig | None = DEFAULT_SE,
        variant: Mapping[str, Any] | None = None,
        **chosen: Any,
    ) -> keras.Model:
        for option in chosen.keys() - options.keys():
            raise TypeError(f"{builder_name}() has no argument {option!r}")
        net = network.varied(variant)
        for option in chosen.keys() & (variant or {}).keys():
            raise ValueError(
                f"`{option}` must be given once. "
                f"Received: {option}={chosen[option]!r}, variant={variant!r}"
            )
        said = {**(variant or {}), **chosen}
        net = net.varied(chosen)
        found = resolve(weights, said)
        boolean("include_preprocessing", include_preprocessing)
        _check_head(include_top, pooling, classes, classifier_activation)
        source: Weights | OwnFile | None = None
        if isinstance(found, Weights):
            source = found
            if se is DEFAULT_SE:
                se = source.attention()
            check_fits(source, include_top, classes, classifier_activation, se)
            trained = network.varied(source.variant)
            check_variant(source.name, said, net, trained)
            net = trained.varied({key: said[key] for key in said if key in TRAINING_ONLY})
        elif found is not None:
            source = read_own_file(found)
            trained = network.varied(source.variant)
            check_variant(str(found), said, net, trained)
            net = network.varied({**source.variant, **said})
            if se is DEFAULT_SE and source.se is not None:
                se = AttentionConfig.from_settings(source.se)
        net.check(se)
        if classes is None:
            classes = (source.classes if source is not None else None) or defaults.classes
        architecture = architecture_of(builder_name, network, net, se)
        if isinstance(source, OwnFile):
            check_file(source, include_top, classes)
            check_architecture(source, architecture)
        least = min(defaults.min_size, net.stride or defaults.min_size)
        inputs = _input(input_tensor, input_shape, include_top, source, defaults, least)
        if isinstance(source, Weights):
            source.fetch()

        x = inputs
        if include_preprocessing:
            x = _normalise(x, source, defaults, architecture)
        x = net.feature_maps(x, se)
        meaning = _meaning(source, include_top)
        x = _head(x, net, include_top, pooling, classes, classifier_activation, **meaning)
        if input_tensor is not None:
            inputs = keras.utils.get_source_inputs(input_tensor)
        with recursion(net.depth):
            model = keras.Model(inputs, x, name=name)

        if isinstance(source, Weights):
            place_set(model, net, source, include_top)
        elif source is not None:
            place_file(model, source)
        return model

    build.__name__ = build.__qualname__ = builder_name
    build.__module__ = "keras_se"
    build.network = network  # type: ignore[attr-defined]
    build.defaults = defaults  # type: ignore[attr-defined]
    build.resolve = resolve  # type: ignore[attr-defined]
    build.__doc__ = DOCSTRING.format(
        summary=summary if defaults.weights else f"{summary}\n\n{NO_WEIGHTS}",
        reference=reference, builder=builder_name, name=model_name,
        weights=f'`"{defaults.weights}"`' if defaults.weights else "`None`",
        dataset=defaults.weights or "fashion_mnist", classes=defaults.classes, size=defaults.size,
        min_size=defaults.min_size, description=type(network).__name__,
        options="".join(f"    {key}: {text}\n" for key, text in options.items()),
    )  # fmt: skip
    signature = inspect.signature(build)
    *named, _ = signature.parameters.values()
    own = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=getattr(network, key))
        for key in options
    ]
    build.__signature__ = signature.replace(parameters=[*named, *own])  # type: ignore[attr-defined]
    return cast(Builder, build)


def with_new_head(backbone: keras.Model, net: NetworkDescription, classes: int) -> keras.Model:
    """Add a new head that outputs logits to a network without one.

    Its kernel is zero, so that no gradient reaches the trained layers before the head has learnt
    something (Dosovitskiy et al., arXiv:2010.11929, Section 3.2).
    """
    x = _head(backbone.output, net, True, None, classes, None)
    with recursion(net.depth):
        model = keras.Model(backbone.inputs, x, name=backbone.name)
    kernel = model.get_layer(HEAD).kernel
    kernel.assign(ops.zeros_like(kernel))
    return model


def _check_head(include_top: bool, pooling: Any, classes: Any, activation: Any) -> None:
    boolean("include_top", include_top)
    if pooling not in POOLINGS:
        raise ValueError(unknown_choice("pooling", pooling, POOLINGS))
    if include_top:
        if classes is not None:
            positive_integer("classes", classes)
        get_activation("classifier_activation", activation)


def _input(
    input_tensor: Any, input_shape: Any, include_top: bool, source: Any, defaults: Defaults,
    min_size: int,
) -> Any:  # fmt: skip
    """Return the network's input tensor, with a checked shape."""
    trained_on = source.input_shape if isinstance(source, Weights) else None
    channels = trained_on[-1] if trained_on else 3
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
    first = channel_axis() == 1
    if input_shape is None:
        height, width = (trained_on or (defaults.size,) * 2)[:2] if include_top else (None, None)
        input_shape = (channels, height, width) if first else (height, width, channels)
    layout = "(channels, height, width)" if first else "(height, width, channels)"
    try:
        input_shape = tuple(None if n is None else positive_integer("", n) for n in input_shape)
        *size, count = (*input_shape[1:], input_shape[0]) if first else input_shape
        valid = len(size) == 2 and count is not None
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"`input_shape` must be {layout} with a known number of channels; height and width "
            f"may be None. Received: input_shape={input_shape}"
        )
    if any(n is not None and n < min_size for n in size):
        raise ValueError(
            f"`input_shape` must be at least {min_size} high and wide. "
            f"Received: input_shape={input_shape}"
        )
    return layers.Input(input_shape) if input_tensor is None else input_tensor


def _normalise(
    x: Any, source: Any, defaults: Defaults, architecture: Mapping[str, Any]
) -> Any:  # fmt: skip
    """Normalise the images; the layer stores how to prepare them."""
    order, evaluation = "RGB", dict[str, Any]()
    channels = x.shape[channel_axis()]
    if isinstance(source, Weights):
        statistics = source.preprocessing
        mean, std, order = statistics.mean, statistics.std, statistics.channel_order
        if len(mean) != source.input_shape[-1]:
            # A user's file with another number of channels than its publisher's.
            count = source.input_shape[-1]
            mean, std = (sum(mean) / len(mean),) * count, (sum(std) / len(std),) * count
        if source.dataset:
            evaluation = {
                "size": statistics.size,
                "crop": statistics.crop,
                "interpolation": statistics.interpolation,
            }
    elif isinstance(source, OwnFile) and source.normalization is not None:
        record = {**source.normalization, "architecture": architecture}
        if channels not in (1, len(record["mean"])):
            raise ValueError(
                f"`weights` needs images with {len(record['mean'])} channels. "
                f"Received: images with {channels}, weights={str(source.path)!r}"
            )
        return PictureNormalization(**record, dtype="float32", name="normalization")(x)
    else:
        mean, std = defaults.mean, defaults.std
        if channels != len(mean):
            # There are no statistics for other images, so use the average of the three.
            mean, std = (sum(mean) / 3,) * channels, (sum(std) / 3,) * channels
    if channels not in (1, len(mean)):
        # The first kernels repeat, too.
        mean, std = (tuple(np.resize(values, channels).tolist()) for values in (mean, std))
        order = "RGB"
    return PictureNormalization(
        mean, std, order, **evaluation, architecture=architecture, dtype="float32",
        name="normalization",
    )(x)  # fmt: skip


def _head(
    x: Any, net: NetworkDescription, include_top: bool, pooling: str | None, classes: int,
    activation: Any, labels: str | Sequence[str] | None = None, scores: str | None = None,
) -> Any:  # fmt: skip
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
        return layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x


def _meaning(source: Any, include_top: bool) -> dict[str, Any]:
    """Return the class names and the function from logits to probabilities, if known."""
    if not include_top:
        return {}
    if isinstance(source, OwnFile):
        return {key: source.head.get(key) for key in ("labels", "scores")}
    if isinstance(source, Weights) and source.dataset:
        named = source.dataset.removesuffix("_backbone")
        return {"labels": named if has_names(named) else None, "scores": "softmax"}
    return {}
