"""The public builders' one signature, and what they do around a network's own layers.

Order of work: every argument is checked first, then the graph is built, then weights are placed.
"""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import keras
from keras import layers, ops

from keras_se.checks import boolean, positive_integer, unknown_choice
from keras_se.config import SEConfig
from keras_se.graph import recursion
from keras_se.layers.squeeze_excite import HALF_PRECISION, get_activation
from keras_se.models._network import NetworkDescription, channel_axis
from keras_se.surgery import NEUTRAL_GATES, start_neutral
from keras_se.weights.entries import Weights, resolve_weights
from keras_se.weights.variable_file import named_variables, place_variables

POOLINGS = (None, "avg", "max")
PRETRAINED_ACTIVATIONS = ("softmax", None)
HEAD = "predictions"


@dataclass(frozen=True)
class Defaults:
    """What a family of networks assumes when it is not told.

    Attributes:
        weights: Default of the `weights` argument.
        classes: Default of the `classes` argument.
        size: Height and width of the default input.
        min_size: Smallest height and width.
        mean: Channel means of the normalisation, in 0..1, RGB order.
        std: Channel standard deviations, in 0..1.
    """

    weights: str
    classes: int
    size: int
    min_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Defaults("imagenet", 1000, 224, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Defaults("cifar10", 10, 32, 8, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))

DOCSTRING = """{summary}

Args:
    include_top: Whether to end in global average pooling and the classifier. Defaults to `True`.
    weights: `None` for random values, a data set's name (`"{weights}"`: this network's default set
        for it; `"imagenet_backbone"`: those of the plain network where Keras has some, with the
        same function at the start), the name or entry of any of this network's sets (see
        `keras_se.list_weights`), or the path of a `.weights.h5` file of the same network. A set
        fixes the variant of the network that it was trained with; such a file says nothing of
        variant and normalisation, so repeat them or save `.keras` files. Defaults to `"{weights}"`.
    input_tensor: Keras tensor to use as the input. Defaults to `None`.
    input_shape: Shape of one picture, `(H, W, C)` or `(C, H, W)`; H and W may be `None`, also with
        the head, else at least {min_size}. Defaults to the shape of the weights, else
        `({size}, {size}, 3)`, or `(None, None, 3)` without the head.
    pooling: Without the head: `None` for the last feature maps, `"avg"` or `"max"` for a vector.
    classes: Number of classes, with the head. Defaults to {classes}.
    classifier_activation: Activation of the head; `None` gives logits. Defaults to `"softmax"`.
    include_preprocessing: `True` (default): takes RGB in 0..255, uint8 or float, and normalises
        inside. `False`: takes what the network itself takes.
    name: Name of the model. Defaults to `"{name}"`.
    se: `keras_se.SEConfig` of the Squeeze-and-Excitation blocks, or `None` for the plain network.
    variant: Fields of the network's description in which it differs from the default; see
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
    resolve: Callable[[Any, NetworkDescription], Weights | Path | None]

    def __call__(
        self,
        include_top: bool = True,
        weights: str | Path | Weights | None = ...,
        input_tensor: Any = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int = ...,
        classifier_activation: str | Callable[[Any], Any] | None = "softmax",
        include_preprocessing: bool = True,
        name: str = ...,
        *,
        se: SEConfig | None = ...,
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
    """The public function that builds `network`.

    Args:
        builder_name: Its name.
        model_name: Default name of the models.
        network: What it builds by default.
        defaults: What its family assumes.
        summary: First line of the docstring.
        reference: Last lines of the docstring.
        options: Fields of `network` that are keyword arguments of their own, with what the
            docstring says of them.
    """
    options = options or {}

    def resolve(weights: Any, net: NetworkDescription) -> Weights | Path | None:
        """What `weights` stands for in a network that is described so."""
        return resolve_weights(weights, builder_name, {key: getattr(net, key) for key in options})

    def build(
        include_top: bool = True,
        weights: str | Path | Weights | None = defaults.weights,
        input_tensor: Any = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int = defaults.classes,
        classifier_activation: str | Callable[[Any], Any] | None = "softmax",
        include_preprocessing: bool = True,
        name: str = model_name,
        *,
        se: SEConfig | None = SEConfig(),  # noqa: B008
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
        net = net.varied(chosen)
        source = resolve(weights, net)
        boolean("include_preprocessing", include_preprocessing)
        _check_head(include_top, pooling, classes, classifier_activation)
        if isinstance(source, Weights):
            _check_fits(source, include_top, classes, classifier_activation, se)
            trained = network.varied(source.variant)
            _check_variant(source, {**(variant or {}), **chosen}, net, trained)
            net = trained
        net.check(se)
        least = min(defaults.min_size, net.stride or defaults.min_size)
        inputs = _input(input_tensor, input_shape, include_top, source, defaults, least)
        if isinstance(source, Weights):
            source.fetch()

        x = _normalise(inputs, source, defaults) if include_preprocessing else inputs
        x = net.feature_maps(x, se)
        x = _head(x, net, include_top, pooling, classes, classifier_activation)
        if input_tensor is not None:
            inputs = keras.utils.get_source_inputs(input_tensor)
        with recursion(net.depth):
            model = keras.Model(inputs, x, name=name)

        if isinstance(source, Weights):
            shapes = _shapes(model, net, source.classes)
            added = {name for name in shapes if net.is_added(name)} if source.plain else set()
            shapes = {name: shape for name, shape in shapes.items() if name not in added}
            with source.arrays(shapes) as arrays:
                place_variables(model, arrays, () if include_top else (HEAD,), added)
            if added:
                start_neutral(model, {name.split("/")[0] for name in added})
            model.trained_weights = source
        elif isinstance(source, Path):
            _load_weights(model, source)
        return model

    build.__name__ = build.__qualname__ = builder_name
    build.__module__ = "keras_se"
    build.network = network  # type: ignore[attr-defined]
    build.defaults = defaults  # type: ignore[attr-defined]
    build.resolve = resolve  # type: ignore[attr-defined]
    build.__doc__ = DOCSTRING.format(
        summary=summary, reference=reference, builder=builder_name, name=model_name,
        weights=defaults.weights, classes=defaults.classes, size=defaults.size,
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
    """A network without a head, given one for other classes: logits out.

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
        positive_integer("classes", classes)
        get_activation("classifier_activation", activation)


def _check_fits(
    entry: Weights, include_top: bool, classes: int, activation: Any, se: SEConfig | None
) -> None:  # fmt: skip
    """Raise a `ValueError` unless a network with these arguments can hold these weights."""
    if include_top and not entry.classes:
        raise ValueError(
            f"weights={entry.name!r} has no classifier; use include_top=False. "
            "Received: include_top=True"
        )
    if include_top and classes != entry.classes:
        raise ValueError(
            f"weights={entry.name!r} with `include_top=True` has {entry.classes} classes. "
            f"Received: classes={classes}"
        )
    # A user's own checkpoint, which is of no known data set, may have been trained with any.
    if include_top and entry.dataset and activation not in PRETRAINED_ACTIVATIONS:
        raise ValueError(
            "With pretrained weights and `include_top=True`, `classifier_activation` must be "
            f"'softmax' or None. Received: classifier_activation={activation!r}"
        )
    if entry.plain:
        if se is not None and se.gate not in NEUTRAL_GATES:
            raise ValueError(
                f"weights={entry.name!r} needs a gate that is one half at zero, one of "
                f"{NEUTRAL_GATES}. Received: se={se!r}"
            )
        # On the way of a shortcut nothing can make up for the gates.
        if se is not None and se.placement in ("post", "identity"):
            raise ValueError(
                f"weights={entry.name!r} needs `placement` to be 'standard', 'pre' or 'conv3x3'. "
                f"Received: placement={se.placement!r}"
            )
    elif se != SEConfig():
        raise ValueError(
            f"weights={entry.name!r} was trained with se=SEConfig(); use weights=None for another "
            f"one. Received: se={se!r}"
        )


def _check_variant(
    entry: Weights, names: Iterable[str], asked: NetworkDescription, trained: NetworkDescription
) -> None:
    """Raise a `ValueError` if a field differs from what the weights were trained with."""
    for name in names:
        if getattr(trained, name) != getattr(asked, name):
            raise ValueError(
                f"weights={entry.name!r} fixes the variant of the network "
                f"({name}={getattr(trained, name)!r}); use weights=None for another one. "
                f"Received: {name}={getattr(asked, name)!r}"
            )


def _shapes(
    model: keras.Model, net: NetworkDescription, classes: int
) -> dict[str, tuple[int, ...]]:
    """The variables of the network with its head, which `model` may lack."""
    head = {f"{HEAD}/kernel": (net.features, classes), f"{HEAD}/bias": (classes,)}
    shapes = {name: tuple(variable.shape) for name, variable in named_variables(model).items()}
    return shapes | head if classes else shapes


def _load_weights(model: keras.Model, path: Path) -> None:
    """Keras' own `load_weights`, its complaints about another network's file in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{model.name}: `weights` must be an undamaged .weights.h5 file of the same network. "
            f"Received: weights={str(path)!r} ({reason})"
        ) from None


def _input(
    input_tensor: Any, input_shape: Any, include_top: bool, source: Any, defaults: Defaults,
    min_size: int,
) -> Any:  # fmt: skip
    """The network's input tensor, its shape checked."""
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
    if trained_on and count != channels:
        raise ValueError(
            f"weights={source.name!r} takes {channels} channel(s). "
            f"Received: input_shape={input_shape}"
        )
    return layers.Input(input_shape) if input_tensor is None else input_tensor


def _normalise(x: Any, source: Any, defaults: Defaults) -> Any:
    statistics = source.preprocessing if isinstance(source, Weights) else defaults
    mean, std = statistics.mean, statistics.std
    channels = x.shape[channel_axis()]
    if len(mean) != channels:
        # No statistics are known for other than RGB: the average of the three stands for each.
        mean, std = (sum(mean) / 3,) * channels, (sum(std) / 3,) * channels
    x = layers.Normalization(
        axis=channel_axis(),
        mean=[255 * value for value in mean],
        variance=[(255 * value) ** 2 for value in std],
        dtype="float32",
        name="normalization",
    )(x)
    # Caffe's networks take blue first.
    order = source.preprocessing.channel_order if isinstance(source, Weights) else "RGB"
    return ops.flip(x, channel_axis()) if order == "BGR" else x


def _head(
    x: Any, net: NetworkDescription, include_top: bool, pooling: str | None, classes: int,
    activation: Any,
) -> Any:  # fmt: skip
    if include_top:
        x = net.vector(x)
        half = keras.config.dtype_policy().compute_dtype in HALF_PRECISION
        return layers.Dense(
            operator.index(classes),
            activation=activation,
            dtype="float32" if half else None,
            name=HEAD,
        )(x)
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x
