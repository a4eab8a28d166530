"""The editable graph of a model, with nested models flattened."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_se.graph.nodes import Copy, New, Node, trains
from keras_se.graph.trace import (
    Call,
    Graph,
    computes_its_graph,
    ends,
    is_functional,
    recursion,
    symbolic,
    trace,
)


class EditableGraph(Graph):
    """The calls of a model, edited in place; the model itself is unchanged.

    The layer of a call is a `Node`, one per layer of the model. The calls inside a nested model
    replace the call of the nested model.

    Args:
        model: A functional or built Sequential model.
        lift: Creates a layer's node from the layer, the names of the nested models around it, and
            all its calls. Defaults to `Copy`: the layer is unchanged.
    """

    def __init__(
        self,
        model: keras.Model,
        lift: Callable[[Any, tuple[str, ...], list[Call]], Copy] = (
            lambda layer, path, calls: Copy(layer, path)
        ),
    ) -> None:
        self.model = model
        graph = flattened(model)
        super().__init__(graph.calls, graph.inputs, graph.outputs)
        by_layer: dict[int, list[Call]] = {}
        for call in self.calls:
            by_layer.setdefault(id(call.layer), []).append(call)
        for calls in by_layer.values():
            layer = calls[0].layer
            if not isinstance(layer, New):
                node = lift(layer, calls[0].path, calls)
                for call in calls:
                    call.layer = node

    def nodes(self, kind: type[Any]) -> list[Any]:
        """Return the nodes of that class, in the order of their first calls."""
        return [x for x in dict.fromkeys(call.layer for call in self.calls) if isinstance(x, kind)]

    def insert(self, place: Call, node: Node, arguments: Any, shape: Any, dtype: str) -> Any:
        """Insert a call of `node` before the call `place`; return its output."""
        output = keras.KerasTensor(shape, dtype)
        call = Call(node, (arguments,), {}, [output])
        self.calls.insert(self.calls.index(place), call)
        self._producers[id(output)] = call
        for x in call.inputs:
            self._consumers[id(x)].append(call)
        return output

    def substitute(self, call: Call, node: Node, arguments: Any) -> None:
        """Put a call of `node` in place of a call, with the same output."""
        (y,) = call.outputs
        self.replace(call, self.insert(call, node, arguments, y.shape, y.dtype))

    def replace(self, call: Call, x: Any) -> None:
        """Remove the call; `x` replaces its only output."""
        (old,) = call.outputs
        self.remove(call)
        for consumer in self._consumers.pop(id(old), []):
            consumer.args, consumer.kwargs = _mapped({id(old): x}, (consumer.args, consumer.kwargs))
            self._consumers[id(x)].append(consumer)
        self.outputs = [x if y is old else y for y in self.outputs]

    def remove(self, call: Call) -> None:
        """Remove a call whose output is unused."""
        self.calls.remove(call)
        for x in call.outputs:
            del self._producers[id(x)]
        for x in call.inputs:
            self._consumers[id(x)].remove(call)

    def build(self, inputs: list[Any] | None = None) -> keras.Model:
        """Build a model that computes these calls, with its own variables.

        Args:
            inputs: The tensor to take as the only input, in a list. Defaults to inputs like the
                model's.
        """
        given = inputs
        inputs = inputs or [
            keras.Input(batch_shape=x.shape, dtype=x.dtype, sparse=x.sparse, name=x.name)
            for x in self.model.inputs
        ]
        tensors = {id(x): y for x, y in zip(self.inputs, inputs, strict=True)}
        names = _names(self.nodes(object), (x.name for x in inputs))
        made: dict[int, Any] = {}
        with recursion(2 * len(self.calls)):
            for call in self.calls:
                node = call.layer
                new = id(node) not in made
                if new:
                    made[id(node)] = node.make(names[id(node)])
                layer = made[id(node)]
                args, kwargs = _mapped(tensors, (call.args, call.kwargs))
                outputs = symbolic(node.call(layer, args, kwargs))
                tensors.update((id(x), y) for x, y in zip(call.outputs, outputs, strict=True))
                if new:
                    node.fill(layer)
            outputs = [tensors[id(x)] for x in self.outputs]
            source, target = ends(self.model)
            if given is not None:
                inputs = keras.utils.get_source_inputs(given[0])
                source = inputs[0] if len(inputs) == 1 else inputs
            return keras.Model(
                keras.tree.pack_sequence_as(source, inputs),
                keras.tree.pack_sequence_as(target, outputs),
                name=self.model.name,
            )


def _names(nodes: Iterable[Node], taken: Iterable[str]) -> dict[int, str]:
    """Return a unique name per node: its own if free; the model's own layers choose first."""
    used, names = set(taken), {}
    for node in sorted(nodes, key=lambda node: (isinstance(node, New), len(node.path))):
        name, number = node.name, 1
        if name in used and node.path:
            name = "_".join((*node.path, name))
        stem = name
        while name in used:
            number += 1
            name = f"{stem}_{number}"
        used.add(name)
        names[id(node)] = name
    return names


def _mapped(tensors: dict[int, Any], structure: Any) -> Any:
    return keras.tree.map_structure(lambda x: tensors.get(id(x), x), structure)


def flattened(model: keras.Model, path: tuple[str, ...] = ()) -> Graph:
    """Return the graph with nested models flattened; a new call of `New` casts their inputs."""
    graph = trace(model)
    tensors: dict[int, Any] = {}
    calls = []
    for call in graph.calls:
        call.args, call.kwargs = _mapped(tensors, (call.args, call.kwargs))
        if not _opens(call):
            call.path = path
            calls.append(call)
            continue
        inner = flattened(call.layer, (*path, call.layer.name))
        inside = {}
        for x, y in zip(inner.inputs, call.inputs, strict=True):
            inside[id(x)] = y
            if x.dtype != y.dtype:
                # A nested model casts its inputs.
                inside[id(x)] = keras.KerasTensor(y.shape, x.dtype)
                cast = functools.partial(_cast, dtype=x.dtype)
                calls.append(Call(New(cast, "cast"), (y,), {}, [inside[id(x)]]))
        for inner_call in inner.calls:
            inner_call.args, inner_call.kwargs = _mapped(
                inside, (inner_call.args, inner_call.kwargs)
            )
            calls.append(inner_call)
        for x, y in zip(call.outputs, inner.outputs, strict=True):
            tensors[id(x)] = inside.get(id(y), y)
    outputs = [tensors.get(id(x), x) for x in graph.outputs]
    return Graph(calls, graph.inputs, outputs)


def _cast(name: str, dtype: str) -> Any:
    return functools.partial(keras.ops.cast, dtype=dtype)


def _opens(call: Call) -> bool:
    """Whether the call can be flattened: a nested model that only computes its graph."""
    model = call.layer
    if not (is_functional(model) and computes_its_graph(model)) or trains(model, call):
        return False
    others = {key for key, value in call.kwargs.items() if value is not None} - {"training"}
    if len(call.args) != 1 or others:
        return False
    if len(model.inputs) > 1:
        try:
            keras.tree.assert_same_structure(model.input, call.args[0])
        except (TypeError, ValueError):
            return False
    given = call.inputs
    return len(given) == len(model.inputs) and all(
        len(x.shape) == len(y.shape) and x.sparse == y.sparse
        for x, y in zip(model.inputs, given, strict=True)
    )
