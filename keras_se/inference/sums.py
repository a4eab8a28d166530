"""Multiplication, addition and activation in one pass over the feature maps."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from keras_se.graph.copies import known
from keras_se.graph.editable import EditableGraph
from keras_se.graph.nodes import Copy, New
from keras_se.graph.trace import Call, merges
from keras_se.inference.affine import Affine
from keras_se.inference.folding import multiplies
from keras_se.inference.squeeze import excites, split
from keras_se.layers import MultiplyAdd


def join_sums(graph: EditableGraph) -> list[str]:
    """Merge `activation(x * gates + shortcut)`, and a BatchNorm with its activation."""
    done = []
    for call in list(graph.calls):
        product = _product(graph, call)
        if product is None:
            continue
        if excites(graph, product.layer):
            split(graph, product.layer)
            product = _product(graph, call)
            assert product is not None
        done.append(call.layer.label)
        (y,) = product.outputs
        shortcut = next(x for x in call.inputs if x is not y)
        last, activation = _activation(graph, call)
        node = New(
            MultiplyAdd,
            last.layer.name,
            activation=activation,
            dtype=call.outputs[0].dtype,
        )
        graph.substitute(last, node, [*product.inputs, shortcut])
        for used in (call, product):
            if used is not last:
                graph.remove(used)
    for affine in graph.nodes(Affine):
        ends = [_activation(graph, call) for call in graph.calls_of(affine)]
        activations = {activation for _, activation in ends}
        if affine.changed and not affine.activated and len(activations) == 1:
            (activation,) = activations
            if activation is not None:
                affine.activation, affine.name = activation, ends[0][0].layer.name
                for last, _ in ends:
                    graph.replace(last, last.inputs[0])
                done.append(affine.label)
    return done


def compile_sums(graph: EditableGraph) -> list[str]:
    """Let XLA compile each of these layers into one loop on TensorFlow."""
    done = []
    for node in graph.nodes(New):
        if node.create is MultiplyAdd and "jit_compile" not in node.settings:
            node.settings["jit_compile"] = True
            done.append(node.name)
    for affine in graph.nodes(Affine):
        if affine.changed and not affine.jit_compile:
            affine.jit_compile = True
            done.append(affine.label)
    return done


def _product(graph: EditableGraph, call: Call) -> Call | None:
    """Return the multiplication or block whose output the call adds to an equal shape."""
    node = call.layer
    if not isinstance(node, Copy) or not known(node.source):
        return None
    whole = merges(Call(node.source, call.args, call.kwargs, call.outputs))
    if type(node.source).__name__ != "Add" or len(call.inputs) != 2 or not whole:
        return None
    (y,) = call.outputs
    for x in call.inputs:
        product = graph.producer(x)
        if (
            product is not None
            and graph.only_consumer(x) is call
            and (excites(graph, product.layer) or multiplies(product))
            and all(z.shape == y.shape for z in call.inputs)
            and all(z.dtype == y.dtype for z in (*call.inputs, *product.inputs))
        ):
            return product
    return None


def _activation(graph: EditableGraph, call: Call) -> tuple[Call, Any]:
    """Return the activation call that is the only consumer, and its function, else `call, None`."""
    (x,) = call.outputs
    following = graph.only_consumer(x)
    layer = getattr(following.layer, "source", None) if following else None
    if following and known(layer) and following.outputs[0].dtype == x.dtype:
        if isinstance(layer, layers.Activation):
            return following, layer.activation
        unbounded = isinstance(layer, layers.ReLU) and not (
            layer.max_value is not None or layer.threshold or layer.negative_slope
        )
        if unbounded or type(layer).__name__ == "Relu":
            return following, keras.activations.relu
    return call, None
