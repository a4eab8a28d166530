"""Recognise layers as linear or affine operations, which can absorb others."""

from __future__ import annotations

from typing import Any

from keras_se.graph.copies import known
from keras_se.graph.nodes import Copy, trains
from keras_se.graph.trace import Call
from keras_se.inference.affine import Affine
from keras_se.inference.linear import Linear


def lift(layer: Any, path: tuple[str, ...], calls: list[Call]) -> Copy:
    """Create the node for a layer of the model and all its calls."""
    if (
        known(layer)
        and getattr(layer, "built", False)
        and not any(trains(layer, call) for call in calls)
    ):
        if Linear.accepts(layer):
            return Linear(layer, path)
        if Affine.accepts(layer, calls):
            return Affine(layer, path, calls[0].inputs[0])
    return Copy(layer, path)
