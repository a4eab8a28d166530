"""Choose the layers that blocks follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import layers

from keras_se.checks import unknown_choice
from keras_se.graph.facts import facts_of
from keras_se.layers import AttentionConfig
from keras_se.surgery.factors import LINEAR, Factors, Scope, homogeneous

# Blocks follow these by default; depthwise convolutions are in the middle of a block.
CONVOLUTIONS = ("convolution", "transposed", "separable")

Where = Iterable[str] | str | re.Pattern[str] | Callable[[Any], bool] | None


def choose(factors: Factors, where: Where) -> None:
    """Set the places in every model."""
    scopes = factors.scopes.values()
    if where is None:
        for search in (_branch_ends, _block_ends):
            for scope in scopes:
                for candidates in search(scope):
                    fit = (layer for layer in candidates if factors.beside(scope, layer))
                    place = next(fit, None)
                    if place is not None and place not in scope.places:
                        scope.places.append(place)
            if any(scope.places for scope in scopes):
                return
        raise ValueError(
            "`model` must have a convolution that Squeeze-and-Excitation can follow. "
            f"Received: model {factors.root.name!r}"
        )
    names = {
        f"{scope.path}{call.layer.name}": (scope, call.layer)
        for scope in scopes
        for call in scope.graph.calls
    }
    for scope, layer in _chosen(names, where):
        scope.places.append(layer)


def _chosen(names: dict[str, tuple[Scope, Any]], where: Any) -> Iterable[tuple[Scope, Any]]:
    """Return the entries of `names` that `where` selects."""
    if callable(where) and not isinstance(where, keras.Operation):
        found = {name for name, (_, layer) in names.items() if where(layer)}
        if not found:
            raise ValueError(f"`where` must select a layer. Received: where={where!r}")
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
                f"none of {', '.join(list(names)[:5])} etc."
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


def _branch_ends(scope: Scope) -> Iterable[list[Any]]:
    """Yield the last linear layer of every residual branch.

    The branch is the input of a sum with the most convolutions of its own.
    """
    before: dict[int, int] = {}  # The calls before each tensor, as a bit mask.
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


def _last_linear(scope: Scope, x: Any) -> Any:
    """Return the convolution or normalisation before `x`, with no nonlinearity between."""
    while call := scope.graph.producer(x):
        layer = call.layer
        if facts_of(layer).normalises:
            return layer
        if facts_of(layer).kernel:
            return layer if layer.activation is LINEAR else None
        if not homogeneous(call) or rectifies(layer):
            return None
        x = call.inputs[0]
    return None


def rectifies(layer: Any) -> bool:
    if isinstance(layer, layers.Activation):
        return layer.activation is not LINEAR
    return facts_of(layer).rectifies


def _block_ends(scope: Scope) -> Iterable[list[Any]]:
    """Yield every convolution with its normalisation and rectifier, the last layer first."""
    for call in scope.graph.calls:
        if facts_of(call.layer).kernel not in CONVOLUTIONS:
            continue
        axis = scope.axis(call.outputs[0])
        spatial = [n for i, n in enumerate(call.outputs[0].shape) if i not in (0, axis)]
        # A classifier or gate written as a convolution.
        if all(n == 1 for n in spatial):
            continue
        block = [call]
        while True:
            following = scope.graph.only_consumer(block[0].outputs[0])
            if following is None:
                break
            rectifier = homogeneous(following) and rectifies(following.layer)
            if not (facts_of(following.layer).normalises or rectifier):
                break
            block.insert(0, following)
        yield [part.layer for part in block]


def check_place(scope: Scope, place: Any, se: AttentionConfig) -> None:
    """Raise a `ValueError` unless a block can follow the layer."""
    for call in scope.graph.calls_of(place):
        what = f"layer {scope.label(place)}"
        x = call.outputs[0]
        if len(call.outputs) != 1 or len(x.shape) not in (3, 4, 5) or "float" not in x.dtype:
            received = ", ".join(f"{x.shape} of {x.dtype}" for x in call.outputs)
            raise ValueError(
                "`where` must name layers that output floating-point feature maps of rank 3, 4 "
                f"or 5. Received: {what} with {received}"
            )
        channels = x.shape[scope.axis(x)]
        if channels is None:
            raise ValueError(
                "`where` must name layers with a known number of channels. "
                f"Received: {what} with {x.shape}"
            )
        se.check_channels(channels, f"after {what}")
