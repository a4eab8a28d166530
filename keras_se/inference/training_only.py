"""Remove layers that only act in training."""

from __future__ import annotations

import keras
from keras import layers

from keras_se.graph.copies import known
from keras_se.graph.editable import EditableGraph
from keras_se.graph.facts import facts_of
from keras_se.graph.nodes import Copy, New, trains
from keras_se.graph.trace import Call


def remove_training_only(graph: EditableGraph) -> list[str]:
    """Remove dropout, noise, augmentation and identities; Shake-Shake becomes a mean."""
    done = []
    for call in list(graph.calls):
        node = call.layer
        if not isinstance(node, Copy) or not known(node.source) or trains(node.source, call):
            continue
        if _does_nothing(node.source) and _keeps(call):
            graph.replace(call, call.inputs[0])
            done.append(node.label)
        elif type(node.source).__name__ == "ShakeShake" and len(call.inputs) == 2:
            mean = New(layers.Average, node.name, dtype=node.source.dtype_policy)
            graph.substitute(call, mean, call.inputs)
            done.append(node.label)
    return done


def _does_nothing(layer: object) -> bool:
    if isinstance(layer, layers.Activation):
        return layer.activation is keras.activations.linear
    return facts_of(layer).training_only or type(layer).__name__ == "Identity"


def _keeps(call: Call) -> bool:
    """Whether the output has the input's shape and dtype; some layers cast."""
    ends = [call.inputs[:1], call.outputs]
    first, last = ([(x.shape, x.dtype) for x in xs] for xs in ends)
    return first == last and len(call.outputs) == 1
