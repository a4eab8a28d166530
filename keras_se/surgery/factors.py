"""Find the weights next to a block that absorb its factor of two, so that gates of 1/2 cancel.

Powers of two are exact in floating point.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.graph.copies import has_own_kernel, known
from keras_se.graph.facts import facts_of
from keras_se.graph.trace import (
    Call,
    Graph,
    check_editable,
    computes_its_graph,
    is_functional,
    merges,
    trace,
)

LINEAR = keras.activations.linear
HOMOGENEOUS = (LINEAR, keras.activations.relu, keras.activations.leaky_relu)


@dataclass(eq=False)
class Scope:
    """The graph of the given model or of a nested one, whose `path` is such as `nested/`.

    Its places are the layers that a block follows, or the blocks themselves.
    """

    path: str
    graph: Graph
    places: list[Any] = field(default_factory=list)

    def data_format(self, x: Any) -> str:
        """Return the data format of the nearest layer before `x` that has one."""
        while call := self.graph.producer(x):
            layer, rank = call.layer, len(call.outputs[0].shape)
            # Flatten's seldom matches its input.
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


class Factors:
    """The places of blocks, and the weights that absorb their factors of two.

    Args:
        model: The given model.
        blocks: Whether the places are existing blocks, not layers that a block will follow.

    Attributes:
        scopes: The given model and the nested ones, by `id`.
        powers: The power of two for `(layer, "all")`, all its weights, or `(layer, "kernel")`.
    """

    def __init__(self, model: keras.Model, blocks: bool = False) -> None:
        self.root = model
        self.blocks = blocks
        self.scopes: dict[int, Scope] = {}
        self.powers: Counter[tuple[Any, str]] = Counter()
        check_editable(model)
        self._look_into(model, "")
        self._uses = Counter(
            id(call.layer) for scope in self.scopes.values() for call in scope.graph.calls
        )

    def _look_into(self, model: keras.Model, path: str) -> None:
        if id(model) in self.scopes:
            return
        scope = self.scopes[id(model)] = Scope(path, trace(model))
        for call in scope.graph.calls:
            if is_functional(call.layer) and computes_its_graph(call.layer):
                self._look_into(call.layer, f"{path}{call.layer.name}/")

    def weigh(self, requirement: str) -> None:
        """Find the weights next to each place that make up for gates of one half.

        If there are none, the message of the `ValueError` begins with `requirement`.
        """
        for scope in self.scopes.values():
            for place in scope.places:
                found = self.beside(scope, place)
                if found is None:
                    raise ValueError(f"{requirement}. Received: layer {scope.label(place)}")
                self.powers.update(found)

    def beside(self, scope: Scope, place: Any) -> dict[tuple[Any, str], int] | None:
        """Return the powers of two that double the output of `place`, or `None`.

        Weights before the place are preferred to those after it.
        """
        calls = scope.graph.calls_of(place)
        after = [call.outputs[0] for call in calls]
        before = after
        if self.blocks:
            alone = all(scope.graph.only_consumer(call.inputs[0]) for call in calls)
            before = [call.inputs[0] for call in calls] if alone else []
        for search, tensors in ((self._before, before), (self._behind, after)):
            found: Counter[tuple[Call, str]] = Counter()
            if tensors and all(search(scope, x, found) for x in tensors):
                powers: dict[tuple[Any, str], list[int]] = {}
                for (call, part), power in found.items():
                    powers.setdefault((call.layer, part), []).append(power)
                # Scaling a layer would also change its other calls.
                if all(
                    len(same) == self._uses[id(layer)] and len(set(same)) == 1
                    for (layer, _), same in powers.items()
                ):
                    return {weights: same[0] for weights, same in powers.items()}
        return None

    def _before(self, scope: Scope, x: Any, found: Counter[tuple[Call, str]]) -> bool:
        """Add to `found` the calls whose weights, doubled, double `x`; False if none do."""
        call = scope.graph.producer(x)
        if call is None or not known(call.layer):
            return False
        layer, inputs = call.layer, call.inputs
        if facts_of(layer).normalises:
            found[call, "all"] += 1
            # The copy of a BatchNorm can get a scale.
            given = isinstance(layer, layers.BatchNormalization) and not self.blocks
            return given or layer.gamma is not None
        if facts_of(layer).kernel and layer.activation in HOMOGENEOUS and has_own_kernel(layer):
            found[call, "all"] += 1
            return True
        if not (homogeneous(call) or merges(call)):
            return False
        return all(scope.graph.only_consumer(y) and self._before(scope, y, found) for y in inputs)

    def _behind(self, scope: Scope, x: Any, found: Counter[tuple[Call, str]]) -> bool:
        """Add to `found` the calls whose kernels, doubled, compensate for halving `x`."""
        consumers = scope.graph.consumers(x)
        if scope.graph.is_output(x) or not consumers:
            return False
        for call in consumers:
            if known(call.layer) and facts_of(call.layer).kernel and has_own_kernel(call.layer):
                found[call, "kernel"] += 1
            elif not homogeneous(call) or not self._behind(scope, call.outputs[0], found):
                return False
        return True


def homogeneous(call: Call) -> bool:
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


def multiply(layer: Any, part: str, factor: float) -> None:
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
