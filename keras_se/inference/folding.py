"""Fold the scales and offsets of channels, such as BatchNorm's, into adjacent weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from keras_se.graph.editable import EditableGraph
from keras_se.graph.nodes import Copy, New
from keras_se.graph.trace import Call, merges
from keras_se.inference.affine import Affine
from keras_se.inference.linear import Linear

# A node, and the range of the affine layer's channels that it outputs.
Share = tuple[Linear | Affine, int, int]


def fold(graph: EditableGraph) -> list[str]:
    """Fold affine layers into the linear layers before them, else into those after them."""
    done = []
    for affine in graph.nodes(Affine):
        before = _fold_back(graph, affine)
        if _fold_forward(graph, affine) or before:
            done.append(affine.label)
    return done


def _fold_back(graph: EditableGraph, affine: Affine) -> bool:
    found: dict[Call, list[Share]] = {}
    for call in graph.calls_of(affine):
        x, y = call.inputs[0], call.outputs[0]
        sources = _sources(graph, x, affine, 0, len(affine.scale))
        if sources is not None and x.dtype == y.dtype:
            found[call] = sources
    shares: dict[Any, set[tuple[int, int]]] = {}
    while True:
        # Changing a node would also change its other calls.
        shares, uses = defaultdict(set), Counter[Any]()
        for sources in found.values():
            for node, start, stop in sources:
                shares[node].add((start, stop))
                uses[node] += 1
        fits = {p for p in shares if len(graph.calls_of(p)) == uses[p] and len(shares[p]) == 1}
        unfit = [c for c, sources in found.items() if any(p not in fits for p, *_ in sources)]
        if not unfit:
            break
        for call in unfit:
            del found[call]
    for node, ((start, stop),) in shares.items():
        node.follow(affine.scale[start:stop], affine.offset[start:stop])
    for call in found:
        graph.replace(call, call.inputs[0])
    return bool(found)


def _sources(
    graph: EditableGraph, x: Any, affine: Affine, start: int, stop: int
) -> list[Share] | None:
    """Return the nodes whose scaled output scales channels `start` to `stop`, or `None`."""
    call = graph.producer(x)
    if call is None or graph.only_consumer(x) is None:
        return None
    node, rank = call.layer, len(x.shape)
    if isinstance(node, Linear | Affine):
        axis = node.axis(rank) if isinstance(node, Linear) else node.axis
        return [(node, start, stop)] if axis == affine.axis and not node.activated else None
    if any(y.dtype != x.dtype for y in call.inputs):
        return None
    if _concatenates(call, affine.axis):
        found: list[Share] = []
        for y in call.inputs:
            middle = start + y.shape[affine.axis]
            sources = _sources(graph, y, affine, start, middle)
            if sources is None:
                return None
            found += sources
            start = middle
        return found
    if multiplies(call) and not affine.offset.any():
        for y in call.inputs:
            sources = _sources(graph, y, affine, start, stop) if y.shape == x.shape else None
            if sources is not None:
                return sources
    return None


def multiplies(call: Call) -> bool:
    """Whether the call multiplies two tensors."""
    node = call.layer
    made = node.create if isinstance(node, New) else type(node.source)
    return made.__name__ == "Multiply" and len(call.inputs) == 2


def _concatenates(call: Call, axis: int) -> bool:
    node = call.layer
    if not isinstance(node, Copy) or type(node.source).__name__ != "Concatenate":
        return False
    rank = len(call.outputs[0].shape)
    whole = merges(Call(node.source, call.args, call.kwargs, call.outputs))
    known = all(x.shape[axis] is not None for x in call.inputs)
    return node.source.axis % rank == axis and whole and known


def _fold_forward(graph: EditableGraph, affine: Affine) -> bool:
    found = [call for call in graph.calls_of(affine) if _precedes(graph, affine, call)]
    while True:
        nodes: dict[Any, int] = defaultdict(int)
        for call in found:
            for consumer in graph.consumers(call.outputs[0]):
                nodes[consumer.layer] += 1
        fits = {node for node, uses in nodes.items() if len(graph.calls_of(node)) == uses}
        unfit = [
            call
            for call in found
            if any(c.layer not in fits for c in graph.consumers(call.outputs[0]))
        ]
        if not unfit:
            break
        found = [call for call in found if call not in unfit]
    for node in nodes:
        node.precede(affine.scale, affine.offset)
    for call in found:
        graph.replace(call, call.inputs[0])
    return bool(found)


def _precedes(graph: EditableGraph, affine: Affine, call: Call) -> bool:
    """Whether every consumer of the call can absorb the affine layer."""
    x, y = call.inputs[0], call.outputs[0]
    consumers = graph.consumers(y)
    if affine.activated or graph.is_output(y) or not consumers or x.dtype != y.dtype:
        return False
    return all(
        isinstance(node := consumer.layer, Linear)
        and node.axis(len(y.shape)) == affine.axis
        and node.source.compute_dtype == y.dtype
        # Zero padding comes after the offset.
        and (node.borderless or (node.takes_factors and not affine.offset.any()))
        for consumer in consumers
    )
