"""Inception modules as data: branches of steps, put together on the channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Convolutions side by side, the end of a branch."""

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
    """The concatenated branches of `x`; `conv` and `pool` build a step of that name.

    The branches are numbered from 1; an empty one is left out.
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


def channels(branches: Sequence[Branch], inputs: int) -> int:
    """Channels at the end of the module."""
    total = 0
    for branch in branches:
        ends = [step for step in branch if not isinstance(step, Pool)][-1:]
        if not branch:
            continue
        if not ends:
            total += inputs
        elif isinstance(ends[0], Conv):
            total += ends[0].filters
        else:
            total += sum(side.filters for side in ends[0].convs)
    return total
