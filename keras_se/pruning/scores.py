"""What the channels of a network are worth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from keras_se.graph import Call
from keras_se.inference.network import Network
from keras_se.inference.parts import Copy, Part, numbers
from keras_se.layers import ChannelAttention
from keras_se.pruning.channels import Channels
from keras_se.pruning.rules import TRANSPOSED, rule_of

Scores = dict[int, float]


def random_scores(units: list[int], seed: int) -> Scores:
    """Numbers from 0 to 1, in no relation to the channels."""
    return dict(zip(units, np.random.default_rng(seed).random(len(units)).tolist(), strict=True))


def weight_scores(network: Network, channels: Channels, gates: Mapping[Part, np.ndarray]) -> Scores:
    """For each unit, added up over the filters that put it out: their L1 norm times their gate.

    Args:
        network: The network.
        channels: Its units.
        gates: Mean gates of the blocks to take into account, `(C,)`.
    """
    factors = _factors(network, channels, gates)
    scores: Scores = defaultdict(float)
    for part, (rule, ends) in channels.ends.items():
        if rule.flow != "new":
            continue
        norms = filter_norms(part)
        for unit, norm in zip(channels.roots(ends["output"]).tolist(), norms, strict=True):
            scores[unit] += float(norm) * factors.get((part, unit), 1.0)
    return scores


def filter_norms(part: Part) -> np.ndarray:
    """The L1 norm of each filter of a convolution or dense layer."""
    assert isinstance(part, Copy)
    name = "pointwise_kernel" if hasattr(part.source, "pointwise_kernel") else "kernel"
    kernel = np.abs(numbers(getattr(part.source, name)))
    if rule_of(part.source) is TRANSPOSED:
        kernel = np.swapaxes(kernel, -1, -2)
    return kernel.reshape(-1, kernel.shape[-1]).sum(0)


def _factors(
    network: Network, channels: Channels, gates: Mapping[Part, np.ndarray]
) -> dict[tuple[Part, int], float]:
    """For each convolution and unit the gate of the first block that its output goes through."""
    found: dict[tuple[Part, int], float] = {}
    for block, means in gates.items():
        for call in network.calls_of(block):
            units = channels.of(call.inputs[0])
            assert units is not None
            for part in _producers(network, channels, call):
                for unit, gate in zip(units.tolist(), np.abs(means).tolist(), strict=True):
                    found.setdefault((part, unit), gate)
    return found


def _producers(network: Network, channels: Channels, block: Call) -> set[Part]:
    """The layers that put out the channels that a block scales, with no other block between."""
    found: set[Part] = set()
    seen: set[int] = set()
    tensors = [block.inputs[0]]
    while tensors:
        call = network.producer(tensors.pop())
        if call is None or id(call) in seen:
            continue
        seen.add(id(call))
        ends = channels.ends.get(call.layer)
        if ends is not None and ends[0].flow == "new":
            found.add(call.layer)
        elif not isinstance(getattr(call.layer, "source", None), ChannelAttention):
            tensors += call.inputs
    return found
