"""`inflate`: turn a network for images into one for volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.checks import one_of, positive_integer
from keras_se.graph.copies import known
from keras_se.graph.editable import EditableGraph
from keras_se.graph.facts import facts_of, valued
from keras_se.graph.nodes import Copy
from keras_se.graph.trace import Call, computes_its_graph, is_functional
from keras_se.graph.volumes import MOVES, Volumetric
from keras_se.layers import PictureNormalization
from keras_se.weights.kernels import HOWS


def inflate(
    model: keras.Model,
    input_shape: Sequence[int | None],
    how: str = "average",
    name: str | None = None,
) -> keras.Model:
    """Turn a network for images into one for volumes, with its weights.

    A volume is a stack of images: its first axis, the depth, is new. Every k x k kernel becomes
    k x k x k, strides and pools likewise; a kernel or pool that is not square, such as 1 x 7,
    becomes 1 x 1 x 7, with a depth of one. BatchNorm, attention blocks and dense layers keep their
    weights, and the description of classes and normalisation is kept.

    On a volume of equal slices, the features of a network inflated by `"centre"` are those of the
    image, at every depth. By `"average"` they are, too, except near the first and last slice, where
    a kernel sees the zeros beyond them; each convolution carries this on, so that a shallow volume
    may have no slice without it. The last slices of an unpadded transposed convolution whose kernel
    is larger than its stride are off by both.

    Args:
        model: A functional or built Sequential model with one input of images, such as a network
            of this package, one fine-tuned or of `keras.applications`. It is unchanged.
        input_shape: Shape of one volume, `(depth, H, W, C)` or `(C, depth, H, W)`; sizes may be
            `None`. Another number of channels than the model's adapts the first convolution: the
            kernels of one channel are the sum of all, others repeat, rescaled.
        how: `"average"` (default): each slice of a kernel is the kernel of the image, divided by
            the number of slices. `"centre"`: the middle slice is that kernel, the others are zero.
        name: Name of the new model. Defaults to the model's.

    Returns:
        A functional `keras.Model` with its own variables, not compiled, and the layer names of
        `model`; nested models are flattened.

    Raises:
        ValueError: If the model has no such input or a layer without a form for volumes, or the
            volume does not fit it.

    Example:

    >>> image = keras_se.SEResNet20(weights="fashion_mnist")
    >>> keras_se.inflate(image, (16, 28, 28, 1)).input_shape
    (None, 16, 28, 28, 1)

    Reference:
        Carreira and Zisserman, Quo Vadis, Action Recognition? (arXiv:1705.07750), Section 2.4, for
        `"average"`; Arnab et al., ViViT (arXiv:2103.15691), Section 3.4, for `"centre"`.
    """
    one_of(*HOWS)("how", how)
    plane = is_functional(model) and computes_its_graph(model)
    shapes = [tuple(x.shape) for x in model.inputs] if plane else []
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            "`model` must be a functional or built Sequential `keras.Model` with one input of "
            f"images. Received: model of type {type(model).__name__} with inputs {shapes}"
        )
    graph, first = _volumetric(model, how)
    try:
        shape = tuple(None if n is None else positive_integer("", n) for n in input_shape)
        valid = len(shape) == 4 and shape[0 if first else -1] is not None
    except (TypeError, ValueError):
        valid = False
    if not valid:
        form = "(channels, depth, height, width)" if first else "(depth, height, width, channels)"
        raise ValueError(
            f"`input_shape` must be {form} with a known number of channels; the others may be "
            f"None. Received: input_shape={input_shape!r}"
        )
    return _built(graph, first, layers.Input(shape, dtype=model.inputs[0].dtype), name)


def inflated(model: keras.Model, inputs: Any, how: str = "average") -> keras.Model:
    """Inflate a network on an input tensor."""
    graph, first = _volumetric(model, how)
    return _built(graph, first, inputs, model.name)


def _volumetric(model: keras.Model, how: str) -> tuple[EditableGraph, bool]:
    """Return the graph with layers for volumes, and whether the channels come first."""
    graph = EditableGraph(model)
    nodes = graph.nodes(Copy)
    settings = (getattr(node.source, "data_format", None) for node in nodes)
    known_format = next((x for x in settings if x), keras.config.image_data_format())
    first = known_format == "channels_first"
    formats = _formats(graph, first)
    for node in nodes:
        calls = graph.calls_of(node)
        edges = all(_takes_edges(graph, call) for call in calls)
        taken = {formats[id(x)] for call in calls for x in call.inputs}
        new = Volumetric(node, calls, taken, how, edges)
        flattens = {_flattened(graph, call.inputs[0]) for call in calls if call.inputs}
        new.flatten = flattens.pop() if len(flattens) == 1 else None
        for call in calls:
            call.layer = new
    return graph, first


def _formats(graph: EditableGraph, first: bool) -> dict[int, bool]:
    """Whether the channels come first in each tensor, by its `id`."""
    found = {id(x): first for x in graph.inputs}
    for call in graph.calls:
        source = getattr(call.layer, "source", None)
        here = found[id(call.inputs[0])] if call.inputs else first
        if isinstance(source, layers.Permute) and tuple(source.dims) == MOVES[here][0]:
            here = not here
        found.update((id(y), here) for y in call.outputs)
    return found


def _flattened(graph: EditableGraph, x: Any) -> Volumetric | None:
    """The `Flatten` whose features `x` has, in their order."""
    while (call := graph.producer(x)) is not None:
        source = getattr(call.layer, "source", None)
        if isinstance(source, layers.Flatten):
            return call.layer if isinstance(call.layer, Volumetric) else None
        channels, training_only = facts_of(source).channels, facts_of(source).training_only
        keeps = training_only or (channels is not None and channels.flow in ("same", "merged"))
        if len(call.inputs) != 1 or not known(source) or not keeps:
            return None
        (x,) = call.inputs
    return None


def _takes_edges(graph: EditableGraph, call: Call) -> bool:
    """Whether pools or 1x1 convolutions follow, which have no weights for zeros in the depth."""
    consumers = [consumer for x in call.outputs for consumer in graph.consumers(x)]
    return bool(consumers) and all(
        "Pooling" in type(source).__name__ or set(getattr(source, "kernel_size", (0,))) == {1}
        for source in (getattr(consumer.layer, "source", None) for consumer in consumers)
    )


def _built(graph: EditableGraph, first: bool, inputs: Any, name: str | None) -> keras.Model:
    axis = 1 if first else -1
    channels, asked = (x.shape[axis] for x in (graph.inputs[0], inputs))
    if channels != asked:
        _adapt(graph, channels, asked)
    model = graph.build([inputs])
    model.name = name or model.name
    return model


def _only_use(graph: EditableGraph, x: Any) -> Call | None:
    """The only call that takes more than the size of `x`."""
    uses = [
        call for call in graph.consumers(x)
        if any(x is y for y in valued(getattr(call.layer, "source", None), call.inputs))
    ]  # fmt: skip
    return uses[0] if len(uses) == 1 and not graph.is_output(x) else None


def _adapt(graph: EditableGraph, channels: int, asked: int) -> None:
    """Adapt the normalisation and the first convolution to another number of channels."""
    x, reverse = graph.inputs[0], False
    while (call := _only_use(graph, x)) is not None:
        node = call.layer
        layer = getattr(node, "source", None)
        if not known(layer):
            break
        if isinstance(layer, PictureNormalization):
            # It repeats a single channel.
            if asked in (1, len(layer.mean)):
                return
            mean, std = (np.resize(values, asked).tolist() for values in (layer.mean, layer.std))
            node.changes |= {"mean": mean, "std": std, "channel_order": "RGB"}
            reverse = layer.channel_order == "BGR"
        elif facts_of(layer).kernel == "convolution" and getattr(layer, "groups", 1) == 1:
            node.channels, node.reverse = asked, reverse
            return
        elif not (facts_of(layer).homogeneous or isinstance(layer, layers.Rescaling)):
            break
        x = call.outputs[0]
    raise ValueError(
        f"`input_shape` must have {channels} channels: no convolution is at the start of the "
        f"model that could adapt. Received: {asked} channels"
    )
