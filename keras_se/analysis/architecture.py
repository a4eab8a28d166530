"""The stages and blocks of a network, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from keras_se.complexity import Cost, LayerCost

# Names of this package's layers: stage, and block within it.
STAGE_AND_BLOCK = re.compile(r"(?:.*/)?(stage|transition)(\d+)(?:_block(\d+))?(?:_.*)?")


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
    keys, block = [], 0
    for row in cost.layers:
        match = STAGE_AND_BLOCK.fullmatch(row.name)
        if match:
            kind, number, own = match.groups()
            within = own or ("" if kind == "stage" else kind)
            keys.append((f"stage {number}", f"block {own}" if own else within))
        else:
            keys.append((str(_size(row)), str(block)))
            block += row.squeeze_excite
    found = []
    for (stage, rows) in _runs([key for key, _ in keys], cost.layers):
        inner = _runs([key for _, key in keys[: len(rows)]], rows)
        del keys[: len(rows)]
        named = stage.startswith("stage")
        blocks = [_part(key if named and key else _span(part), part) for key, part in inner]
        found.append(Stage(_part(stage if named else _span(rows), rows), tuple(blocks)))
    return found


def _runs(keys: Sequence[str], rows: Sequence[LayerCost]) -> list[tuple[str, list[LayerCost]]]:
    """Rows that follow one another and have the same key."""
    pairs = groupby(zip(keys, rows, strict=True), key=lambda pair: pair[0])
    return [(key, [row for _, row in run]) for key, run in pairs]


def _size(row: LayerCost) -> tuple[int, ...]:
    """Height and width of the feature maps, whichever axis the channels are."""
    shape = row.output_shape
    if len(shape) != 3:
        return ()
    # Of a square picture two axes are alike.
    same = shape[0] == shape[1]
    return tuple(shape[:2] if same else shape[1:])


def _span(rows: Sequence[LayerCost]) -> str:
    names = [rows[0].name, rows[-1].name]
    return names[0] if len(rows) == 1 else " … ".join(names)


def _part(name: str, rows: Sequence[LayerCost]) -> Part:
    def total(figures: Iterable[int | None]) -> int:
        return sum(figure or 0 for figure in figures)

    se = [row for row in rows if row.squeeze_excite]
    return Part(
        name=name,
        output_shape=rows[-1].output_shape,
        layers=len(rows),
        squeeze_excite=tuple(row.name for row in se),
        params=total(row.params for row in rows),
        macs=total(row.macs for row in rows),
        se_params=total(row.params for row in se),
        se_macs=total(row.macs for row in se),
    )
