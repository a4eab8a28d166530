"""`fuse`: a network in the form in which it is served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import keras
from keras import layers

from keras_se.checks import unknown_choice
from keras_se.graph.editable import EditableGraph
from keras_se.graph.facts import facts_of
from keras_se.graph.nodes import Copy, trains
from keras_se.graph.trace import computes_its_graph, is_functional
from keras_se.inference.affine import Affine
from keras_se.inference.folding import fold
from keras_se.inference.lifting import lift
from keras_se.inference.squeeze import may_be_masked, move_squeeze, moves
from keras_se.inference.sums import compile_sums, join_sums
from keras_se.inference.training_only import remove_training_only
from keras_se.layers import ChannelAttention
from keras_se.tables import as_text

# The first that finds anything is applied, over and over, until none does.
REWRITES: Mapping[str, Callable[[EditableGraph], list[str]]] = {
    "training_only": remove_training_only,
    "fold": fold,
    "squeeze": move_squeeze,
    "sums": join_sums,
    "compile": compile_sums,
}


TRAINING = "called with training=True"


@dataclass(frozen=True)
class Fusion:
    """What `keras_se.fuse` did; `str()` lists it.

    Attributes:
        done: For each rewrite the names of the model's layers that it changed.
        left: The layers that it might have changed but had to leave, with the reason.
    """

    done: Mapping[str, tuple[str, ...]]
    left: Mapping[str, str]

    def __str__(self) -> str:
        from rich.table import Table

        table = Table("rewrite", "layers", box=None, pad_edge=False)
        for name, changed in self.done.items():
            table.add_row(name, str(len(changed)))
        for name, reason in self.left.items():
            table.add_row(f"left: {name}", reason)
        return as_text(table)


def fuse(model: keras.Model, rewrites: Iterable[str] = tuple(REWRITES)) -> keras.Model:
    """The inference form of a network: the same function with fewer operations.

    The model stays as it is. The new one has variables of its own, computed in float64; layers
    keep their names where they stay. Nested models are dissolved into it, but for those that are
    called with `training=True` or have a `call` of their own. What it computes is what the model
    computes at inference, but for the rounding of the order of its operations.

    Args:
        model: A functional or built Sequential model: a network of this package, one made by
            `keras_se.add_squeeze_excite`, fine-tuned with a head of your own, or another Keras
            network; channels first or last, any number of inputs and outputs, shared layers and
            nested models among them.
        rewrites: Which of these to do; all by default. `"training_only"`: dropout, stochastic
            depth, noise and augmentation are left out, Shake-Shake is a mean; `"fold"`:
            BatchNorm, normalisation and scaling go into the convolution or dense layer before, or
            after them where the borders stay exact, those that remain become a
            `keras_se.layers.ScaleOffset`; `"squeeze"`: behind a 1x1 convolution the gates of
            Squeeze-and-Excitation are computed from the convolution's narrower input; `"sums"`:
            one `keras_se.layers.MultiplyAdd` does the multiplication, addition and activation of
            a residual unit; `"compile"`: on TensorFlow, XLA makes one loop of each of those
            layers, anew for each shape of the feature maps (`keras_se.export` leaves that out
            unless told otherwise).

    Returns:
        A functional `keras.Model` with the inputs, outputs and name of `model`, not compiled. Its
        attribute `fusion`, which is not saved, says what was done and what was left: print it.

    Raises:
        ValueError: If the model is not functional, or has a layer that its configuration does
            not describe; if a rewrite is none of the above.

    Example:

    >>> model = keras_se.fuse(keras_se.SEResNet20(weights=None))
    >>> any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    False

    Reference:
        Jacob et al., Quantization and Training of Neural Networks (arXiv:1712.05877), Section 3.2,
        for the folding of BatchNorm.
    """
    chosen = [rewrites] if isinstance(rewrites, str) else list(rewrites)
    for name in chosen:
        if name not in REWRITES:
            raise ValueError(unknown_choice("rewrites", name, REWRITES))
    if not (is_functional(model) and computes_its_graph(model)):
        raise ValueError(
            "`model` must be a functional or built Sequential `keras.Model` without a `call` of "
            f"its own. Received: model of type {type(model).__name__}"
        )
    graph = EditableGraph(model, lift)
    done: dict[str, list[str]] = {name: [] for name in REWRITES if name in chosen}
    while any(_rewrite(graph, name, labels) for name, labels in done.items()):
        pass
    fused = graph.build()
    fused.fusion = Fusion(
        {name: tuple(labels) for name, labels in done.items()}, _left(graph, done)
    )
    return fused


def _rewrite(graph: EditableGraph, name: str, labels: list[str]) -> bool:
    changed = REWRITES[name](graph)
    labels += (label for label in changed if label not in labels)
    return bool(changed)


def _left(graph: EditableGraph, done: Iterable[str]) -> dict[str, str]:
    """The layers that a chosen rewrite is for, still there after it, with the reason."""
    left = {}
    for node in graph.nodes(Copy):
        training = any(trains(node.source, call) for call in graph.calls_of(node))
        reason = _reason(graph, node, training, done)
        if reason:
            left[node.label] = reason
    return left


def _reason(graph: EditableGraph, node: Copy, training: bool, done: Iterable[str]) -> str:
    """Why a node is what it is; empty where it could be nothing else."""
    source = node.source
    if isinstance(source, keras.Model):
        return TRAINING if training else "a model with a `call` or arguments of its own"
    if "fold" in done and isinstance(source, layers.BatchNormalization):
        if isinstance(node, Affine):
            return "a ScaleOffset: no layer beside it could take it in alone and exactly"
        return TRAINING if training else "of a class that is not Keras' own"
    if "training_only" in done and facts_of(source).training_only:
        return TRAINING if training else "casts, or of a class that is not Keras' own"
    if "squeeze" in done and isinstance(source, ChannelAttention):
        if not moves(source):
            return "its squeeze and a convolution do not commute"
        if may_be_masked(graph, node):
            return "a mask may leave out positions"
        return "no linear 1x1 convolution of fewer channels before it"
    return ""
