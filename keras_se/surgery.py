"""Squeeze-and-Excitation for a network that has none, without a change of its function.

A new block's last kernel and biases are zero, so that its gate is one half everywhere and still has
a gradient; the factor of two goes into a linear operation beside it. Powers of two are exact in
floating point: called eagerly, the network's outputs are the same bits.
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
from keras_se.graph.copies import copy_values, known, plain, twin
from keras_se.graph.facts import facts_of
from keras_se.graph.trace import (
    Call,
    Graph,
    computes_its_graph,
    ends,
    is_functional,
    merges,
    recursion,
    trace,
)
from keras_se.layers import AttentionConfig, ChannelAttention, SEConfig
from keras_se.layers._arguments import HALF_PRECISION
from keras_se.layers.attention import NEUTRAL_GATES

# Behind which blocks are put by default; depthwise ones are in the middle of a block.
CONVOLUTIONS = ("convolution", "transposed", "separable")
LINEAR = keras.activations.linear
HOMOGENEOUS = (LINEAR, keras.activations.relu, keras.activations.leaky_relu)

Where = Iterable[str] | str | re.Pattern[str] | Callable[[Any], bool] | None


def add_squeeze_excite(
    model: keras.Model,
    where: Where = None,
    se: AttentionConfig = SEConfig(),  # noqa: B008
    name: str | None = None,
) -> keras.Model:
    """A copy of a CNN with Squeeze-and-Excitation, whose function is the same at the start.

    The copy has its own weights, with the values of the model's; the model stays as it was. Each
    new block `<layer>_se` has gates of exactly one half, whose gradient is alive; the factor of
    two is in the kernel and bias of a convolution beside it, or in the scale and offset of a
    normalisation (a BatchNorm without a scale is given one). In float32 the outputs of the copy
    are the same bits where the backend computes operations one by one, as `model(x)` does;
    `predict` compiles them, and may differ in the last bits, about 1e-7 of the output. Layers that
    do not train in the model do not in the copy; the new blocks do.

    Args:
        model: A functional or built Sequential model, channels first or last, with any number
            of inputs and outputs; it may hold nested models and shared layers.
        where: Behind which layers: `None` (default), behind the last linear convolution or
            normalisation of every residual branch, or, in a model without branches that end so,
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
        ValueError: If the model is not functional, or has a layer that its configuration does
            not describe; if `where` finds no layer, or one behind which a block cannot be put or
            has no linear operation beside it; if a `ratio` above the default exceeds a layer's
            channels; if `se` is none of the above.

    Example:

    >>> plain = keras.applications.MobileNetV2(weights=None)
    >>> model = keras_se.add_squeeze_excite(plain)
    >>> sum(isinstance(layer, keras_se.SqueezeExcite) for layer in model.layers)
    10

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 3.3.
    """
    if not isinstance(se, AttentionConfig):
        raise ValueError(
            f"`se` must be settings such as `keras_se.SEConfig()`. Received: se={se!r}"
        )
    if not se.starts_neutral:
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
    if se.block.neutral_gate != 1:
        plan.weigh(
            "`where` must name layers with a convolution or normalisation beside them that can "
            "take a factor of two, with nothing but ReLU and pooling between"
        )
    with recursion(sum(len(scope.graph.calls) for scope in plan.scopes.values())):
        return _copy(plan, model, name or f"se_{model.name}", se)


def start_neutral(model: keras.Model, names: Collection[str]) -> None:
    """Make the attention blocks of these names a multiplication by one.

    The gates become one half and the factor of two goes into a linear operation beside each
    block, as with `add_squeeze_excite`: the model computes what it would without its blocks.

    Raises:
        ValueError: If there is no such operation beside a block.
    """
    plan = _Plan(model, blocks=True)
    scope = plan.scopes[id(model)]
    called = dict.fromkeys(call.layer for call in scope.graph.calls)
    scope.places = [x for x in called if isinstance(x, ChannelAttention) and x.name in names]
    if any(block.neutral_gate != 1 for block in scope.places):
        plan.weigh("`model` must have weights beside every block that can take a factor of two")
    for (layer, part), power in plan.powers.items():
        _multiply(layer, part, 2.0**power)
    for block in scope.places:
        block.make_neutral()


@dataclass(eq=False)
class _Scope:
    """One functional model, the given one or a nested one.

    Attributes:
        path: Its name within the given model, with a slash, or "".
        graph: Its graph.
        places: The layers that a block follows, or the blocks themselves.
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

    def calls_of(self, layer: Any) -> list[Call]:
        return [call for call in self.graph.calls if call.layer is layer]

    def data_format(self, x: Any) -> str:
        """That of the nearest layer before `x` that has one."""
        while call := self.producers.get(id(x)):
            layer, rank = call.layer, len(call.outputs[0].shape)
            # Flatten's is seldom that of its input.
            if hasattr(layer, "data_format") and not isinstance(layer, layers.Flatten):
                return layer.data_format
            if (
                isinstance(layer, layers.BatchNormalization | layers.GroupNormalization)
                and rank > 2
            ):
                return "channels_first" if layer.axis % rank == 1 else "channels_last"
            if not call.inputs:
                break
            x = call.inputs[0]
        return keras.config.image_data_format()

    def axis(self, x: Any) -> int:
        return 1 if self.data_format(x) == "channels_first" else len(x.shape) - 1

    def label(self, layer: Any) -> str:
        return repr(f"{self.path}{layer.name}")

    def only_use(self, x: Any, call: Call) -> bool:
        return self.consumers.get(id(x)) == [call] and id(x) not in self.outputs


class _Plan:
    """Where blocks go, and which weights take their factors of two.

    Args:
        model: The given model.
        blocks: Whether the places are blocks that the model has, not layers that one follows.

    Attributes:
        scopes: The given model and the nested ones, by their identity.
        powers: The power of two for `(layer, "all")`, all its weights, or `(layer, "kernel")`.
    """

    def __init__(self, model: keras.Model, blocks: bool = False) -> None:
        self.root = model
        self.blocks = blocks
        self.scopes: dict[int, _Scope] = {}
        self.powers: Counter[tuple[Any, str]] = Counter()
        if is_functional(model) and not computes_its_graph(model):
            raise ValueError(
                "`model` must be a functional or Sequential `keras.Model` without a `call` of its "
                f"own. Received: model of type {type(model).__name__}"
            )
        self._look_into(model, "")
        self._uses = Counter(
            id(call.layer) for scope in self.scopes.values() for call in scope.graph.calls
        )

    def _look_into(self, model: keras.Model, path: str) -> None:
        if id(model) in self.scopes:
            return
        scope = self.scopes[id(model)] = _Scope(path, trace(model))
        for call in scope.graph.calls:
            if is_functional(call.layer) and computes_its_graph(call.layer):
                self._look_into(call.layer, f"{path}{call.layer.name}/")

    def weigh(self, requirement: str) -> None:
        """Find the weights beside every place that make up for gates of one half.

        Raises:
            ValueError: If there are none; the message begins with `requirement`.
        """
        for scope in self.scopes.values():
            for place in scope.places:
                found = self.beside(scope, place)
                if found is None:
                    raise ValueError(f"{requirement}. Received: layer {scope.label(place)}")
                self.powers.update(found)

    def beside(self, scope: _Scope, place: Any) -> dict[tuple[Any, str], int] | None:
        """The powers of two that double what `place` puts out; `None` if no weights can take them.

        Those before it, else those behind it.
        """
        calls = scope.calls_of(place)
        after = [call.outputs[0] for call in calls]
        before = after
        if self.blocks:
            alone = all(scope.only_use(call.inputs[0], call) for call in calls)
            before = [call.inputs[0] for call in calls] if alone else []
        for search, tensors in ((self._before, before), (self._behind, after)):
            found: Counter[tuple[Call, str]] = Counter()
            if tensors and all(search(scope, x, found) for x in tensors):
                powers: dict[tuple[Any, str], list[int]] = {}
                for (call, part), power in found.items():
                    powers.setdefault((call.layer, part), []).append(power)
                # A layer with further calls would change them, too.
                if all(
                    len(same) == self._uses[id(layer)] and len(set(same)) == 1
                    for (layer, _), same in powers.items()
                ):
                    return {weights: same[0] for weights, same in powers.items()}
        return None

    def _before(self, scope: _Scope, x: Any, found: Counter[tuple[Call, str]]) -> bool:
        """Add to `found` the calls whose weights, doubled, double `x`; False if there are none."""
        call = scope.producers.get(id(x))
        if call is None or not known(call.layer):
            return False
        layer, inputs = call.layer, call.inputs
        if facts_of(layer).normalises:
            found[call, "all"] += 1
            # The copy of a BatchNorm can be given a scale.
            given = isinstance(layer, layers.BatchNormalization) and not self.blocks
            return given or layer.gamma is not None
        if facts_of(layer).kernel and layer.activation in HOMOGENEOUS and plain(layer):
            found[call, "all"] += 1
            return True
        if not (_homogeneous(call) or merges(call)):
            return False
        return all(scope.only_use(y, call) and self._before(scope, y, found) for y in inputs)

    def _behind(self, scope: _Scope, x: Any, found: Counter[tuple[Call, str]]) -> bool:
        """Add to `found` the calls whose kernels, doubled, make up for `x` halved."""
        consumers = scope.consumers.get(id(x), [])
        if id(x) in scope.outputs or not consumers:
            return False
        for call in consumers:
            if known(call.layer) and facts_of(call.layer).kernel and plain(call.layer):
                found[call, "kernel"] += 1
            elif not _homogeneous(call) or not self._behind(scope, call.outputs[0], found):
                return False
        return True


def _homogeneous(call: Call) -> bool:
    layer = call.layer
    if len(call.inputs) != 1 or len(call.outputs) != 1 or not known(layer):
        return False
    if isinstance(layer, layers.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, layers.Activation):
        return layer.activation in HOMOGENEOUS
    if isinstance(layer, layers.Rescaling):
        return not np.any(layer.offset)
    return facts_of(layer).homogeneous


def _multiply(layer: Any, part: str, factor: float) -> None:
    if facts_of(layer).normalises:
        variables = [layer.gamma, layer.beta]
    elif facts_of(layer).kernel == "separable":
        behind = part == "kernel"
        variables = [layer.depthwise_kernel] if behind else [layer.pointwise_kernel, layer.bias]
    else:
        variables = [layer.kernel] if part == "kernel" else [layer.kernel, layer.bias]
    for variable in variables:
        if variable is not None:
            variable.assign(variable * factor)


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
    if callable(where) and not isinstance(where, keras.Operation):
        found = {name for name, (_, layer) in names.items() if where(layer)}
        if not found:
            raise ValueError(f"`where` must be true of a layer. Received: where={where!r}")
    elif isinstance(where, str | re.Pattern):
        try:
            found = {name for name in names if re.search(where, name)}
        except (re.error, TypeError) as error:
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
        if facts_of(call.layer).kernel:
            weighted |= bits
        for x in call.inputs:
            bits |= before.get(id(x), 0)
        before.update((id(x), bits) for x in call.outputs)
    for call in scope.graph.calls:
        inputs = call.inputs
        if not facts_of(call.layer).adds or len(inputs) < 2:
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
        if facts_of(layer).normalises:
            return layer
        if facts_of(layer).kernel:
            return layer if layer.activation is LINEAR else None
        if not _homogeneous(call) or _rectifies(layer):
            return None
        x = call.inputs[0]
    return None


def _rectifies(layer: Any) -> bool:
    if isinstance(layer, layers.Activation):
        return layer.activation is not LINEAR
    return facts_of(layer).rectifies


def _block_ends(scope: _Scope) -> Iterable[list[Any]]:
    """Every convolution with its normalisation and rectifier, the last layer first."""
    for call in scope.graph.calls:
        if facts_of(call.layer).kernel not in CONVOLUTIONS:
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
            if not (facts_of(following.layer).normalises or rectifier):
                break
            block.insert(0, following)
        yield [part.layer for part in block]


def _check_place(scope: _Scope, place: Any, se: AttentionConfig) -> None:
    """Raise a `ValueError` unless a block can follow."""
    for call in scope.calls_of(place):
        what = f"layer {scope.label(place)}"
        x = call.outputs[0]
        if len(call.outputs) != 1 or len(x.shape) not in (3, 4, 5) or "float" not in x.dtype:
            received = ", ".join(f"{x.shape} of {x.dtype}" for x in call.outputs)
            raise ValueError(
                "`where` must name layers that put out floating-point feature maps of rank 3, 4 "
                f"or 5. Received: {what} with {received}"
            )
        channels = x.shape[scope.axis(x)]
        if channels is None:
            raise ValueError(
                "`where` must name layers with a known number of channels. "
                f"Received: {what} with {x.shape}"
            )
        se.check_channels(channels, f"behind {what}")


def _copy(plan: _Plan, model: keras.Model, name: str, se: AttentionConfig) -> keras.Model:
    """The copy of the whole model, with its blocks and weights."""
    copies: dict[int, tuple[Any, Any]] = {}
    blocks: list[ChannelAttention] = []
    normalised = (layer for layer, _ in plan.powers)
    scaled = {x for x in normalised if isinstance(x, layers.BatchNormalization)}

    def copied(layer: Any, frozen: bool) -> Any:
        if id(layer) not in copies:
            if id(layer) in plan.scopes:
                new = rebuilt(layer, layer.name, frozen)
            else:
                new = twin(layer, **({"scale": True} if layer in scaled else {}))
                if frozen:
                    new.trainable = False
            copies[id(layer)] = layer, new
        return copies[id(layer)][1]

    def rebuilt(model: keras.Model, name: str, frozen: bool) -> keras.Model:
        scope = plan.scopes[id(model)]
        taken = {call.layer.name for call in scope.graph.calls}
        taken.update(x.name for x in scope.graph.inputs)
        places: dict[int, Any] = {}
        followers: dict[int, ChannelAttention] = {}

        def clone(layer: Any) -> Any:
            # The blocks of a frozen model train, so it is its other layers that do not.
            new = copied(layer, frozen or not model.trainable)
            if layer in scope.places:
                places[id(new)] = layer
            return new

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = layer(*args, **kwargs)
            if id(layer) not in places:
                return outputs
            if id(layer) not in followers:
                (x,) = keras.tree.flatten(outputs)
                followers[id(layer)] = _block(places[id(layer)], scope, taken, x, se)
                blocks.append(followers[id(layer)])
            return keras.tree.map_structure(followers[id(layer)], outputs)

        # A model of its own: cloning the user's would compile the clone, too.
        bare = keras.Model(*ends(model), name=name)
        return keras.models.clone_model(bare, clone_function=clone, call_function=call)

    whole = rebuilt(model, name, False)
    for old, new in copies.values():
        if isinstance(old, layers.Layer) and id(old) not in plan.scopes:
            copy_values(old, new)
    for (layer, part), power in plan.powers.items():
        _multiply(copies[id(layer)][1], part, 2.0**power)
    for block in blocks:
        block.make_neutral()
    return whole


def _block(
    place: Any, scope: _Scope, taken: set[str], x: Any, se: AttentionConfig
) -> ChannelAttention:
    """The block that follows a layer, whose output in the copy is `x`."""
    name, number = f"{place.name}_se", 1
    while name in taken:
        number += 1
        name = f"{place.name}_se{number}"
    taken.add(name)
    before = scope.calls_of(place)[0].outputs[0]
    return se.layer(
        x.shape[scope.axis(before)],
        data_format=scope.data_format(before),
        dtype=f"mixed_{x.dtype}" if x.dtype in HALF_PRECISION else x.dtype,
        name=name,
    )
