"""Insert attention blocks into a network without changing its function.

All gates of new blocks are one half and get a gradient; the factor of two goes into an adjacent
linear operation. In eager mode the network's outputs are bit-identical.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
from keras import layers

from keras_se.graph.copies import copy_values, twin
from keras_se.graph.trace import ends, recursion
from keras_se.layers import AttentionConfig, ChannelAttention, SEConfig
from keras_se.layers._arguments import HALF_PRECISION
from keras_se.layers.attention import NEUTRAL_GATES
from keras_se.surgery.factors import Factors, Scope, multiply
from keras_se.surgery.places import Where, check_place, choose


def add_squeeze_excite(
    model: keras.Model,
    where: Where = None,
    se: AttentionConfig = SEConfig(),  # noqa: B008
    name: str | None = None,
) -> keras.Model:
    """Return a copy of a CNN with Squeeze-and-Excitation that initially computes the same.

    The copy has its own weights, initialised from the model's; the model is unchanged. Each new
    block `<layer>_se` has gates of exactly one half that get a gradient; the factor of two goes
    into the kernel and bias of an adjacent convolution, or into the scale and offset of a
    normalisation (a BatchNorm without a scale gets one). In float32 the copy's outputs are
    bit-identical where the backend runs operations one by one, as `model(x)` does; `predict`
    compiles them and may differ in the last bits, about 1e-7 of the output. Frozen layers stay
    frozen; the new blocks train.

    Args:
        model: A functional or built Sequential model, channels first or last, with any number
            of inputs and outputs; it may hold nested models and shared layers.
        where: Layers that a block follows: `None` (default), the last linear convolution or
            normalisation of every residual branch or, in a model without such branches, every
            convolution with its normalisation and ReLU, except depthwise ones; a list of layer
            names, a regular expression to search for in the names, or a function from layers to
            booleans. The name of a layer in a nested model is `"nested/layer"` or just `"layer"`.
            All calls of a shared layer share its block.
        se: Settings of the blocks; gate `"sigmoid"` or `"hard_sigmoid"`, placement `"standard"`,
            stages `None`, since `where` selects the places. Defaults to `SEConfig()`.
        name: Name of the copy. Defaults to `se_` plus the model's name.

    Returns:
        A functional `keras.Model`, not compiled, with the inputs and outputs of `model`.

    Raises:
        ValueError: If the model is not functional, or has a layer that its configuration does
            not describe; if `where` finds no layer, or one that a block cannot follow or that has
            no linear operation next to it; if a `ratio` above the default exceeds a layer's
            channels; if `se` is none of the above.

    Example:

    >>> plain = keras.applications.MobileNetV2(weights=None)
    >>> model = keras_se.add_squeeze_excite(plain)
    >>> sum(isinstance(layer, keras_se.SqueezeExcite) for layer in model.layers)
    10

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 3.3.
    """
    if not isinstance(se, AttentionConfig):
        raise ValueError(
            f"`se` must be settings such as `keras_se.SEConfig()`. Received: se={se!r}"
        )
    if not se.starts_neutral:
        raise ValueError(
            f"`gate` must be one of {NEUTRAL_GATES}, which are one half at zero. "
            f"Received: gate={se.gate!r}"
        )
    if se.placement != "standard" or se.stages is not None:
        raise ValueError(
            "`se` must have placement='standard' and stages=None; `where` selects the layers. "
            f"Received: se={se!r}"
        )
    factors = Factors(model)
    choose(factors, where)
    for scope in factors.scopes.values():
        for place in scope.places:
            check_place(scope, place, se)
    if se.block.neutral_gate != 1:
        factors.weigh(
            "`where` must name layers next to a convolution or normalisation that can absorb a "
            "factor of two, with only ReLU and pooling between"
        )
    with recursion(sum(len(scope.graph.calls) for scope in factors.scopes.values())):
        return _copy(factors, model, name or f"se_{model.name}", se)


def start_neutral(model: keras.Model, names: Collection[str]) -> None:
    """Turn the attention blocks of these names into the identity.

    The gates become one half and the factor of two goes into a linear operation next to each block,
    as in `add_squeeze_excite`: the model computes the same as without its blocks. A block without
    such an operation raises a `ValueError`.
    """
    factors = Factors(model, blocks=True)
    scope = factors.scopes[id(model)]
    called = dict.fromkeys(call.layer for call in scope.graph.calls)
    scope.places = [x for x in called if isinstance(x, ChannelAttention) and x.name in names]
    if any(block.neutral_gate != 1 for block in scope.places):
        factors.weigh("`model` must have weights next to each block that can absorb a factor of 2")
    for (layer, part), power in factors.powers.items():
        multiply(layer, part, 2.0**power)
    for block in scope.places:
        block.make_neutral()


def _copy(factors: Factors, model: keras.Model, name: str, se: AttentionConfig) -> keras.Model:
    """Copy the whole model, with its blocks and weights."""
    copies: dict[int, tuple[Any, Any]] = {}
    blocks: list[ChannelAttention] = []
    normalised = (layer for layer, _ in factors.powers)
    scaled = {x for x in normalised if isinstance(x, layers.BatchNormalization)}

    def copied(layer: Any, frozen: bool) -> Any:
        if id(layer) not in copies:
            if id(layer) in factors.scopes:
                new = rebuilt(layer, layer.name, frozen)
            else:
                new = twin(layer, **({"scale": True} if layer in scaled else {}))
                if frozen:
                    new.trainable = False
            copies[id(layer)] = layer, new
        return copies[id(layer)][1]

    def rebuilt(model: keras.Model, name: str, frozen: bool) -> keras.Model:
        scope = factors.scopes[id(model)]
        taken = {call.layer.name for call in scope.graph.calls}
        taken.update(x.name for x in scope.graph.inputs)
        places: dict[int, Any] = {}
        followers: dict[int, ChannelAttention] = {}

        def clone(layer: Any) -> Any:
            # The blocks of a frozen model train, so freeze its other layers instead.
            new = copied(layer, frozen or not model.trainable)
            if layer in scope.places:
                places[id(new)] = layer
            return new

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = layer(*args, **kwargs)
            if id(layer) not in places:
                return outputs
            if id(layer) not in followers:
                (x,) = keras.tree.flatten(outputs)
                followers[id(layer)] = _block(places[id(layer)], scope, taken, x, se)
                blocks.append(followers[id(layer)])
            return keras.tree.map_structure(followers[id(layer)], outputs)

        # Cloning the user's model itself would also compile the clone.
        bare = keras.Model(*ends(model), name=name)
        return keras.models.clone_model(bare, clone_function=clone, call_function=call)

    whole = rebuilt(model, name, False)
    for old, new in copies.values():
        if isinstance(old, layers.Layer) and id(old) not in factors.scopes:
            copy_values(old, new)
    for (layer, part), power in factors.powers.items():
        multiply(copies[id(layer)][1], part, 2.0**power)
    for block in blocks:
        block.make_neutral()
    return whole


def _block(
    place: Any, scope: Scope, taken: set[str], x: Any, se: AttentionConfig
) -> ChannelAttention:
    """Create the block after a layer whose output in the copy is `x`."""
    name, number = f"{place.name}_se", 1
    while name in taken:
        number += 1
        name = f"{place.name}_se{number}"
    taken.add(name)
    before = scope.graph.calls_of(place)[0].outputs[0]
    return se.layer(
        x.shape[scope.axis(before)],
        data_format=scope.data_format(before),
        dtype=f"mixed_{x.dtype}" if x.dtype in HALF_PRECISION else x.dtype,
        name=name,
    )
