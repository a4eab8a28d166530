"""Inception modules as data: branches of steps, concatenated on the channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.models._network import channel_axis


@dataclass(frozen=True)
class Conv:
    """A convolution with BatchNorm and ReLU."""

    filters: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1


@dataclass(frozen=True)
class Pool:
    """3x3 pooling: `"avg"` or `"max"`."""

    kind: str
    stride: int = 1


@dataclass(frozen=True)
class Fork:
    """Parallel convolutions at the end of a branch."""

    convs: tuple[Conv, ...]


Step = Conv | Pool | Fork
Branch = Sequence[Step]


def module(
    x: Any,
    branches: Sequence[Branch],
    name: str,
    *,
    conv: Callable[[Any, Conv, str], Any],
    pool: Callable[[Any, Pool, str], Any],
) -> Any:
    """Build the branches and concatenate them; `conv` and `pool` build a step of that name.

    Branches are numbered from 1; empty ones are skipped.
    """
    ends = []
    for number, branch in enumerate(branches, start=1):
        y = x
        for n, step in enumerate(branch, start=1):
            step_name = f"{name}_branch{number}_{n}"
            if isinstance(step, Conv):
                y = conv(y, step, step_name)
            elif isinstance(step, Pool):
                y = pool(y, step, step_name)
            else:
                sides = [
                    conv(y, side, f"{step_name}{letter}")
                    for side, letter in zip(step.convs, "ab", strict=True)
                ]
                y = layers.Concatenate(channel_axis(), name=f"{step_name}_concat")(sides)
        if branch:
            ends.append(y)
    return layers.Concatenate(channel_axis(), name=f"{name}_concat")(ends)


def narrowest(stages: Mapping[int, Sequence[Sequence[Branch]]], inputs: int) -> dict[int, int]:
    """Return the fewest output channels of a module, by stage; `inputs` enter the first stage."""
    found = {}
    for stage, modules in stages.items():
        widths = []
        for branches in modules:
            inputs = channels(branches, inputs)
            widths.append(inputs)
        found[stage] = min(widths)
    return found


def channels(branches: Sequence[Branch], inputs: int) -> int:
    """Return the output channels of a module."""
    return sum(_channels(branch, inputs) for branch in branches if branch)


def _channels(branch: Branch, inputs: int) -> int:
    last = next((step for step in reversed(branch) if not isinstance(step, Pool)), None)
    if isinstance(last, Fork):
        return sum(side.filters for side in last.convs)
    return last.filters if last else inputs
