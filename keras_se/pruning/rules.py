"""How a layer treats channels, given its settings.

A layer without a rule, or of a user's class, is not supported: its inputs keep all channels.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import activations, layers

from keras_se.graph.copies import has_own_kernel, known
from keras_se.graph.facts import ChannelFlow, facts_of
from keras_se.layers import ChannelAttention

# Elementwise functions.
POINTWISE = (
    activations.celu, activations.elu, activations.exponential, activations.gelu,
    activations.hard_sigmoid, activations.hard_silu, activations.hard_tanh,
    activations.leaky_relu, activations.linear, activations.mish, activations.relu,
    activations.relu6, activations.selu, activations.sigmoid, activations.silu,
    activations.softplus, activations.softsign, activations.tanh,
)  # fmt: skip


def rule_of(layer: Any) -> ChannelFlow | None:
    """Return how the layer treats channels, or `None` if it is not supported."""
    if not known(layer):
        return None
    if isinstance(layer, ChannelAttention):
        own = {name: {axis: "input"} for name, axis in layer.channel_variables.items()}
        return ChannelFlow("same", own)
    found = facts_of(layer).channels
    if found is not None and not found.variables and len(getattr(layer, "weights", [])) > 0:
        # No rule covers these weights.
        found = None
    grouped = getattr(layer, "groups", 1) > 1
    shape: Any = getattr(layer, "noise_shape", None)
    if any(size not in (None, 1) for size in shape or ()):
        return None
    if isinstance(layer, layers.Rescaling) and (np.ndim(layer.scale) or np.any(layer.offset)):
        # A factor per channel would have to be removed too, and an offset would remain.
        return None
    mixes = mixes_channels(layer) and found is not None and found.flow != "new"
    return None if grouped or mixes or not has_own_kernel(layer) else found


def mixes_channels(layer: Any) -> bool:
    """Whether the layer's activation is not elementwise."""
    # The activation inside an attention block does not act on its channels.
    inside = isinstance(layer, ChannelAttention)
    return not inside and getattr(layer, "activation", activations.linear) not in POINTWISE


def channel_axis(layer: Any, rank: int) -> int | None:
    """Return the channel axis of a layer with weights, or `None` if it has several or none."""
    if isinstance(layer, layers.Dense):
        return rank - 1
    axis = getattr(layer, "axis", None)
    if axis is not None:
        return axis % rank if isinstance(axis, int) else None
    data_format = getattr(layer, "data_format", None) or keras.config.image_data_format()
    return 1 if data_format == "channels_first" else rank - 1
