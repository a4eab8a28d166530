"""The graph of a functional model: its layers in call order, with their tensors.

Tracing uses only Keras' public API, does not change the model, and allocates no weights.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from keras_se.checks import positive_integer


@dataclass(eq=False)
class Call:
    """One call of a layer, nested model, or operation of `keras.ops`, with its symbolic outputs.

    `path` names the nested models around it, once they are flattened.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]
    path: tuple[str, ...] = ()

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors among the arguments, in order."""
        return symbolic((self.args, self.kwargs))


@dataclass(eq=False)
class Graph:
    """The calls of a model in topological order, without input layers, on symbolic tensors."""

    calls: list[Call]
    inputs: list[Any]
    outputs: list[Any]

    def __post_init__(self) -> None:
        self._producers = {id(x): call for call in self.calls for x in call.outputs}
        self._consumers: dict[int, list[Call]] = defaultdict(list)
        for call in self.calls:
            for x in call.inputs:
                self._consumers[id(x)].append(call)

    def calls_of(self, layer: Any) -> list[Call]:
        """Return the calls of a layer."""
        return [call for call in self.calls if call.layer is layer]

    def producer(self, x: Any) -> Call | None:
        """Return the call that outputs `x`, or `None` for an input."""
        return self._producers.get(id(x))

    def consumers(self, x: Any) -> list[Call]:
        """Return the calls that take `x`, once per use."""
        return self._consumers[id(x)]

    def is_output(self, x: Any) -> bool:
        """Whether `x` is an output of the model."""
        return any(x is y for y in self.outputs)

    def only_consumer(self, x: Any) -> Call | None:
        """Return the call that is the only use of `x`, or `None` if there are other uses."""
        consumers = self.consumers(x)
        return consumers[0] if len(consumers) == 1 and not self.is_output(x) else None


class _Probe(keras.Operation):
    """Stands in for an operation: computes its output shapes without changing it."""

    def __init__(self, operation: Any) -> None:
        super().__init__(name=operation.name)
        self.operation = operation

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.operation.compute_output_spec(*args, **kwargs)


def trace(
    model: keras.Model,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    batch_size: int | None = None,
) -> Graph:
    """Return the graph of a functional or built Sequential model.

    A nested model is one call; `trace` it with the shapes of that call's inputs to look inside. The
    shapes of the graph's tensors are known as far as those of its inputs are.

    `input_shape`, without the batch, replaces the model's own; for several inputs it is a list of
    shapes. `batch_size` applies unless the model fixes it. A `ValueError` names the layer that
    rejects a shape.
    """
    check_functional(model)
    shapes = _input_shapes(model, input_shape)
    calls: list[Call] = []

    def call(probe: _Probe, *args: Any, **kwargs: Any) -> Any:
        inputs = symbolic((args, kwargs))
        try:
            _check_sizes(probe.operation, inputs)
            outputs = probe(*args, **kwargs)
        except Exception as error:  # Backends raise different exceptions.
            raise ValueError(
                "`input_shape` must fit every layer; layer "
                f"{probe.operation.name!r} rejects {', '.join(str(x.shape) for x in inputs)}."
                f" Received: input_shape={input_shape}"
            ) from error
        calls.append(Call(probe.operation, args, kwargs, symbolic(outputs)))
        return outputs

    batch = (x.shape[0] or batch_size for x in model.inputs)
    whole = [(size, *shape) for size, shape in zip(batch, shapes, strict=True)]
    clone = _clone(model, whole, _Probe, call)
    return Graph(calls, clone.inputs, clone.outputs)


def recalled(model: keras.Model) -> Graph:
    """Call a model's own layers again on new symbolic inputs, so that models can be built on them.

    Unlike `layer.output`, its tensors are the model's even if its layers are shared.
    """
    calls: list[Call] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        calls.append(Call(layer, args, kwargs, symbolic(outputs)))
        return outputs

    shapes = [tuple(x.shape) for x in model.inputs]
    copy = _clone(model, shapes, lambda layer: layer, call)
    return Graph(calls, copy.inputs, copy.outputs)


def _clone(
    model: keras.Model, shapes: list[tuple[Any, ...]], clone: Callable[[Any], Any],
    call: Callable[..., Any],
) -> keras.Model:  # fmt: skip
    """Clone a model for inputs of these shapes, including the batch."""
    with recursion(2 * len(getattr(model, "operations", model.layers))):
        # Cloning the user's model itself would also compile the clone.
        bare = keras.Model(model.inputs, model.outputs, name=model.name)
        inputs = [
            keras.Input(batch_shape=shape, dtype=x.dtype, sparse=x.sparse, name=x.name)
            for x, shape in zip(model.inputs, shapes, strict=True)
        ]
        return keras.models.clone_model(bare, inputs, clone_function=clone, call_function=call)


def is_functional(model: Any) -> bool:
    """Whether `trace` supports the model; subclassed and unbuilt ones have no inputs."""
    inputs = keras.tree.flatten(getattr(model, "inputs", []))
    known = bool(inputs) and all(map(keras.utils.is_keras_tensor, inputs))
    return known and isinstance(model, keras.Model)


def computes_its_graph(model: keras.Model) -> bool:
    """Whether a functional model's `call` is Keras' own."""
    return type(model).call.__module__.split(".")[0] == "keras"


def check_functional(
    model: Any, also: str = "", holds: Callable[[keras.Model], bool] = lambda model: True
) -> None:
    """Raise a `ValueError` unless the model is functional and `holds`, in words `also`."""
    known = is_functional(model)
    if not (known and holds(model)):
        raise ValueError(
            f"`model` must be a functional or built Sequential `keras.Model`{also}. "
            f"Received: model of type {type(model).__name__}"
            + (f", {len(model.inputs)} inputs, {len(model.outputs)} outputs" if known else "")
        )


def check_editable(model: Any) -> None:
    """Raise a `ValueError` unless the model only computes its graph."""
    check_functional(model, " without a `call` of its own", computes_its_graph)


def check_one_output(model: Any) -> None:
    """Raise a `ValueError` unless the model is functional and has one output."""
    check_functional(model, " with one output", lambda model: len(model.outputs) == 1)


def ends(model: keras.Model) -> tuple[Any, Any]:
    """Return the inputs and outputs of a functional model in the structure of its calls."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def merges(call: Call) -> bool:
    """Whether the call concatenates or adds only symbolic tensors, no arrays."""
    layer, count = call.layer, len(call.inputs)
    if isinstance(layer, keras.layers.Concatenate | keras.layers.Add):
        return len((layer.get_build_config() or {}).get("input_shape", ())) == count
    return type(layer).__name__ == "Add" and count == 2


@contextmanager
def recursion(depth: int) -> Iterator[None]:
    """Raise the recursion limit, by default 1000; Keras recurses once per layer."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def symbolic(structure: Any) -> list[Any]:
    """Return the symbolic tensors of a structure, in order."""
    return [x for x in keras.tree.flatten(structure) if keras.utils.is_keras_tensor(x)]


def _input_shapes(model: keras.Model, input_shape: Any) -> list[tuple[int | None, ...]]:
    own = shapes = [tuple(x.shape[1:]) for x in model.inputs]
    if input_shape is None:
        return own
    try:
        several = isinstance(input_shape[0], list | tuple)
        shapes = [
            tuple(positive_integer("", size) for size in shape)
            for shape in (input_shape if several else [input_shape])
        ]
        valid = list(map(len, shapes)) == list(map(len, own))
    except (TypeError, ValueError, LookupError):
        valid = False
    if not valid:
        raise ValueError(
            "`input_shape` must be integers of at least 1 in the form of the model's own, "
            f"{own[0] if len(own) == 1 else own}. Received: input_shape={input_shape!r}"
        )
    return shapes


def _check_sizes(layer: Any, inputs: list[Any]) -> None:
    """Raise a `ValueError` if the layer's weights fix a size that an input does not have.

    `compute_output_spec` does not check it.
    """
    for spec, x in zip(
        keras.tree.flatten(getattr(layer, "input_spec", None)), inputs, strict=False
    ):
        for axis, size in (spec.axes or {} if spec else {}).items():
            if None not in (size, x.shape[axis]) and size != x.shape[axis]:
                raise ValueError(f"axis {axis} must be {size}")
