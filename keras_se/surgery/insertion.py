"""Attention blocks for a network that has none, without a change of its function.

New blocks have gates of one half everywhere, whose gradient is alive; the factor of two goes into a
linear operation beside each. Called eagerly, the network's outputs are the same bits.
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
    """A copy of a CNN with Squeeze-and-Excitation, whose function is the same at the start.

    The copy has its own weights, with the values of the model's; the model stays as it was. Each
    new block `<layer>_se` has gates of exactly one half, whose gradient is alive; the factor of
    two is in the kernel and bias of a convolution beside it, or in the scale and offset of a
    normalisation (a BatchNorm without a scale is given one). In float32 the outputs of the copy
    are the same bits where the backend computes operations one by one, as `model(x)` does;
    `predict` compiles them, and may differ in the last bits, about 1e-7 of the output. Layers that
    do not train in the model do not in the copy; the new blocks do.

    Args:
        model: A functional or built Sequential model, channels first or last, with any number
            of inputs and outputs; it may hold nested models and shared layers.
        where: Behind which layers: `None` (default), behind the last linear convolution or
            normalisation of every residual branch, or, in a model without branches that end so,
            behind every convolution with its normalisation and ReLU, depthwise ones excepted;
            a list of layer names, a regular expression that is searched for in the names, or a
            function from layers to booleans. The name of a layer in a nested model is
            `"nested/layer"`, and `"layer"` alone will do. A layer that is called several times
            shares its block among its calls.
        se: Settings of the blocks; gate `"sigmoid"` or `"hard_sigmoid"`, placement `"standard"`,
            stages `None`, since the places are those of `where`. Defaults to `SEConfig()`.
        name: Name of the copy. Defaults to `se_` and the model's name.

    Returns:
        A functional `keras.Model`, not compiled, with the inputs and outputs of `model`.

    Raises:
        ValueError: If the model is not functional, or has a layer that its configuration does
            not describe; if `where` finds no layer, or one behind which a block cannot be put or
            has no linear operation beside it; if a `ratio` above the default exceeds a layer's
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
            "`se` must have placement='standard' and stages=None: `where` says where. "
            f"Received: se={se!r}"
        )
    factors = Factors(model)
    choose(factors, where)
    for scope in factors.scopes.values():
        for place in scope.places:
            check_place(scope, place, se)
    if se.block.neutral_gate != 1:
        factors.weigh(
            "`where` must name layers with a convolution or normalisation beside them that can "
            "take a factor of two, with nothing but ReLU and pooling between"
        )
    with recursion(sum(len(scope.graph.calls) for scope in factors.scopes.values())):
        return _copy(factors, model, name or f"se_{model.name}", se)


def start_neutral(model: keras.Model, names: Collection[str]) -> None:
    """Make the attention blocks of these names a multiplication by one.

    The gates become one half and the factor of two goes into a linear operation beside each
    block, as with `add_squeeze_excite`: the model computes what it would without its blocks.

    Raises:
        ValueError: If there is no such operation beside a block.
    """
    factors = Factors(model, blocks=True)
    scope = factors.scopes[id(model)]
    called = dict.fromkeys(call.layer for call in scope.graph.calls)
    scope.places = [x for x in called if isinstance(x, ChannelAttention) and x.name in names]
    if any(block.neutral_gate != 1 for block in scope.places):
        factors.weigh("`model` must have weights beside every block that can take a factor of two")
    for (layer, part), power in factors.powers.items():
        multiply(layer, part, 2.0**power)
    for block in scope.places:
        block.make_neutral()


def _copy(factors: Factors, model: keras.Model, name: str, se: AttentionConfig) -> keras.Model:
    """The copy of the whole model, with its blocks and weights."""
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
            # The blocks of a frozen model train, so it is its other layers that do not.
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

        # A model of its own: cloning the user's would compile the clone, too.
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
    """The block that follows a layer, whose output in the copy is `x`."""
    name, number = f"{place.name}_se", 1
    while name in taken:
        number += 1
        name = f"{place.name}_se{number}"
    taken.add(name)
    before = scope.calls_of(place)[0].outputs[0]
    return se.layer(
        x.shape[scope.axis(before)],
        data_format=scope.data_format(before),
        dtype=f"mixed_{x.dtype}" if x.dtype in HALF_PRECISION else x.dtype,
        name=name,
    )
