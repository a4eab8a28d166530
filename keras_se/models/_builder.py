"""The signature shared by the public builders, and the work around a network's own layers.

Builders first check every argument, then build the graph, then load weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import keras
from keras import ops

from keras_se.checks import boolean
from keras_se.graph.trace import recursion
from keras_se.inflation import inflated
from keras_se.layers import SEConfig
from keras_se.layers.attention import AttentionConfig
from keras_se.layers.dense import HEAD
from keras_se.models._ends import (
    check_head,
    head,
    input_of,
    meaning_of,
    normalise,
    shape_of,
)
from keras_se.models._network import NetworkDescription, channel_axis
from keras_se.models._pretrained import (
    TRAINING_ONLY,
    OwnFile,
    architecture_of,
    check_architecture,
    check_file,
    check_fits,
    check_variant,
    inflates,
    place_file,
    place_set,
    read_own_file,
)
from keras_se.weights.entries import BACKBONE, Weights, resolve_weights


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
        se: Default of the `se` argument. The identity of this object, not its value, shows that
            the caller omitted the argument.
    """

    weights: str | None
    classes: int
    size: int
    min_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    se: AttentionConfig = SEConfig()  # noqa: RUF009 (it is frozen)


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
        the head, else at least {min_size}.{ranks} Defaults to the shape of the weights, else
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
        network. Defaults to the setting of the weights, else `keras_se.{se}`.
    variant: Fields of the network's description that differ from the default; see
        `keras_se.models.{description}`. Defaults to `None`.
{options}
Returns:
    A functional `keras.Model` from `(batch, *input_shape)` to `(batch, classes)`; a float32 output
    under any policy.

Raises:
    ValueError: If an argument is not one of the above, or pretrained weights do not fit it.

Example:

>>> model = keras_se.{builder}(weights=None, classes=7)
>>> model.output_shape
(None, 7)

Reference:
    {reference}
"""


# Continues the documentation of `input_shape`.
RANKS = """ `(length, C)` makes a network of 1-D
        layers for signals, `(depth, H, W, C)` one of 3-D layers for volumes; a 3x3 kernel becomes
        3 or 3x3x3. Weights for images inflate to volumes, see `keras_se.inflate`; signals need
        `weights=None`, and mostly `include_preprocessing=False`."""


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
        input_shape: tuple[int | None, ...] | None = None,
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
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = "softmax",
        include_preprocessing: bool = True,
        name: str = model_name,
        *,
        se: AttentionConfig | None = defaults.se,
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
        check_head(include_top, pooling, classes, classifier_activation)
        shape = shape_of(input_tensor, input_shape, builder_name, net.ranks)
        source: Weights | OwnFile | None = None
        asked_se = se
        if isinstance(found, Weights):
            source = found
            if se is defaults.se:
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
            if se is defaults.se and source.se is not None:
                se = AttentionConfig.from_settings(source.se)
        net.check(se)
        if classes is None:
            classes = (source.classes if source is not None else None) or defaults.classes
        architecture = architecture_of(builder_name, network, net, se)
        if isinstance(source, OwnFile):
            check_file(source, include_top, classes)
            check_architecture(source, architecture)
        least = min(defaults.min_size, net.stride or defaults.min_size)
        length = min(least, net.min_length or least)
        inputs = input_of(input_tensor, shape, include_top, source, defaults, least, length)
        if inflates(source, shape):
            images = (shape[0], *shape[2:]) if channel_axis() == 1 else shape[1:]
            plane = build(
                include_top, found, None, images, pooling, classes, classifier_activation,
                include_preprocessing, name, se=asked_se, variant=variant, **chosen,
            )  # fmt: skip
            return inflated(plane, inputs)
        if isinstance(source, Weights):
            source.fetch()

        x = inputs
        if include_preprocessing:
            x = normalise(x, source, defaults, architecture)
        x = net.feature_maps(x, se)
        meaning = meaning_of(source, include_top)
        x = head(x, net, include_top, pooling, classes, classifier_activation, **meaning)
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
    vars(build).update(network=network, defaults=defaults, resolve=resolve)
    build.__doc__ = DOCSTRING.format(
        summary=summary if defaults.weights else f"{summary}\n\n{NO_WEIGHTS}",
        reference=reference, builder=builder_name, name=model_name,
        weights=f'`"{defaults.weights}"`' if defaults.weights else "`None`",
        dataset=defaults.weights or "fashion_mnist", classes=defaults.classes, size=defaults.size,
        min_size=defaults.min_size, se=defaults.se, description=type(network).__name__,
        ranks="" if network.ranks == (2,) else RANKS,
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
    x = head(backbone.output, net, True, None, classes, None)
    with recursion(net.depth):
        model = keras.Model(backbone.inputs, x, name=backbone.name)
    kernel = model.get_layer(HEAD).kernel
    kernel.assign(ops.zeros_like(kernel))
    return model
