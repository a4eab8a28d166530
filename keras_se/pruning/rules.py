"""How a layer treats channels, with its own settings.

A layer without a rule, or of a user's own class, is not understood: what it takes keeps all its
channels.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import activations, layers

from keras_se.graph.copies import has_own_kernel, known
from keras_se.graph.facts import ChannelFlow, facts_of
from keras_se.layers import ChannelAttention

# Functions of each element by itself.
POINTWISE = (
    activations.celu, activations.elu, activations.exponential, activations.gelu,
    activations.hard_sigmoid, activations.hard_silu, activations.hard_tanh,
    activations.leaky_relu, activations.linear, activations.mish, activations.relu,
    activations.relu6, activations.selu, activations.sigmoid, activations.silu,
    activations.softplus, activations.softsign, activations.tanh,
)  # fmt: skip


def rule_of(layer: Any) -> ChannelFlow | None:
    """How the layer treats channels; `None` if it is not understood."""
    if not known(layer):
        return None
    if isinstance(layer, ChannelAttention):
        own = {name: {axis: "input"} for name, axis in layer.channel_variables.items()}
        return ChannelFlow("same", own)
    found = facts_of(layer).channels
    if found is not None and not found.variables and len(getattr(layer, "weights", [])) > 0:
        # Weights of which no rule tells.
        found = None
    grouped = getattr(layer, "groups", 1) > 1
    shape: Any = getattr(layer, "noise_shape", None)
    if any(size not in (None, 1) for size in shape or ()):
        return None
    if isinstance(layer, layers.Rescaling) and (np.ndim(layer.scale) or np.any(layer.offset)):
        # A channel's own factor would have to be removed with it; and a constant would stay.
        return None
    mixes = mixes_channels(layer) and found is not None and found.flow != "new"
    return None if grouped or mixes or not has_own_kernel(layer) else found


def mixes_channels(layer: Any) -> bool:
    """Whether the layer's activation is not a function of each element by itself."""
    # That inside an attention block is not one of its channels.
    inside = isinstance(layer, ChannelAttention)
    return not inside and getattr(layer, "activation", activations.linear) not in POINTWISE


def channel_axis(layer: Any, rank: int) -> int | None:
    """The axis that a layer with weights has its channels on; `None` if it has several or none."""
    if isinstance(layer, layers.Dense):
        return rank - 1
    axis = getattr(layer, "axis", None)
    if axis is not None:
        return axis % rank if isinstance(axis, int) else None
    data_format = getattr(layer, "data_format", None) or keras.config.image_data_format()
    return 1 if data_format == "channels_first" else rank - 1
