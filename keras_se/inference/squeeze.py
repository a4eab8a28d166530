"""Attention blocks as gates and a multiplication, the squeeze before the convolution.

The mean over the positions of `W y + b` is `W mean(y) + b`: behind a 1x1 convolution the gates
are those of the narrower `y`, whose first fully connected layer takes `W` in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keras import layers

from keras_se.copies import known
from keras_se.inference.linear import Linear
from keras_se.inference.network import Network
from keras_se.inference.parts import Copy, New
from keras_se.layers import ChannelAttention
from keras_se.layers.attention import GateStep


def excites(network: Network, part: Any) -> bool:
    """Whether the part is an attention block that Keras' own layers can stand for."""
    block = part.source if isinstance(part, Copy) else None
    if not (isinstance(block, ChannelAttention) and known(block)):
        return False
    calls = network.calls_of(part)
    # A call with a mask takes it as a tensor, too.
    single = all(len(call.inputs) == 1 for call in calls)
    return single and block.gate_steps(len(calls[0].inputs[0].shape)) is not None


def moves(block: ChannelAttention) -> bool:
    """Whether the block's first layer after the mean of each channel is fully connected."""
    steps = block.gate_steps(4)
    return steps is not None and steps[1].create is layers.Dense


def move_squeeze(network: Network) -> list[str]:
    """Compute the gates behind a 1x1 convolution from the convolution's input, if narrower."""
    done = []
    for part in network.parts(Copy):
        calls = network.calls_of(part)
        may = excites(network, part) and moves(part.source) and not may_be_masked(network, part)
        behind = [network.producer(call.inputs[0]) for call in calls] if may else [None]
        linear = behind[0].layer if behind[0] else None
        if not (
            isinstance(linear, Linear)
            and all(call and call.layer is linear for call in behind)
            and linear.pointwise
            and _same_axis(linear, part.source, len(calls[0].inputs[0].shape))
            and not linear.activated
            and len(linear.inputs) < len(linear.outputs)
        ):
            continue
        steps = _before(linear, part.source.gate_steps(len(calls[0].inputs[0].shape)))
        split(network, part, steps, [call.inputs[0] for call in behind if call])
        done.append(part.label)
    return done


def may_be_masked(network: Network, part: Copy) -> bool:
    """Whether a mask may reach the block, or the convolution before it.

    `GlobalAveragePooling1D` heeds masks as blocks do, but convolutions drop them.
    """
    if not excites(network, part):
        return True
    if len(network.calls_of(part)[0].inputs[0].shape) != 3:
        return False
    sources = [part.source for part in network.parts(Copy)]
    return any(isinstance(x, layers.Masking) or getattr(x, "mask_zero", False) for x in sources)


def _same_axis(linear: Linear, block: ChannelAttention, rank: int) -> bool:
    return linear.axis(rank) == (1 if block.data_format == "channels_first" else rank - 1)


def _before(linear: Linear, steps: Sequence[GateStep]) -> list[GateStep]:
    """The steps of gates that are computed from the convolution's input."""
    squeeze, first, *others = steps
    kernel = first.values["kernel"]
    values = {"kernel": linear.matrix() @ kernel}
    if linear.bias is not None or "bias" in first.values:
        own = first.values.get("bias", np.zeros(kernel.shape[-1]))
        values["bias"] = own if linear.bias is None else own + linear.bias @ kernel
    settings = {**first.settings, "use_bias": "bias" in values}
    moved = replace(first, settings=settings, values=values)
    return [replace(squeeze, shape=(len(values["kernel"]),)), moved, *others]


def split(
    network: Network,
    part: Copy,
    steps: Sequence[GateStep] | None = None,
    sources: Sequence[Any] | None = None,
) -> None:
    """Put gates and a multiplication in place of the calls of an attention block.

    Args:
        network: The network.
        part: The block.
        steps: How the gates are computed. Defaults to the block's own steps.
        sources: What they are computed from in each call. Defaults to the calls' inputs.
    """
    block, calls = part.source, network.calls_of(part)
    rank = len(calls[0].inputs[0].shape)
    steps = block.gate_steps(rank) if steps is None else steps
    made = [New(step.create, f"{part.name}_{step.suffix}", **step.settings) for step in steps]
    for new, step in zip(made, steps, strict=True):
        new.values = dict(step.values)
    multiply = New(layers.Multiply, part.name, dtype=block.dtype_policy)
    for call, source in zip(calls, sources or [call.inputs[0] for call in calls], strict=True):
        (y,) = call.outputs
        s = source
        for new, step in zip(made, steps, strict=True):
            last = step is steps[-1]
            dtype = block.compute_dtype if last else step.settings["dtype"]
            s = network.insert(call, new, s, (source.shape[0], *step.shape), dtype)
        arguments = [call.inputs[0], s]
        network.replace(call, network.insert(call, multiply, arguments, y.shape, y.dtype))
