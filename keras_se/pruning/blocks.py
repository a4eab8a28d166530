"""The blocks of a network and their measured gates."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import keras
import numpy as np

from keras_se.analysis.gates import blocks_of, check_blocks
from keras_se.analysis.result import Excitations
from keras_se.graph.editable import EditableGraph
from keras_se.graph.nodes import Copy
from keras_se.graph.trace import check_editable
from keras_se.layers import ChannelAttention


def check_model(model: Any) -> None:
    """Raise a `ValueError` unless the model is functional and holds blocks."""
    check_editable(model)
    check_blocks(model)


def blocks_in(graph: EditableGraph) -> dict[str, Copy]:
    """Return the blocks that the network itself calls, by their names in `Excitations`."""
    nodes: list[Copy] = graph.nodes(Copy)
    return {node.label: node for node in nodes if isinstance(node.source, ChannelAttention)}


def mean_gates(model: keras.Model, excitations: Any) -> dict[str, np.ndarray]:
    """Return the mean gates of every block, `(C,)`, with equal weight per class and call.

    Excitations that were not measured on this model, or one like it, raise a `ValueError`.
    """
    if not isinstance(excitations, Excitations):
        raise ValueError(
            "`excitations` must be a result of `keras_se.excitations`. "
            f"Received: excitations of type {type(excitations).__name__}"
        )
    widths = {name: block.channels for name, block in blocks_of(model).items()}
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, gates in excitations.mean.items():
        # A block's second call has the name "block:2".
        block = name if name in widths else name.rpartition(":")[0]
        found[block if block in widths else name].append(gates[excitations.counts > 0])
    for name in [*(found.keys() ^ widths.keys())][:1]:
        which = "the model" if name in widths else "the excitations"
        raise ValueError(
            "`excitations` must be measured on this model. "
            f"Received: block {name!r}, which only {which} has"
        )
    for name, calls in found.items():
        if calls[0].shape[1] != widths[name]:
            raise ValueError(
                f"`excitations` must be measured on this model. Received: block {name!r} with "
                f"{calls[0].shape[1]} channels, not {widths[name]} as in the model"
            )
    if not excitations.counts.any():
        raise ValueError("`excitations` must cover at least one image. Received: none")
    return {name: np.concatenate(calls).mean(0) for name, calls in found.items()}
