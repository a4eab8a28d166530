"""The stages and blocks of a network, and their costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import keras

from keras_se.complexity import Cost, LayerCost
from keras_se.layer_names import parse

# Name of a stage or block, and a value that tells unnamed ones apart.
Key = tuple[str, Any]


@dataclass(frozen=True)
class Part:
    """Consecutive layers of a network.

    Attributes:
        name: Name of the part.
        output_shape: Output shape of the last layer, for one picture.
        layers: Number of layers with parameters or multiply-adds.
        squeeze_excite: Names of its Squeeze-and-Excitation blocks.
        params: All parameters.
        macs: Multiply-adds for one picture.
        se_params: Parameters of its Squeeze-and-Excitation blocks, part of `params`.
        se_macs: Multiply-adds of these blocks, part of `macs`.
    """

    name: str
    output_shape: tuple[int | None, ...]
    layers: int
    squeeze_excite: tuple[str, ...]
    params: int
    macs: int
    se_params: int
    se_macs: int


@dataclass(frozen=True)
class Stage:
    """A stage and its blocks."""

    whole: Part
    blocks: tuple[Part, ...]


def stages(cost: Cost) -> list[Stage]:
    """The stages of a network, in order.

    Layers of this package's networks name their stage and block. In other networks a stage is
    consecutive layers with feature maps of one size, and each block ends with a
    Squeeze-and-Excitation block.
    """
    first = keras.config.image_data_format() == "channels_first"
    keys: list[tuple[Key, Key]] = []
    blocks = 0
    for row in cost.layers:
        name = parse(row.name)
        if name:
            stage: Key = "stem" if name.part == "stem" else f"stage {name.stage}", ()
            block: Key = "" if name.part == "stage" else name.part, blocks
            if name.block:
                block = f"block {name.block}", 0
        else:
            size = row.output_shape[1:] if first else row.output_shape[:-1]
            stage, block = ("", size), ("", blocks)
        keys.append((stage, block))
        blocks += row.squeeze_excite
    found = []
    for run in _runs(zip(keys, cost.layers, strict=True), lambda pair: pair[0][0]):
        inner = _runs(run, lambda pair: pair[0][1])
        found.append(Stage(_part(run, 0), tuple(_part(part, 1) for part in inner)))
    return found


def _runs(pairs: Iterable[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    """Runs of consecutive pairs with the same key."""
    return [list(run) for _, run in groupby(pairs, key)]


def _part(pairs: Sequence[tuple[tuple[Key, Key], LayerCost]], level: int) -> Part:
    """A part named by its stage (`level` 0) or block (1), else by its first and last layers."""
    rows = [row for _, row in pairs]
    name, _ = pairs[0][0][level]
    ends = dict.fromkeys([rows[0].name, rows[-1].name])

    def total(figures: Iterable[int | None]) -> int:
        return sum(figure or 0 for figure in figures)

    se = [row for row in rows if row.squeeze_excite]
    return Part(
        name=name or " … ".join(ends),
        output_shape=rows[-1].output_shape,
        layers=len(rows),
        squeeze_excite=tuple(row.name for row in se),
        params=total(row.params for row in rows),
        macs=total(row.macs for row in rows),
        se_params=total(row.params for row in se),
        se_macs=total(row.macs for row in se),
    )
