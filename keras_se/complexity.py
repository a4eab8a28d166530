"""`cost`: parameters and multiply-adds of a network, by the paper's convention."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_se.graph.facts import FACTS, UNKNOWN, facts_of
from keras_se.graph.trace import Graph, is_functional, trace
from keras_se.layers import ChannelAttention
from keras_se.tables import as_text

Shape = tuple[Any, ...]
COLUMNS = ("layer", "kind", "output", "parameters", "share", "multiply-adds", "share")


@dataclass(frozen=True)
class LayerCost:
    """The cost of one call of a layer.

    Attributes:
        name: The layer's name, prefixed with the name of a nested model and a slash.
        kind: Its class.
        output_shape: Shape of its output for one picture.
        params: Its parameters; 0 if the layer was called before.
        macs: Multiply-adds for one picture; `None` if they are not counted.
        squeeze_excite: Whether it is an attention block.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    params: int
    macs: int | None
    squeeze_excite: bool


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-adds of a network; `str` gives a table.

    Args:
        params_trainable: Trainable parameters.
        params_total: All parameters, with BatchNorm's moving statistics: the paper's "Params".
        macs: Multiply-adds for one picture: the paper's "FLOPs".
        se_params: Parameters of the attention blocks, part of `params_total`.
        se_macs: Multiply-adds of these blocks, part of `macs`.
        layers: A `LayerCost` for each call of a layer with parameters or multiply-adds, in call
            order.
        not_counted: Names of layers that may multiply but are of an unsupported kind.

    Example:

    >>> cost = keras_se.cost(keras_se.SEResNet20(weights=None))
    >>> cost.se_macs / cost.macs < 0.01
    True
    >>> cost.layers[0]
    LayerCost(name='stem_conv', kind='Conv2D', output_shape=(32, 32, 16), params=432, macs=442368,
              squeeze_excite=False)
    """

    params_trainable: int
    params_total: int
    macs: int
    se_params: int
    se_macs: int
    layers: tuple[LayerCost, ...]
    not_counted: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = []
        for row in self.layers:
            output = " x ".join(map(str, row.output_shape))
            rows.append((row.name, row.kind, output, *self._figures(row.params, row.macs)))
        attention = self._figures(self.se_params, self.se_macs)
        total = self._figures(self.params_total, self.macs)
        rows += [(), ("attention blocks", "", "", *attention), ("total", "", "", *total)]
        lines = [
            as_text(COLUMNS, rows, words=3),
            f"trainable parameters: {self.params_trainable:,}",
        ]
        if self.not_counted:
            lines.append(f"not counted: {', '.join(self.not_counted)}")
        return "\n".join(lines)

    def _figures(self, params: int, macs: int | None) -> tuple[str, ...]:
        counted = ("not counted", "") if macs is None else (f"{macs:,}", _share(macs, self.macs))
        return f"{params:,}", _share(params, self.params_total), *counted


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else ""


def cost(
    model: keras.Model, input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None
) -> Cost:
    """Count the parameters and the multiply-adds of a network by the paper's convention.

    Multiply-adds are those of convolutions and fully connected layers, one per kernel element and
    position, and of Squeeze-and-Excitation: its two fully connected layers and the scaling, one per
    element of the feature maps. Pooling, normalisation, activations, sums and biases have none.
    Other layers that may multiply, such as recurrent ones and attention, are listed in
    `Cost.not_counted`.

    Args:
        model: Any functional or built Sequential model; multiply-adds of nested models and shared
            layers are counted once per call, their parameters once.
        input_shape: Shape of one picture, `(H, W, C)` or `(C, H, W)`, a tuple of integers; for a
            model with several inputs a list of shapes. Defaults to the model's own.

    Returns:
        The counts for one picture.

    Raises:
        ValueError: If the model is neither functional nor a built Sequential one, does not take
            `input_shape`, or has an input of unknown size and `input_shape` is not given.

    Example:

    >>> model = keras_se.SEResNet50(weights=None, include_top=False)
    >>> cost = keras_se.cost(model, (224, 224, 3))
    >>> cost.macs, cost.se_macs
    (3863959552, 8034304)

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 4, Eq. 5 and
        Table 2.
    """
    # Batch size 1, since layers may fold other axes into the batch.
    graph = trace(model, input_shape, batch_size=1)
    batch = graph.inputs[0].shape[0]
    if any(None in x.shape[1:] for x in graph.inputs):
        raise ValueError(
            "`input_shape` must be given for a model with an input of unknown size, such as "
            "(224, 224, 3). Received: input_shape=None, a model with input shape "
            f"{model.input_shape}"
        )
    rows, seen = [], set()
    for name, layer, inputs, outputs in _calls(graph):
        macs = _macs(layer, inputs, outputs)
        params = 0 if id(layer) in seen else _size(_weights(layer))
        seen.add(id(layer))
        if params or macs != 0:
            row = LayerCost(
                name=name,
                kind=type(layer).__name__,
                output_shape=outputs[0][1:],
                params=params,
                macs=None if macs is None else macs // batch,
                squeeze_excite=isinstance(layer, ChannelAttention),
            )
            rows.append(row)
    se = [row for row in rows if row.squeeze_excite]
    return Cost(
        params_trainable=_size(model.trainable_variables),
        params_total=model.count_params(),
        macs=sum(row.macs or 0 for row in rows),
        se_params=sum(row.params for row in se),
        se_macs=sum(row.macs or 0 for row in se),
        layers=tuple(rows),
        not_counted=tuple(dict.fromkeys(row.name for row in rows if row.macs is None)),
    )


def _calls(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Any, list[Shape], list[Shape]]]:
    """Name, layer, input shapes and output shapes of every call, in nested models too."""
    for call in graph.calls:
        inputs, outputs = ([tuple(x.shape) for x in xs] for xs in (call.inputs, call.outputs))
        yield from _inside(prefix + call.layer.name, call.layer, inputs, outputs)


def _inside(
    name: str, layer: Any, inputs: list[Shape], outputs: list[Shape]
) -> Iterator[tuple[str, Any, list[Shape], list[Shape]]]:
    if not _known(inputs):
        yield name, layer, inputs, outputs
    elif is_functional(layer):
        # Its inputs may be followed by masks.
        shapes = [shape[1:] for shape in inputs[: len(layer.inputs)]]
        yield from _calls(trace(layer, shapes, inputs[0][0]), f"{name}/")
    elif isinstance(layer, layers.TimeDistributed):
        # Fold time into the batch.
        folded = [[(x[0] * x[1], *x[2:]) for x in shapes] for shapes in (inputs, outputs)]
        yield from _inside(f"{name}/{layer.layer.name}", layer.layer, *folded)
    else:
        yield name, layer, inputs, outputs


def _macs(layer: Any, inputs: list[Shape], outputs: list[Shape]) -> int | None:
    """Multiply-adds of a call on the whole batch; `None` if they are not counted."""
    if not _multiplies(layer):
        return 0
    form = facts_of(layer).kernel
    if form == "einsum" and _known(inputs):
        # Keras does not always know its output shape.
        return _einsum(layer.equation, inputs[0], layer.kernel.shape)
    if not _known(inputs + outputs):
        return None
    x, y = math.prod(inputs[0]), math.prod(outputs[0])
    match form:
        case "convolution":
            return y * math.prod(layer.kernel.shape[:-1])
        case "transposed":
            return x * math.prod(layer.kernel.shape[:-1])
        case "depthwise":
            return y * math.prod(layer.kernel.shape[:-2])
        case "separable":
            positions = y // layer.pointwise_kernel.shape[-1]
            return positions * _size([layer.depthwise_kernel, layer.pointwise_kernel])
        case "dense":
            return y * inputs[0][-1]
    if isinstance(layer, ChannelAttention):
        batch = outputs[0][0]
        return layer.multiply_adds(batch, y // batch // layer.channels)
    if isinstance(layer, layers.SpectralNormalization):
        return _macs(layer.layer, inputs, outputs)
    return None


def _multiplies(layer: Any) -> bool:
    if isinstance(layer, ChannelAttention):
        return True
    # By the exact class, since a subclass may multiply even if its base does not.
    said = FACTS.get(type(layer).__name__, UNKNOWN).multiplies
    return any(len(weight.shape) > 1 for weight in _weights(layer)) if said is None else said


def _known(shapes: list[Shape]) -> bool:
    return all(None not in shape for shape in shapes)


def _weights(layer: Any) -> list[Any]:
    return getattr(layer, "weights", [])


def _size(weights: list[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _einsum(equation: str, input_shape: Shape, kernel_shape: Shape) -> int:
    """The product of the sizes of all indices; every output index is in one of the inputs."""
    left, right, _ = re.split(",|->", equation)
    before, _, after = left.partition("...")
    more = len(input_shape) - len(before) - len(after)
    indices = [*before, *(f"...{number}" for number in range(more)), *after]
    sizes = dict(zip(indices, input_shape, strict=True)) | dict(
        zip(right, kernel_shape, strict=True)
    )
    return math.prod(sizes.values())
