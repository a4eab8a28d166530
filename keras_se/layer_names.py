"""The names of layers in this package's networks: `stage3_block2_conv1`, `stem_bn`."""

from __future__ import annotations

import re
from typing import NamedTuple

PATTERN = re.compile(r"(stem|stage|transition)(\d*)(?:_block(\d+))?(?:_(.*))?")


class LayerName(NamedTuple):
    """The parts of a layer's name.

    Attributes:
        part: `"stem"`, `"stage"` or `"transition"`.
        stage: Number of the stage; 0 for the stem.
        block: Number of the block in its stage, or `None`.
        rest: What follows.
    """

    part: str
    stage: int
    block: int | None
    rest: str


def parse(name: str) -> LayerName | None:
    """Split a layer's name; `None` for another name. Names of nested models before it are ignored.

    >>> parse("stage3_block2_conv1")
    LayerName(part='stage', stage=3, block=2, rest='conv1')
    """
    match = PATTERN.fullmatch(name.rpartition("/")[2])
    if match is None or (match[1] == "stem") == bool(match[2]):
        return None
    part, stage, block, rest = match.groups()
    return LayerName(part, int(stage or 0), int(block) if block else None, rest or "")
