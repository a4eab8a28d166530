"""Split attention blocks into gates and a multiplication; move the squeeze before a convolution.

The mean of `W y + b` over the positions is `W mean(y) + b`: after a 1x1 convolution the gates can
be computed from the narrower `y`, if the first fully connected layer absorbs `W`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keras import layers

from keras_se.graph.copies import known
from keras_se.graph.editable import EditableGraph
from keras_se.graph.nodes import Copy, New, numbers
from keras_se.inference.linear import Linear
from keras_se.layers import ChannelAttention
from keras_se.layers._arguments import channel_axis
from keras_se.layers.attention import GateStep


def excites(graph: EditableGraph, node: Any) -> bool:
    """Whether the node is an attention block that standard Keras layers can replace."""
    block = node.source if isinstance(node, Copy) else None
    if not (isinstance(block, ChannelAttention) and known(block)):
        return False
    calls = graph.calls_of(node)
    # A call with a mask has it as a further input.
    single = all(len(call.inputs) == 1 for call in calls)
    return single and block.gate_steps(len(calls[0].inputs[0].shape)) is not None


def moves(block: ChannelAttention) -> bool:
    """Whether the block's first layer after the mean of each channel is fully connected."""
    steps = block.gate_steps(4)
    return steps is not None and steps[1].create is layers.Dense


def move_squeeze(graph: EditableGraph) -> list[str]:
    """Compute the gates after a 1x1 convolution from the convolution's input, if narrower."""
    done = []
    for node in graph.nodes(Copy):
        calls = graph.calls_of(node)
        may = excites(graph, node) and moves(node.source) and not may_be_masked(graph, node)
        behind = [graph.producer(call.inputs[0]) for call in calls] if may else [None]
        linear, rank = None, 0
        if behind[0]:
            linear, rank = behind[0].layer, len(calls[0].inputs[0].shape)
        if not (
            isinstance(linear, Linear)
            and all(call and call.layer is linear for call in behind)
            and linear.pointwise
            and linear.axis(rank) == channel_axis(node.source.data_format, rank)
            and not linear.activated
            and len(linear.inputs) < len(linear.outputs)
        ):
            continue
        steps = _before(linear, node.source.gate_steps(rank))
        split(graph, node, steps, [call.inputs[0] for call in behind if call])
        done.append(node.label)
    return done


def may_be_masked(graph: EditableGraph, node: Copy) -> bool:
    """Whether a mask may reach the block, or the convolution before it.

    `GlobalAveragePooling1D` respects masks as blocks do, but convolutions drop them.
    """
    if not excites(graph, node):
        return True
    if len(graph.calls_of(node)[0].inputs[0].shape) != 3:
        return False
    sources = [node.source for node in graph.nodes(Copy)]
    return any(isinstance(x, layers.Masking) or getattr(x, "mask_zero", False) for x in sources)


def _before(linear: Linear, steps: Sequence[GateStep]) -> list[GateStep]:
    """Return the steps that compute the gates from the convolution's input."""
    squeeze, first, *others = steps
    kernel = numbers(first.values["kernel"])
    values = {"kernel": linear.matrix() @ kernel}
    if linear.bias is not None or "bias" in first.values:
        own = numbers(first.values["bias"]) if "bias" in first.values else np.zeros(())
        values["bias"] = own if linear.bias is None else own + linear.bias @ kernel
    settings = {**first.settings, "use_bias": "bias" in values}
    moved = replace(first, settings=settings, values=values)
    return [replace(squeeze, shape=(len(values["kernel"]),)), moved, *others]


def split(
    graph: EditableGraph,
    node: Copy,
    steps: Sequence[GateStep] | None = None,
    sources: Sequence[Any] | None = None,
) -> None:
    """Replace the calls of an attention block by gates and a multiplication.

    `steps` compute the gates from `sources`, one per call; by default these are the block's own
    steps and the calls' inputs.
    """
    block, calls = node.source, graph.calls_of(node)
    rank = len(calls[0].inputs[0].shape)
    steps = block.gate_steps(rank) if steps is None else steps
    made = [New(step.create, f"{node.name}_{step.suffix}", **step.settings) for step in steps]
    for new, step in zip(made, steps, strict=True):
        new.values = {name: numbers(value) for name, value in step.values.items()}
    multiply = New(layers.Multiply, node.name, dtype=block.dtype_policy)
    for call, source in zip(calls, sources or [call.inputs[0] for call in calls], strict=True):
        s = source
        for new, step in zip(made, steps, strict=True):
            last = step is steps[-1]
            dtype = block.compute_dtype if last else step.settings["dtype"]
            s = graph.insert(call, new, s, (source.shape[0], *step.shape), dtype)
        graph.substitute(call, multiply, [call.inputs[0], s])
