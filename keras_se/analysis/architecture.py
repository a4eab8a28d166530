"""The stages and blocks of a network, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import keras

from keras_se.complexity import Cost, LayerCost

# Names of this package's layers: the stem, or stage and block within it.
STAGE_AND_BLOCK = re.compile(r"(?:.*/)?(stem|stage|transition)(\d*)(?:_block(\d+))?(?:_.*)?")

# Name of a stage or block, and what tells those without a name apart.
Key = tuple[str, Any]


@dataclass(frozen=True)
class Part:
    """Layers of a network that follow one another.

    Attributes:
        name: What to call them.
        output_shape: Of the last layer, for one picture.
        layers: How many have parameters or multiply-adds.
        squeeze_excite: Names of the Squeeze-and-Excitation blocks among them.
        params: All their parameters.
        macs: Their multiply-adds for one picture.
        se_params: The parameters of the Squeeze-and-Excitation blocks among `params`.
        se_macs: Their multiply-adds among `macs`.
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
    """A part with the blocks that it is made of."""

    whole: Part
    blocks: tuple[Part, ...]


def stages(cost: Cost) -> list[Stage]:
    """The stages of a network, in their order.

    Layers of this package's networks name their stage and block. Others are put together by what
    the field calls a stage: layers that follow one another and whose feature maps have one size;
    their blocks end where a Squeeze-and-Excitation block does.
    """
    first = keras.config.image_data_format() == "channels_first"
    keys: list[tuple[Key, Key]] = []
    blocks = 0
    for row in cost.layers:
        match = STAGE_AND_BLOCK.fullmatch(row.name)
        if match:
            kind, number, own = match.groups()
            stage: Key = "stem" if kind == "stem" else f"stage {number}", ()
            block: Key = (f"block {own}", 0) if own else ("" if kind == "stage" else kind, blocks)
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
    """Those that follow one another and have the same key."""
    return [list(run) for _, run in groupby(pairs, key)]


def _part(pairs: Sequence[tuple[tuple[Key, Key], LayerCost]], level: int) -> Part:
    """Layers with their keys, named by the stage (`level` 0) or block (1), else by themselves."""
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
