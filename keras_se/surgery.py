"""Squeeze-and-Excitation for a network that has none, without a change of its function.

A new block's last kernel and biases are zero, so that its gate is one half everywhere and still has
a gradient; the factor of two goes into a linear operation beside it. Powers of two are exact in
floating point: the network's outputs are the same bits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.checks import unknown_choice
from keras_se.config import SEConfig
from keras_se.graph import Call, Graph, is_functional, recursion, trace
from keras_se.layers import SqueezeExcite

# Gates that are one half at zero.
NEUTRAL_GATES = ("sigmoid", "hard_sigmoid")

CONVOLUTIONS = (
    layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
FULLY_CONNECTED = (layers.Dense, layers.EinsumDense)
WEIGHTED = (*CONVOLUTIONS, *DEPTHWISE, *FULLY_CONNECTED)
NORMALISATIONS = (
    layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization,
)  # fmt: skip

# f(2 x) = 2 f(x), of one tensor. Some are known by name only: bare operations, and layers
# inside keras.applications.
RESHAPING = {
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "MaxPooling1D", "MaxPooling2D",
    "MaxPooling3D", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D",
    "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D",
    "UpSampling1D", "UpSampling2D", "UpSampling3D", "Flatten", "Reshape", "Permute", "Identity",
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "LayerScale",
    "StochasticDepth",
}  # fmt: skip
RECTIFIERS = {"LeakyReLU", "PReLU", "Relu", "LeakyRelu"}
ADDITIONS = {"Add", "CustomScaleLayer"}
LINEAR = keras.activations.linear
HOMOGENEOUS = (LINEAR, keras.activations.relu, keras.activations.leaky_relu)

Where = Iterable[str] | str | re.Pattern[str] | Callable[[Any], bool] | None


def add_squeeze_excite(
    model: keras.Model,
    where: Where = None,
    se: SEConfig = SEConfig(),  # noqa: B008
    name: str | None = None,
) -> keras.Model:
    """A copy of a CNN with Squeeze-and-Excitation, whose function is the same at the start.

    The copy has its own weights, with the values of the model's; the model stays as it was. Each
    new block `<layer>_se` has gates of exactly one half, whose gradient is alive; the factor of
    two is in the kernel and bias of a convolution beside it, or in the scale and offset of a
    normalisation (a BatchNorm without a scale is given one). In float32 the outputs of the copy
    are the same bits, as long as the backend computes operations one by one.

    Args:
        model: A functional or built Sequential model, channels first or last, with any number
            of inputs and outputs; it may hold nested models and shared layers.
        where: Behind which layers: `None` (default), behind the last linear convolution or
            normalisation of every residual branch, or, in a model without residual branches,
            behind every convolution with its normalisation and ReLU, depthwise ones excepted;
            a list of layer names, a regular expression that is searched for in the names, or a
            function from layers to booleans. The name of a layer in a nested model is
            `"nested/layer"`, and `"layer"` alone will do. A layer that is called several times
            shares its block among its calls.
        se: Settings of the blocks; gate `"sigmoid"` or `"hard_sigmoid"`, placement `"standard"`,
            stages `None`, since the places are those of `where`. Defaults to `SEConfig()`.
        name: Name of the copy. Defaults to `se_` and the model's name.

    Returns:
        A functional `keras.Model`, not compiled, with the inputs and outputs of `model`.

    Raises:
        ValueError: If the model is not functional; if `where` finds no layer, or one behind which
            a block cannot be put or has no linear operation beside it; if `ratio` exceeds a
            layer's channels; if `se` is none of the above.

    Example:

    >>> plain = keras.applications.MobileNetV2(weights=None)
    >>> model = keras_se.add_squeeze_excite(plain)
    >>> sum(isinstance(layer, keras_se.SqueezeExcite) for layer in model.layers)
    10

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 3.3.
    """
    if not isinstance(se, SEConfig):
        raise ValueError(f"`se` must be a `keras_se.SEConfig`. Received: se={se!r}")
    if se.gate not in NEUTRAL_GATES:
        raise ValueError(
            f"`gate` must be one of {NEUTRAL_GATES}, which are one half at zero. "
            f"Received: gate={se.gate!r}"
        )
    if se.placement != "standard" or se.stages is not None:
        raise ValueError(
            "`se` must have placement='standard' and stages=None: `where` says where. "
            f"Received: se={se!r}"
        )
    plan = _Plan(model)
    _choose(plan, where)
    for scope in plan.scopes.values():
        for place in scope.places:
            _check_place(scope, place, se)
    plan.weigh()
    with recursion(sum(len(scope.graph.calls) for scope in plan.scopes.values())):
        return _copy(plan, model, name or f"se_{model.name}", se)


def start_neutral(model: keras.Model, names: Collection[str]) -> None:
    """Make the `SqueezeExcite` layers of these names a multiplication by one.

    The gates become one half and the factor of two goes into a linear operation beside each
    block, as with `add_squeeze_excite`: the model computes what it would without its blocks.

    Raises:
        ValueError: If there is no such operation beside a block.
    """
    plan = _Plan(model)
    scope = plan.scopes[id(model)]
    called = dict.fromkeys(call.layer for call in scope.graph.calls)
    scope.places = [x for x in called if isinstance(x, SqueezeExcite) and x.name in names]
    plan.weigh()
    for layer, _ in plan.powers:
        if isinstance(layer, NORMALISATIONS) and layer.gamma is None:
            raise ValueError(
                "`model` must have a scale in every normalisation beside a block. "
                f"Received: layer {layer.name!r}"
            )
    for (layer, part), power in plan.powers.items():
        _multiply(layer, part, 2.0**power)
    for block in scope.places:
        _make_neutral(block)


@dataclass(eq=False)
class _Scope:
    """One functional model, the given one or a nested one.

    Attributes:
        path: Its name within the given model, with a slash, or "".
        graph: Its graph.
        places: The layers that a block follows, or the blocks themselves where there are any.
    """

    path: str
    graph: Graph
    places: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.producers = {id(x): call for call in self.graph.calls for x in call.outputs}
        self.consumers: dict[int, list[Call]] = {}
        for call in self.graph.calls:
            for x in call.inputs:
                self.consumers.setdefault(id(x), []).append(call)
        self.outputs = {id(x) for x in self.graph.outputs}
        formats = {getattr(call.layer, "data_format", None) for call in self.graph.calls} - {None}
        default = keras.config.image_data_format()
        self.data_format = formats.pop() if len(formats) == 1 else default

    def calls_of(self, layer: Any) -> list[Call]:
        return [call for call in self.graph.calls if call.layer is layer]

    def axis(self, x: Any) -> int:
        return 1 if self.data_format == "channels_first" else len(x.shape) - 1

    def only_use(self, x: Any, call: Call) -> bool:
        return self.consumers.get(id(x)) == [call] and id(x) not in self.outputs


class _Plan:
    """Where blocks go, and which weights take their factors of two.

    Attributes:
        scopes: The given model and the nested ones, by their identity.
        powers: The power of two for `(layer, "all")`, all its weights, or `(layer, "kernel")`.
    """

    def __init__(self, model: keras.Model) -> None:
        self.root = model
        self.scopes: dict[int, _Scope] = {}
        self.powers: Counter[tuple[Any, str]] = Counter()
        self._look_into(model, "")
        self._uses = Counter(
            id(call.layer) for scope in self.scopes.values() for call in scope.graph.calls
        )

    def _look_into(self, model: keras.Model, path: str) -> None:
        if id(model) in self.scopes:
            return
        scope = self.scopes[id(model)] = _Scope(path, trace(model))
        for call in scope.graph.calls:
            if is_functional(call.layer):
                self._look_into(call.layer, f"{path}{call.layer.name}/")

    def weigh(self) -> None:
        """Find the weights beside every block."""
        for scope in self.scopes.values():
            for place in scope.places:
                found = self.beside(scope, place)
                if found is None:
                    raise ValueError(
                        "`where` must name layers with a convolution or normalisation beside them "
                        "that can take a factor of two, with nothing but ReLU and pooling between. "
                        f"Received: layer {scope.path}{place.name!r}"
                    )
                self.powers.update(found)

    def beside(self, scope: _Scope, place: Any) -> set[tuple[Any, str]] | None:
        """The weights whose doubling doubles what comes out of `place`; `None` if there are none.

        Those before it, else those behind it.
        """
        block = isinstance(place, SqueezeExcite)
        calls = scope.calls_of(place)
        before = [call.inputs[0] if block else call.outputs[0] for call in calls]
        if block and not all(scope.only_use(x, c) for x, c in zip(before, calls, strict=True)):
            before = []
        for search, tensors in (
            (_before, before),
            (_behind, [call.outputs[0] for call in calls]),
        ):
            found: set[tuple[Call, str]] = set()
            if tensors and all(search(scope, x, found) for x in tensors):
                # A layer with further calls would change them, too.
                uses = Counter(id(call.layer) for call, _ in found)
                if all(self._uses[identity] == count for identity, count in uses.items()):
                    return {(call.layer, part) for call, part in found}
        return None


def _before(scope: _Scope, x: Any, found: set[tuple[Call, str]]) -> bool:
    """Add to `found` the calls whose weights, doubled, double `x`; False if there are none."""
    call = scope.producers.get(id(x))
    if call is None:
        return False
    layer = call.layer
    if isinstance(layer, NORMALISATIONS) or (
        isinstance(layer, WEIGHTED) and layer.activation in HOMOGENEOUS and _plain(layer)
    ):
        found.add((call, "all"))
        return _can_scale(layer)
    inputs = call.inputs
    if not (_homogeneous(call) or isinstance(layer, layers.Concatenate | layers.Add)):
        return False
    return all(scope.only_use(y, call) and _before(scope, y, found) for y in inputs)


def _behind(scope: _Scope, x: Any, found: set[tuple[Call, str]]) -> bool:
    """Add to `found` the calls whose kernels, doubled, make up for `x` halved."""
    consumers = scope.consumers.get(id(x), [])
    if id(x) in scope.outputs or not consumers:
        return False
    for call in consumers:
        if isinstance(call.layer, WEIGHTED) and _plain(call.layer):
            found.add((call, "kernel"))
        elif not _homogeneous(call) or not _behind(scope, call.outputs[0], found):
            return False
    return True


def _homogeneous(call: Call) -> bool:
    layer, kind = call.layer, type(call.layer).__name__
    if len(call.inputs) != 1 or len(call.outputs) != 1:
        return False
    if isinstance(layer, layers.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, layers.Activation):
        return layer.activation in HOMOGENEOUS
    if isinstance(layer, layers.Rescaling):
        return not np.any(layer.offset)
    return kind in RESHAPING | RECTIFIERS


def _plain(layer: Any) -> bool:
    """Whether the layer's kernel is a variable that can be multiplied."""
    return not (getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))


def _can_scale(layer: Any) -> bool:
    """Whether the layer has weights that scale its output, or can be given some."""
    if not isinstance(layer, NORMALISATIONS) or isinstance(layer, layers.BatchNormalization):
        return True
    return layer.gamma is not None


def _multiply(layer: Any, part: str, factor: float) -> None:
    if isinstance(layer, NORMALISATIONS):
        variables = [layer.gamma, layer.beta]
    elif isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        behind = part == "kernel"
        variables = [layer.depthwise_kernel] if behind else [layer.pointwise_kernel, layer.bias]
    else:
        variables = [layer.kernel] if part == "kernel" else [layer.kernel, layer.bias]
    for variable in variables:
        if variable is not None:
            variable.assign(variable * factor)


def _make_neutral(block: SqueezeExcite) -> None:
    """Gates of one half, with a gradient whatever the block's input is.

    The kernel's columns come in pairs of opposite sign, so that one of each pair is not cut off
    by a ReLU. A single hidden unit starts from its bias.
    """
    kernel = np.asarray(keras.ops.convert_to_numpy(block.reduce_kernel)).copy()
    pairs = kernel.shape[1] // 2
    kernel[:, pairs : 2 * pairs] = -kernel[:, :pairs]
    if block.reduce_bias is not None:
        single = kernel.shape[1] == 1
        if single:
            kernel[:] = 0
        block.reduce_bias.assign(np.full(block.reduce_bias.shape, float(single), "float32"))
    block.reduce_kernel.assign(kernel)
    block.expand_kernel.assign(np.zeros(block.expand_kernel.shape))
    if block.expand_bias is not None:
        block.expand_bias.assign(np.zeros(block.expand_bias.shape))


def _choose(plan: _Plan, where: Where) -> None:
    """Set the places of every model."""
    scopes = plan.scopes.values()
    if where is None:
        for search in (_branch_ends, _block_ends):
            for scope in scopes:
                for candidates in search(scope):
                    fit = (layer for layer in candidates if plan.beside(scope, layer))
                    place = next(fit, None)
                    if place is not None and place not in scope.places:
                        scope.places.append(place)
            if any(scope.places for scope in scopes):
                return
        raise ValueError(
            "`model` must have a convolution that Squeeze-and-Excitation can follow. "
            f"Received: model {plan.root.name!r}"
        )
    names = {
        f"{scope.path}{call.layer.name}": (scope, call.layer)
        for scope in scopes
        for call in scope.graph.calls
    }
    for scope, layer in _chosen(names, where):
        scope.places.append(layer)


def _chosen(names: dict[str, tuple[_Scope, Any]], where: Any) -> Iterable[tuple[_Scope, Any]]:
    """The entries of `names` that `where` stands for."""
    if callable(where):
        found = {name for name, (_, layer) in names.items() if where(layer)}
        if not found:
            raise ValueError(f"`where` must be true of a layer. Received: where={where!r}")
    elif isinstance(where, str | re.Pattern):
        try:
            found = {name for name in names if re.search(where, name)}
        except re.error as error:
            raise ValueError(
                f"`where` must be a regular expression. Received: where={where!r} ({error})"
            ) from None
        if not found:
            raise ValueError(
                f"`where` must match the name of a layer. Received: where={where!r}, which matches "
                f"none of {', '.join(list(names)[:5])} and so on"
            )
    else:
        found = set()
        for wanted in where if isinstance(where, Iterable) else [where]:
            same = [name for name in names if wanted in (name, name.rsplit("/", 1)[-1])]
            if not same:
                raise ValueError(unknown_choice("where", wanted, names))
            found.update(same)
        if not found:
            raise ValueError(f"`where` must name a layer. Received: where={where!r}")
    return [names[name] for name in names if name in found]


def _branch_ends(scope: _Scope) -> Iterable[list[Any]]:
    """The last linear layer of every residual branch: of the inputs of a sum the one with the
    most convolutions of its own.
    """
    before: dict[int, int] = {}  # The calls before each tensor, as bits.
    weighted = 0
    for number, call in enumerate(scope.graph.calls):
        bits = 1 << number
        if isinstance(call.layer, WEIGHTED):
            weighted |= bits
        for x in call.inputs:
            bits |= before.get(id(x), 0)
        before.update((id(x), bits) for x in call.outputs)
    for call in scope.graph.calls:
        inputs = call.inputs
        if type(call.layer).__name__ not in ADDITIONS or len(inputs) < 2:
            continue
        if len(inputs[0].shape) < 3 or any(x.shape != inputs[0].shape for x in inputs):
            continue
        lengths = []
        for x in inputs:
            others = 0
            for y in inputs:
                others |= before.get(id(y), 0) if y is not x else 0
            lengths.append((before.get(id(x), 0) & ~others & weighted).bit_count())
        if max(lengths):
            longest = max(range(len(inputs)), key=lambda n: (lengths[n], n))
            layer = _last_linear(scope, inputs[longest])
            if layer is not None:
                yield [layer]


def _last_linear(scope: _Scope, x: Any) -> Any:
    """The convolution or normalisation that `x` comes from without a nonlinearity."""
    while call := scope.producers.get(id(x)):
        layer = call.layer
        if isinstance(layer, NORMALISATIONS):
            return layer
        if isinstance(layer, WEIGHTED):
            return layer if layer.activation is LINEAR else None
        if not _homogeneous(call) or _rectifies(layer):
            return None
        x = call.inputs[0]
    return None


def _rectifies(layer: Any) -> bool:
    if isinstance(layer, layers.Activation):
        return layer.activation is not LINEAR
    return isinstance(layer, layers.ReLU) or type(layer).__name__ in RECTIFIERS


def _block_ends(scope: _Scope) -> Iterable[list[Any]]:
    """Every convolution with its normalisation and rectifier, the last layer first."""
    for call in scope.graph.calls:
        if not isinstance(call.layer, CONVOLUTIONS):
            continue
        axis = scope.axis(call.outputs[0])
        spatial = [n for i, n in enumerate(call.outputs[0].shape) if i not in (0, axis)]
        # A classifier or gate in the form of a convolution.
        if all(n == 1 for n in spatial):
            continue
        block = [call]
        while True:
            x = block[0].outputs[0]
            consumers = scope.consumers.get(id(x), [])
            if len(consumers) != 1 or not scope.only_use(x, consumers[0]):
                break
            (following,) = consumers
            rectifier = _homogeneous(following) and _rectifies(following.layer)
            if not (isinstance(following.layer, NORMALISATIONS) or rectifier):
                break
            block.insert(0, following)
        yield [part.layer for part in block]


def _check_place(scope: _Scope, place: Any, se: SEConfig) -> None:
    for call in scope.calls_of(place):
        what = f"layer {scope.path + place.name!r}"
        if len(call.outputs) != 1 or len(call.outputs[0].shape) not in (3, 4, 5):
            shapes = ", ".join(str(x.shape) for x in call.outputs)
            raise ValueError(
                "`where` must name layers that put out feature maps of rank 3, 4 or 5. "
                f"Received: {what} with {shapes}"
            )
        x = call.outputs[0]
        channels = x.shape[scope.axis(x)]
        if channels is None:
            raise ValueError(
                "`where` must name layers with a known number of channels. "
                f"Received: {what} with {x.shape}"
            )
        if se.ratio > channels:
            raise ValueError(
                f"`ratio` must be at most the number of channels, {channels}, of {what}. "
                f"Received: ratio={se.ratio}"
            )


def _copy(plan: _Plan, model: keras.Model, name: str, se: SEConfig) -> keras.Model:
    """The copy of the whole model, with its blocks and weights."""
    copies: dict[int, tuple[Any, Any]] = {}
    blocks: list[SqueezeExcite] = []
    scaled = {layer for layer, _ in plan.powers}

    def copied(layer: Any, name: str | None = None) -> Any:
        if id(layer) not in copies:
            if id(layer) in plan.scopes:
                new = rebuilt(layer, name or layer.name)
            else:
                config = layer.get_config()
                if isinstance(layer, layers.BatchNormalization) and layer in scaled:
                    config["scale"] = True
                new = type(layer).from_config(config)
            copies[id(layer)] = layer, new
        return copies[id(layer)][1]

    def rebuilt(model: keras.Model, name: str) -> keras.Model:
        scope = plan.scopes[id(model)]
        taken = {call.layer.name for call in scope.graph.calls}
        followers: dict[int, Any] = {}

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            x = layer(*args, **kwargs)
            return followers[id(layer)](x) if id(layer) in followers else x

        def clone(layer: Any) -> Any:
            new = copied(layer)
            if layer in scope.places and id(new) not in followers:
                followers[id(new)] = block = _block(layer, scope, taken, se)
                blocks.append(block)
            return new

        if isinstance(model, keras.Sequential):
            ends = (model.inputs[0], model.outputs[0])
        else:
            ends = (model.input, model.output)
        # A model of its own: cloning the user's would compile the clone, too.
        plain = keras.Model(*ends, name=name)
        new = keras.models.clone_model(plain, clone_function=clone, call_function=call)
        new.trainable = model.trainable
        return new

    whole = copied(model, name)
    for old, new in copies.values():
        if id(old) not in plan.scopes:
            _copy_values(old, new)
    for (layer, part), power in plan.powers.items():
        _multiply(copies[id(layer)][1], part, 2.0**power)
    for block in blocks:
        _make_neutral(block)
    return whole


def _block(place: Any, scope: _Scope, taken: set[str], se: SEConfig) -> SqueezeExcite:
    name, number = f"{place.name}_se", 1
    while name in taken:
        number += 1
        name = f"{place.name}_se{number}"
    taken.add(name)
    return SqueezeExcite(
        se.ratio,
        squeeze=se.squeeze,
        gate=se.gate,
        activation=se.activation,
        use_bias=se.use_bias,
        data_format=scope.data_format,
        dtype=getattr(place, "dtype_policy", None),
        name=name,
    )


def _copy_values(old: Any, new: Any) -> None:
    if not isinstance(old, layers.Layer):
        return
    if isinstance(old, layers.BatchNormalization) and old.gamma is None and new.gamma is not None:
        new.gamma.assign(np.ones(new.gamma.shape))
        for name in ("beta", "moving_mean", "moving_variance"):
            if getattr(old, name) is not None:
                getattr(new, name).assign(getattr(old, name))
        return
    for target, source in zip(new.variables, old.variables, strict=True):
        target.assign(source)
