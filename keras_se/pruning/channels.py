"""Find the channels of a network that must be kept or removed together."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_se.graph.editable import EditableGraph
from keras_se.graph.facts import ChannelFlow, valued
from keras_se.graph.nodes import Copy, Node
from keras_se.graph.trace import Call
from keras_se.layers import ChannelAttention
from keras_se.pruning.rules import channel_axis, mixes_channels, rule_of


class Channels:
    """The units of a network: channels that are kept or removed together.

    A convolution creates a new unit for each filter. A sum joins the units that it adds, so that
    the channels of a stage's residual stream and of all convolutions that add to it are the same
    units. Units that enter a layer without a rule are fixed.

    Attributes:
        ends: For each node with per-channel weights: its rule, and the units of its `"input"`,
            `"output"` and `"inside"`.
    """

    def __init__(self, graph: EditableGraph) -> None:
        self._parents: list[int] = []
        self._fixed: dict[int, str] = {}
        self._axes: dict[int, int] = {}
        self._units: dict[int, np.ndarray] = {}
        self._graph = graph
        self.ends: dict[Node, tuple[ChannelFlow, dict[str, np.ndarray]]] = {}
        for call in graph.calls:
            source = getattr(call.layer, "source", call.layer)
            rule = rule_of(source) if isinstance(call.layer, Copy) else None
            flows = rule and _plain_arguments(call) and len(call.outputs) == 1
            if not (rule and flows and self._follow(call, source, rule)):
                for x in call.inputs:
                    self._fix(x, f"{_label(call)} takes them")
        for x in graph.outputs:
            self._fix(x, "the model outputs them")

    def of(self, x: Any) -> np.ndarray | None:
        """Return the units of a tensor's channels, or `None` if unknown."""
        units = self._units.get(id(x))
        return None if units is None else self.roots(units)

    def roots(self, units: np.ndarray) -> np.ndarray:
        """Return the representative number of each unit."""
        return np.array([self._find(unit) for unit in units.tolist()], int)

    def reason(self, unit: int) -> str | None:
        """Return why a unit must stay, or `None` if it can be removed."""
        return self._fixed.get(self._find(unit))

    def _find(self, unit: int) -> int:
        while self._parents[unit] != unit:
            self._parents[unit] = self._parents[self._parents[unit]]
            unit = self._parents[unit]
        return unit

    def _new(self, count: int) -> np.ndarray:
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def _join(self, one: np.ndarray, other: np.ndarray) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = sorted((self._find(a), self._find(b)))
            self._parents[b] = a
            if b in self._fixed:
                self._fixed.setdefault(a, self._fixed[b])

    def _fix(self, x: Any, reason: str) -> None:
        for unit in self._units.get(id(x), np.zeros(0, int)).tolist():
            self._fixed.setdefault(self._find(unit), reason)

    def _put(self, x: Any, axis: int, units: np.ndarray) -> bool:
        self._axes[id(x)], self._units[id(x)] = axis, units
        return True

    def _take(self, x: Any, axis: int) -> np.ndarray | None:
        """Return the units of an input, or `None` unless its channels are on that axis."""
        if id(x) not in self._units:
            if x.shape[axis] is None:
                return None
            self._put(x, axis, self._new(x.shape[axis]))
            call = self._graph.producer(x)
            self._fix(x, f"{_label(call)} outputs them" if call else "they are the model's input")
        return self._units[id(x)] if self._axes[id(x)] == axis else None

    def _follow(self, call: Call, layer: Any, rule: ChannelFlow) -> bool:
        """Assign units to the output; False if the call is not supported."""
        if rule.variables or isinstance(layer, ChannelAttention):
            return self._weigh(call, layer, rule)
        inputs = valued(layer, call.inputs)
        known = [self._axes[id(x)] for x in inputs if id(x) in self._axes]
        if not known:
            return True
        (y,), axis = call.outputs, known[0]
        rank = len(inputs[0].shape)
        if rule.flow == "flattened":
            return self._flatten(call, layer, axis)
        if rule.flow == "concatenated" and layer.axis % rank == axis:
            nodes = [self._take(x, axis) for x in inputs]
            whole = [node for node in nodes if node is not None]
            return len(whole) == len(nodes) and self._put(y, axis, np.concatenate(whole))
        if len(inputs) > 1 and rule.flow == "same":
            return False
        if hasattr(layer, "data_format") and channel_axis(layer, rank) != axis:
            return False
        # Global pooling leaves only the channels; an operation may average over any axis.
        to = axis if len(y.shape) == rank else 1
        if isinstance(layer, keras.layers.Permute):
            to = layer.dims.index(axis) + 1
        if len(y.shape) != rank and not isinstance(layer, keras.layers.Layer):
            return False
        # Others would broadcast along the channels.
        if any(len(x.shape) != rank or x.shape[axis] != y.shape[to] for x in inputs):
            return False
        merged = [self._take(x, axis) for x in inputs]
        first, *others = (units for units in merged if units is not None)
        if len(others) + 1 < len(merged):
            return False
        for units in others:
            self._join(first, units)
        return self._put(y, to, first)

    def _weigh(self, call: Call, layer: Any, rule: ChannelFlow) -> bool:
        (x, *others), (y,) = call.inputs, call.outputs
        axis = channel_axis(layer, len(x.shape))
        if others or axis is None or (taken := self._take(x, axis)) is None:
            return False
        if call.layer in self.ends:
            units = self.ends[call.layer][1]
            self._join(units["input"], taken)
        else:
            units = {"input": taken, "output": taken}
            if rule.flow == "new":
                units["output"] = self._new(y.shape[axis])
                inside = layer.depth_multiplier if "pointwise_kernel" in rule.variables else 1
                units["inside"] = np.repeat(taken, inside)
            elif rule.flow == "repeated":
                units["output"] = np.repeat(taken, layer.depth_multiplier)
            self.ends[call.layer] = rule, units
        self._put(y, axis, units["output"])
        if mixes_channels(layer):
            self._fix(y, f"the activation of layer {call.layer.name!r} mixes them")
        return True

    def _flatten(self, call: Call, layer: Any, axis: int) -> bool:
        (x,), (y,) = call.inputs, call.outputs
        shape = x.shape[1:]
        if None in shape:
            return False
        units = self._units[id(x)]
        one = [1] * len(shape)
        one[axis - 1] = len(units)
        whole = np.broadcast_to(units.reshape(one), shape)
        if layer.data_format == "channels_first":
            whole = np.moveaxis(whole, 0, -1)
        return self._put(y, 1, whole.reshape(math.prod(shape)))


def _label(call: Call) -> str:
    source = getattr(call.layer, "source", call.layer)
    return f"layer {call.layer.name!r} of type {type(source).__name__}"


def _plain_arguments(call: Call) -> bool:
    """Whether the call takes no arrays other than the network's tensors."""
    return all(
        all(map(keras.utils.is_keras_tensor, keras.tree.flatten(x)))
        or x is None
        or isinstance(x, bool | int | float | str)
        for x in (*call.args, *call.kwargs.values())
    )
