"""`prune`: remove the channels that the gates of a network close."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_se.analysis.result import Excitations
from keras_se.checks import integer, number, one_of
from keras_se.graph.copies import twin
from keras_se.graph.editable import EditableGraph
from keras_se.graph.facts import ChannelFlow
from keras_se.graph.nodes import Copy, Node
from keras_se.layers import ChannelAttention
from keras_se.pruning.blocks import blocks_in, check_model, mean_gates
from keras_se.pruning.channels import Channels
from keras_se.pruning.scores import random_scores, weight_scores
from keras_se.tables import as_text

SCORES = ("gate", "norm", "random")


@dataclass(frozen=True)
class Pruning:
    """The changes made by `keras_se.prune`; `str()` lists them.

    Args:
        kept: For each layer that outputs fewer channels, by its name in the model: the channels
            that it kept, ascending.
        widths: The original number of channels of each of these layers.
        left: The blocks with channels that could not be removed, with the reason.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> found = keras_se.excitations(model, np.repeat(x, 10, axis=0), np.arange(10))
    >>> pruning = keras_se.prune(model, found, keep=0.5).pruning
    >>> len(pruning.kept["stem_conv"]), pruning.widths["stem_conv"], pruning.left
    (8, 16, {})
    """

    kept: Mapping[str, np.ndarray]
    widths: Mapping[str, int]
    left: Mapping[str, str]

    def __str__(self) -> str:
        rows = [(name, str(len(kept)), str(self.widths[name])) for name, kept in self.kept.items()]
        left = [(f"left: {name}", reason) for name, reason in self.left.items()]
        return as_text(("layer", "channels", "of"), [*rows, *left])


class _Smaller(Copy):
    """A layer with only some of its channels."""

    def __init__(
        self, source: Any, path: tuple[str, ...], rule: ChannelFlow, kept: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__(source, path)
        self._settings: dict[str, Any] = {}
        if rule.size:
            self._settings[rule.size] = len(kept["output"])
        if isinstance(source, ChannelAttention):
            self._settings |= source.pruned_config(kept["input"])
        self._cuts = {
            id(variable): [(axis, kept[end]) for axis, end in axes.items()]
            for attribute, axes in rule.variables.items()
            if (variable := getattr(source, attribute)) is not None
        }

    def make(self, name: str) -> Any:
        return twin(self.source, name=name, **self._settings)

    def fill(self, layer: Any) -> None:
        for source, target in zip(self.source.variables, layer.variables, strict=True):
            value = keras.ops.convert_to_numpy(source)
            for axis, kept in self._cuts.get(id(source), []):
                value = np.take(value, kept, axis)
            target.assign(value)
            target.trainable = source.trainable


def prune(
    model: keras.Model,
    excitations: Excitations,
    keep: float = 0.7,
    *,
    by: str = "gate",
    seed: int = 0,
) -> keras.Model:
    """Return a smaller network without the channels that its gates close.

    Whole channels are removed from the convolutions whose output a gate scales, together with
    their entries in BatchNorm and Squeeze-and-Excitation and the input channels of the layers that
    follow. Channels that are added are removed together: in a residual network, those of a whole
    stage, from its first convolution or shortcut and the last convolution of every unit. The new
    network computes the same as the model would if the layers that take the removed channels,
    including the squeezes of the blocks, saw zeros in their place; it needs a short fine-tuning.

    The model itself is unchanged. The new model has its own variables and only Keras layers and
    blocks; layers keep their names, settings and `trainable`, blocks their hidden width. Nested
    models are flattened, as in `keras_se.fuse`. `keras_se.fuse`, `keras_se.export` and
    `keras_se.cost` accept the result.

    Args:
        model: A functional or built Sequential model with attention blocks: a network of this
            package, one fine-tuned with your own head, or one made by
            `keras_se.add_squeeze_excite`; channels first or last.
        excitations: Result of `keras_se.excitations` for it, or for the same network with other
            weights.
        keep: Share of the channels to keep in each convolution, or in each set of convolutions
            whose outputs are added, above 0 and at most 1; at least one channel is kept. Defaults
            to 0.7, which leaves a residual network for small images about 30 % fewer
            multiply-adds; in one without shortcuts they fall to about the square of `keep`.
        by: Score of a channel: `"gate"` (default): the mean gate, with equal weight per class,
            times the L1 norm of the filter that it scales, summed over the filters that are
            removed together (a filter without a gate counts with gate 1); for comparison,
            `"norm"`: the L1 norms alone, and `"random"`.
        seed: Integer of at least 0 for `by="random"`. Defaults to 0.

    Returns:
        A functional `keras.Model` with the inputs, outputs and name of `model`, not compiled. Its
        attribute `pruning`, which is not saved, lists the channels that each layer kept and the
        blocks left, with the reason: print it. Channels stay if they enter a grouped convolution
        or another layer that is not known to keep channels apart, or if the model outputs them.

    Raises:
        ValueError: If `keep` is not above 0 and at most 1; if the model is not functional, has no
            blocks, or none whose channels can be removed; if the excitations are of another
            network; if `by` or `seed` is none of the above.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> found = keras_se.excitations(model, np.repeat(x, 10, axis=0), np.arange(10))
    >>> smaller = keras_se.prune(model, found, keep=0.7)
    >>> smaller.get_layer("stage4_block3_conv2").filters
    45
    >>> round(keras_se.cost(smaller).macs / keras_se.cost(model).macs, 2)
    0.69

    Reference:
        Li et al., Pruning Filters for Efficient ConvNets (arXiv:1608.08710), Section 3.1 and, for
        sums, 3.3; the gates are those of Hu et al. (arXiv:1709.01507), Eq. 3.
    """
    number("above 0 and at most 1", lambda keep: 0 < keep <= 1)("keep", keep)
    one_of(*SCORES)("by", by)
    seed = integer(0)("seed", seed)
    check_model(model)
    means = mean_gates(model, excitations)
    graph = EditableGraph(model)
    channels = Channels(graph)
    blocks = blocks_in(graph)
    groups = _groups(channels, blocks)
    left = _left(channels, means, blocks)
    if not groups:
        name, reason = next(iter(left.items()))
        raise ValueError(
            "`model` must have a block whose channels can be removed. "
            f"Received: model={model.name!r}, whose block {name!r} must keep them: {reason}"
        )
    units = [unit for group in groups for unit in group]
    if by == "random":
        scores = random_scores(units, seed)
    else:
        gated = blocks if by == "gate" else {}
        gates: dict[Node, np.ndarray] = {node: means[name] for name, node in gated.items()}
        scores = weight_scores(graph, channels, gates)
    removed: set[int] = set()
    for group in groups:
        count = max(1, math.floor(keep * len(group) + 0.5))
        removed.update(sorted(group, key=lambda unit: -scores[unit])[count:])
    pruning = _remove(graph, channels, removed, left)
    pruned = graph.build()
    pruned.pruning = pruning
    return pruned


def _groups(channels: Channels, blocks: Mapping[str, Copy]) -> list[list[int]]:
    """Return the removable units, grouped by the layers that output them."""
    gated: set[int] = set()
    for node in blocks.values():
        if node in channels.ends:
            gated.update(channels.roots(channels.ends[node][1]["input"]).tolist())
    members: dict[int, list[int]] = defaultdict(list)
    for place, (rule, ends) in enumerate(channels.ends.values()):
        if rule.flow == "new":
            for unit in dict.fromkeys(channels.roots(ends["output"]).tolist()):
                members[unit].append(place)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for unit, nodes in members.items():
        if unit in gated and channels.reason(unit) is None:
            groups[tuple(nodes)].append(unit)
    return list(groups.values())


def _left(
    channels: Channels, means: Mapping[str, np.ndarray], blocks: Mapping[str, Copy]
) -> dict[str, str]:
    """Return the blocks with channels that must stay, with the reason."""
    left = {}
    for name in means:
        node = blocks.get(name)
        if node not in channels.ends:
            left[name] = "it is inside an unsupported layer"
            continue
        units = channels.roots(channels.ends[node][1]["input"]).tolist()
        reasons = [reason for unit in units if (reason := channels.reason(unit))]
        if reasons:
            left[name] = reasons[0]
    return left


def _remove(
    graph: EditableGraph, channels: Channels, removed: set[int], left: Mapping[str, str]
) -> Pruning:
    """Replace the nodes that lose channels by smaller ones."""
    kept: dict[str, np.ndarray] = {}
    widths: dict[str, int] = {}
    smaller: dict[Node, Copy] = {}
    for node, (rule, ends) in channels.ends.items():
        places = {
            end: np.flatnonzero(~np.isin(channels.roots(units), list(removed)))
            for end, units in ends.items()
        }
        if all(len(places[end]) == len(units) for end, units in ends.items()):
            continue
        assert isinstance(node, Copy)
        smaller[node] = _Smaller(node.source, node.path, rule, places)
        if len(places["output"]) < len(ends["output"]):
            kept[node.label], widths[node.label] = places["output"], len(ends["output"])
    for call in graph.calls:
        call.layer = smaller.get(call.layer, call.layer)
    return Pruning(kept, widths, left)
