"""`fuse`: the inference form of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_se.checks import unknown_choice
from keras_se.graph.copies import known
from keras_se.graph.editable import EditableGraph
from keras_se.graph.facts import facts_of
from keras_se.graph.nodes import Copy, trains
from keras_se.graph.trace import Call, check_editable
from keras_se.inference.affine import Affine
from keras_se.inference.folding import fold
from keras_se.inference.linear import Linear
from keras_se.inference.squeeze import may_be_masked, move_squeeze, moves
from keras_se.inference.sums import compile_sums, join_sums
from keras_se.inference.training_only import remove_training_only
from keras_se.layers import ChannelAttention
from keras_se.tables import as_text

# Apply the first one that finds anything, until none does.
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
    """The changes made by `keras_se.fuse`; `str()` lists them.

    Attributes:
        done: For each rewrite, the names of the model's layers that it changed.
        left: The layers that a rewrite targets but could not change, with the reason.
    """

    done: Mapping[str, tuple[str, ...]]
    left: Mapping[str, str]

    def __str__(self) -> str:
        rows = [(name, str(len(changed))) for name, changed in self.done.items()]
        left = [(f"left: {name}", reason) for name, reason in self.left.items()]
        return as_text(("rewrite", "layers"), rows + left)


def fuse(model: keras.Model, rewrites: Iterable[str] = tuple(REWRITES)) -> keras.Model:
    """Return the inference form of a network: the same function with fewer operations.

    The model itself is unchanged. The new model has its own variables, computed in float64;
    remaining layers keep their names. Nested models are flattened, except those that are called
    with `training=True` or have their own `call`. The new model computes the same as the model at
    inference, up to rounding, since operations are reordered.

    With the channels first on TensorFlow use `predict` or an exported file: when a network is
    called, Keras 3.15 adds a convolution's biases along the wrong axis where the last axis is as
    long as there are channels, and folded convolutions have biases.

    Args:
        model: A functional or built Sequential model: a network of this package, one made by
            `keras_se.add_squeeze_excite`, one fine-tuned with your own head, or another Keras
            network; channels first or last, with any number of inputs and outputs, shared layers
            and nested models.
        rewrites: Rewrites to apply; all by default. `"training_only"`: remove dropout, stochastic
            depth, noise and augmentation, turn Shake-Shake into a mean; `"fold"`: fold BatchNorm,
            normalisation and scaling into the convolution or dense layer before them, or after
            them where the borders stay exact, and turn the rest into
            `keras_se.layers.ScaleOffset`; `"squeeze"`: after a 1x1 convolution, compute the gates
            of Squeeze-and-Excitation from the convolution's narrower input; `"sums"`: merge the
            multiplication, addition and activation of a residual unit into one
            `keras_se.layers.MultiplyAdd`; `"compile"`: on TensorFlow, let XLA compile each of
            these layers into one loop per shape of the feature maps (`keras_se.export` skips this
            by default).

    Returns:
        A functional `keras.Model` with the inputs, outputs and name of `model`, not compiled. Its
        attribute `fusion`, which is not saved, lists the changes and the layers left: print it.

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
    check_editable(model)
    graph = EditableGraph(model, lift)
    done: dict[str, list[str]] = {name: [] for name in REWRITES if name in chosen}
    while any(_rewrite(graph, name, labels) for name, labels in done.items()):
        pass
    fused = graph.build()
    fused.fusion = Fusion(
        {name: tuple(labels) for name, labels in done.items()}, _left(graph, done)
    )
    return fused


def lift(layer: Any, path: tuple[str, ...], calls: list[Call]) -> Copy:
    """Create a layer's node: linear or affine if it can absorb other layers in all its calls."""
    built = known(layer) and getattr(layer, "built", False)
    if built and not any(trains(layer, call) for call in calls):
        if Linear.accepts(layer):
            return Linear(layer, path)
        if Affine.accepts(layer, calls):
            return Affine(layer, path, calls[0].inputs[0])
    return Copy(layer, path)


def _rewrite(graph: EditableGraph, name: str, labels: list[str]) -> bool:
    changed = REWRITES[name](graph)
    labels += (label for label in changed if label not in labels)
    return bool(changed)


def _left(graph: EditableGraph, done: Iterable[str]) -> dict[str, str]:
    """Return the layers that a chosen rewrite targets but left, with the reason."""
    left = {}
    for node in graph.nodes(Copy):
        training = any(trains(node.source, call) for call in graph.calls_of(node))
        reason = _reason(graph, node, training, done)
        if reason:
            left[node.label] = reason
    return left


def _reason(graph: EditableGraph, node: Copy, training: bool, done: Iterable[str]) -> str:
    """Return the reason why a node was left, or "" if no rewrite targets it."""
    source = node.source
    if isinstance(source, keras.Model):
        return TRAINING if training else "a model with its own `call` or arguments"
    if "fold" in done and isinstance(source, layers.BatchNormalization):
        if isinstance(node, Affine):
            return "a ScaleOffset: no adjacent layer could absorb it exactly"
        return TRAINING if training else "not one of Keras' own classes"
    if "training_only" in done and facts_of(source).training_only:
        return TRAINING if training else "casts, or is not one of Keras' own classes"
    if "squeeze" in done and isinstance(source, ChannelAttention):
        if not moves(source):
            return "its squeeze and a convolution do not commute"
        if may_be_masked(graph, node):
            return "a mask may exclude positions"
        return "no linear 1x1 convolution with fewer input channels before it"
    return ""
