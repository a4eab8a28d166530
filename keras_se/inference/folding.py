"""Factors and offsets of channels, such as BatchNorm's, as part of the weights beside them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from keras_se.graph import Call, merges
from keras_se.inference.affine import Affine
from keras_se.inference.linear import Linear
from keras_se.inference.network import Network
from keras_se.inference.parts import Copy, New

# A part, and the channels of the affine layer that it puts out.
Source = tuple[Linear | Affine, int, int]


def fold(network: Network) -> list[str]:
    """Fold affine layers into the linear ones before them, else into those after them."""
    done = []
    for affine in network.parts(Affine):
        before = _fold_back(network, affine)
        if _fold_forward(network, affine) or before:
            done.append(affine.label)
    return done


def _fold_back(network: Network, affine: Affine) -> bool:
    found: dict[Call, list[Source]] = {}
    for call in network.calls_of(affine):
        x, y = call.inputs[0], call.outputs[0]
        sources = _sources(network, x, affine, 0, len(affine.scale))
        if sources is not None and x.dtype == y.dtype:
            found[call] = sources
    shares: dict[Any, set[tuple[int, int]]] = {}
    while True:
        # A part with calls elsewhere would change them, too.
        shares, uses = defaultdict(set), Counter[Any]()
        for sources in found.values():
            for part, start, stop in sources:
                shares[part].add((start, stop))
                uses[part] += 1
        fits = {p for p in shares if len(network.calls_of(p)) == uses[p] and len(shares[p]) == 1}
        unfit = [c for c, sources in found.items() if any(p not in fits for p, *_ in sources)]
        if not unfit:
            break
        for call in unfit:
            del found[call]
    for part, ((start, stop),) in shares.items():
        part.follow(affine.scale[start:stop], affine.offset[start:stop])
    for call in found:
        network.replace(call, call.inputs[0])
    return bool(found)


def _sources(
    network: Network, x: Any, affine: Affine, start: int, stop: int
) -> list[Source] | None:
    """The parts whose output, scaled, scales channels `start` to `stop`; `None` if none does."""
    call = network.producer(x)
    if call is None or network.only_consumer(x) is None:
        return None
    part, rank = call.layer, len(x.shape)
    if isinstance(part, Linear):
        fits = not part.activated and part.axis(rank) == affine.axis
        return [(part, start, stop)] if fits else None
    if isinstance(part, Affine):
        fits = not part.activated and part.axis == affine.axis
        return [(part, start, stop)] if fits else None
    if any(y.dtype != x.dtype for y in call.inputs):
        return None
    if _concatenates(call, affine.axis):
        found: list[Source] = []
        for y in call.inputs:
            middle = start + y.shape[affine.axis]
            sources = _sources(network, y, affine, start, middle)
            if sources is None:
                return None
            found += sources
            start = middle
        return found
    if multiplies(call) and not affine.offset.any():
        for y in call.inputs:
            sources = _sources(network, y, affine, start, stop) if y.shape == x.shape else None
            if sources is not None:
                return sources
    return None


def multiplies(call: Call) -> bool:
    """Whether the call multiplies two tensors."""
    part = call.layer
    made = part.create if isinstance(part, New) else type(part.source)
    return made.__name__ == "Multiply" and len(call.inputs) == 2


def _concatenates(call: Call, axis: int) -> bool:
    part = call.layer
    if not isinstance(part, Copy) or type(part.source).__name__ != "Concatenate":
        return False
    rank = len(call.outputs[0].shape)
    whole = merges(Call(part.source, call.args, call.kwargs, call.outputs))
    known = all(x.shape[axis] is not None for x in call.inputs)
    return part.source.axis % rank == axis and whole and known


def _fold_forward(network: Network, affine: Affine) -> bool:
    found = [call for call in network.calls_of(affine) if _precedes(network, affine, call)]
    while True:
        parts: dict[Any, int] = defaultdict(int)
        for call in found:
            for consumer in network.consumers(call.outputs[0]):
                parts[consumer.layer] += 1
        fits = {part for part, uses in parts.items() if len(network.calls_of(part)) == uses}
        unfit = [
            call
            for call in found
            if any(c.layer not in fits for c in network.consumers(call.outputs[0]))
        ]
        if not unfit:
            break
        found = [call for call in found if call not in unfit]
    for part in parts:
        part.precede(affine.scale, affine.offset)
    for call in found:
        network.replace(call, call.inputs[0])
    return bool(found)


def _precedes(network: Network, affine: Affine, call: Call) -> bool:
    """Whether every consumer of the call can take the affine layer in."""
    x, y = call.inputs[0], call.outputs[0]
    consumers = network.consumers(y)
    if affine.activated or network.is_output(y) or not consumers or x.dtype != y.dtype:
        return False
    return all(
        isinstance(part := consumer.layer, Linear)
        and part.axis(len(y.shape)) == affine.axis
        and part.source.compute_dtype == y.dtype
        # Padding is of zeros behind the offset.
        and (part.borderless or (part.takes_factors and not affine.offset.any()))
        for consumer in consumers
    )
