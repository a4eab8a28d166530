"""Squeeze-and-Excitation as gates and a multiplication, the squeeze before the convolution.

The mean over the positions of `W y + b` is `W mean(y) + b`: behind a 1x1 convolution the gates
are those of the narrower `y`, whose first fully connected layer takes `W` in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from keras_se.copies import known
from keras_se.graph import Call
from keras_se.inference.linear import Linear
from keras_se.inference.network import Network
from keras_se.inference.parts import Copy, New, numbers
from keras_se.layers import SqueezeExcite
from keras_se.layers.squeeze_excite import HALF_PRECISION

AVERAGE_POOLING = {
    3: layers.GlobalAveragePooling1D,
    4: layers.GlobalAveragePooling2D,
    5: layers.GlobalAveragePooling3D,
}


def excites(network: Network, part: Any) -> bool:
    """Whether the part is a `SqueezeExcite` whose squeeze is the mean of all positions."""
    block = part.source if isinstance(part, Copy) else None
    if not (isinstance(block, SqueezeExcite) and known(block) and block.squeeze == "avg"):
        return False
    # A call with a mask takes it as a tensor, too.
    return all(len(call.inputs) == 1 for call in network.calls_of(part))


def move_squeeze(network: Network) -> list[str]:
    """Compute the gates behind a 1x1 convolution from the convolution's input, if narrower."""
    done = []
    for part in network.parts(Copy):
        calls = network.calls_of(part)
        moves = excites(network, part) and not may_be_masked(network, part)
        behind = [network.producer(call.inputs[0]) for call in calls] if moves else [None]
        linear = behind[0].layer if behind[0] else None
        if not (
            isinstance(linear, Linear)
            and all(call and call.layer is linear for call in behind)
            and linear.pointwise
            and _same_axis(linear, part.source, calls[0])
            and not linear.activated
            and len(linear.inputs) < len(linear.outputs)
        ):
            continue
        kernel, bias = numbers(part.source.reduce_kernel), part.source.reduce_bias
        bias = np.zeros(kernel.shape[-1]) if bias is None else numbers(bias)
        if linear.bias is not None:
            bias = bias + linear.bias @ kernel
        sources = [call.inputs[0] for call in behind if call]
        split(network, part, sources, linear.matrix() @ kernel, bias)
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


def _same_axis(linear: Linear, block: SqueezeExcite, call: Call) -> bool:
    rank = len(call.inputs[0].shape)
    return linear.axis(rank) == (1 if block.data_format == "channels_first" else rank - 1)


def split(
    network: Network,
    part: Copy,
    sources: list[Any] | None = None,
    kernel: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> None:
    """Put gates and a multiplication in place of the calls of a `SqueezeExcite`.

    Args:
        network: The network.
        part: The block.
        sources: What the squeeze is of in each call. Defaults to the calls' inputs.
        kernel: The first fully connected layer's. Defaults to the block's own.
        bias: The first fully connected layer's. Defaults to the block's own.
    """
    block, calls = part.source, network.calls_of(part)
    if sources is None or kernel is None:
        sources, kernel = [call.inputs[0] for call in calls], numbers(block.reduce_kernel)
        bias = None if block.reduce_bias is None else numbers(block.reduce_bias)
    gates = _Gates(part, kernel, bias, len(sources[0].shape))
    multiply = New(layers.Multiply, part.name, dtype=block.dtype_policy)
    for call, source in zip(calls, sources, strict=True):
        (y,) = call.outputs
        s = gates.insert(network, call, source)
        arguments = [call.inputs[0], s]
        network.replace(call, network.insert(call, multiply, arguments, y.shape, y.dtype))


class _Gates:
    """The gates as Keras' own layers: pooling, two fully connected layers, a shape to multiply."""

    def __init__(self, part: Copy, kernel: np.ndarray, bias: Any, rank: int) -> None:
        block, name = part.source, part.name
        compute = block.compute_dtype
        self.dtype = "float32" if compute in HALF_PRECISION else compute
        last = numbers(block.expand_kernel)
        self.widths = [*kernel.shape, last.shape[-1]]
        shape = [1] * (rank - 1)
        shape[0 if block.data_format == "channels_first" else -1] = self.widths[-1]
        self.shape, self.output_dtype = shape, compute
        own = {"dtype": self.dtype}
        self.pool = New(
            AVERAGE_POOLING[rank], f"{name}_squeeze", data_format=block.data_format, **own
        )
        self.reduce = New(
            layers.Dense, f"{name}_reduce", units=self.widths[1], activation=block.activation,
            use_bias=bias is not None, kernel_initializer="zeros", **own,
        )  # fmt: skip
        self.expand = New(
            layers.Dense, f"{name}_expand", units=self.widths[2], activation=block.gate,
            use_bias=block.use_bias, kernel_initializer="zeros", **own,
        )  # fmt: skip
        self.reshape = New(
            layers.Reshape, f"{name}_gates", target_shape=shape, dtype=block.dtype_policy
        )
        self.reduce.values["kernel"], self.expand.values["kernel"] = kernel, last
        if bias is not None:
            self.reduce.values["bias"] = bias
        if block.use_bias:
            self.expand.values["bias"] = numbers(block.expand_bias)

    def insert(self, network: Network, place: Call, x: Any) -> Any:
        batch = x.shape[0]
        parts = (self.pool, self.reduce, self.expand)
        for part, width in zip(parts, self.widths, strict=True):
            x = network.insert(place, part, x, (batch, width), self.dtype)
        return network.insert(place, self.reshape, x, (batch, *self.shape), self.output_dtype)
