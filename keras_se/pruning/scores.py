"""Scores of the channels of a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from keras_se.graph.editable import EditableGraph
from keras_se.graph.facts import facts_of
from keras_se.graph.nodes import Copy, Node, numbers
from keras_se.graph.trace import Call
from keras_se.layers import ChannelAttention
from keras_se.pruning.channels import Channels

Scores = dict[int, float]


def random_scores(units: list[int], seed: int) -> Scores:
    """Return random numbers from 0 to 1."""
    return dict(zip(units, np.random.default_rng(seed).random(len(units)).tolist(), strict=True))


def weight_scores(
    graph: EditableGraph, channels: Channels, gates: Mapping[Node, np.ndarray]
) -> Scores:
    """Return for each unit the L1 norm times the gate, summed over the filters that output it.

    `gates` are mean gates, `(C,)`, of the blocks to consider.
    """
    factors = _factors(graph, channels, gates)
    scores: Scores = defaultdict(float)
    for node, (rule, ends) in channels.ends.items():
        if rule.flow != "new":
            continue
        norms = filter_norms(node)
        for unit, norm in zip(channels.roots(ends["output"]).tolist(), norms, strict=True):
            scores[unit] += float(norm) * factors.get((node, unit), 1.0)
    return scores


def filter_norms(node: Node) -> np.ndarray:
    """Return the L1 norm of each filter of a convolution or dense layer."""
    assert isinstance(node, Copy)
    name = "pointwise_kernel" if hasattr(node.source, "pointwise_kernel") else "kernel"
    kernel = np.abs(numbers(getattr(node.source, name)))
    if facts_of(node.source).kernel == "transposed":
        kernel = np.swapaxes(kernel, -1, -2)
    return kernel.reshape(-1, kernel.shape[-1]).sum(0)


def _factors(
    graph: EditableGraph, channels: Channels, gates: Mapping[Node, np.ndarray]
) -> dict[tuple[Node, int], float]:
    """Return for each convolution and unit the gate of the first block after it."""
    found: dict[tuple[Node, int], float] = {}
    for block, means in gates.items():
        for call in graph.calls_of(block):
            units = channels.of(call.inputs[0])
            assert units is not None
            for node in _producers(graph, channels, call):
                for unit, gate in zip(units.tolist(), np.abs(means).tolist(), strict=True):
                    found.setdefault((node, unit), gate)
    return found


def _producers(graph: EditableGraph, channels: Channels, block: Call) -> set[Node]:
    """Return the layers that output a block's channels, with no other block between."""
    found: set[Node] = set()
    seen: set[int] = set()
    tensors = [block.inputs[0]]
    while tensors:
        call = graph.producer(tensors.pop())
        if call is None or id(call) in seen:
            continue
        seen.add(id(call))
        ends = channels.ends.get(call.layer)
        if ends is not None and ends[0].flow == "new":
            found.add(call.layer)
        elif not isinstance(getattr(call.layer, "source", None), ChannelAttention):
            tensors += call.inputs
    return found
