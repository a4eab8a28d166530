"""Matching of publishers' tensor names to ours, by tables of patterns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

Shapes = Mapping[str, tuple[int, ...]]
# Our variable -> its source tensors: one, or the groups of a convolution in order.
Sources = dict[str, list[str]]
# Patterns of a publisher's names, with pieces such as `<stage>` -> our layer's name.
Table = Mapping[str, str]

# Pieces of patterns: the number of a stage, unit, convolution or fully connected layer, etc.
PIECES = {
    "stage": r"(?P<stage>\d+)",
    "block": r"(?P<block>\d+)",
    "n": r"(?P<n>[123])",
    "se": r"(?P<se>1|2|down|up|squeeze|excitation)",
    "v": r"(?P<v>weight|kernel|bias)",
    # Keras' own networks: there may be a path between bar and variable.
    "v2": r"(?:.*/)?(?P<v>kernel|depthwise_kernel)",
    "b2": r"(?:.*/)?(?P<v>bias)",
    "bn2": r"(?:.*/)?(?P<bn>gamma|beta|moving_mean|moving_variance)",
    # A convolution's bias, which BatchNorm's mean absorbs.
    "shift": r"(?:.*/)?(?P<shift>bias)",
    "bn": r"(?P<bn>weight|gamma|bias|beta|(running_|moving_)?mean|(running_|moving_)?var(iance)?)",
}
VARIABLES = {
    "weight": "kernel", "kernel": "kernel", "depthwise_kernel": "kernel", "bias": "bias",
}  # fmt: skip
STATISTICS = {
    "weight": "gamma", "gamma": "gamma", "bias": "beta", "beta": "beta",
    "running_mean": "moving_mean", "moving_mean": "moving_mean", "mean": "moving_mean",
    "running_var": "moving_variance", "moving_variance": "moving_variance",
    "variance": "moving_variance",
}  # fmt: skip
EXCITATION = {
    "1": "reduce", "down": "reduce", "squeeze": "reduce",
    "2": "expand", "up": "expand", "excitation": "expand",
}  # fmt: skip
UNIT = "stage{stage}_block{block}"
# How PyTorch spells those pieces that do not stand in our layer's name.
SPELLINGS = {
    "n": ("1",),
    "se": ("1", "2"),
    "v": ("weight", "bias"),
    "bn": ("weight", "bias", "running_mean", "running_var"),
}  # fmt: skip
PIECE = re.compile(r"(?<!\?P)<(\w+)>")


def by_name(
    names: Iterable[str], table: Table, *, first_stage: int = 1, first_block: int = 1
) -> Sources:
    """Return our names for the tensors that match a pattern of the table.

    `first_stage` is the publisher's number of the first stage of residual units (ours is 2),
    `first_block` that of the first unit of a stage (ours is 1).
    """
    patterns = [(re.compile(_expand(pattern)), layer) for pattern, layer in table.items()]
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        matches = ((pattern.fullmatch(name), layer) for pattern, layer in patterns)
        match, layer = next((hit for hit in matches if hit[0]), (None, ""))
        if match is None:
            continue
        parts = {key: value for key, value in match.groupdict().items() if value}
        for key, first in (("stage", 2 - first_stage), ("block", 1 - first_block)):
            if key in parts:
                parts[key] = str(int(parts[key]) + first)
        if "shift" in parts:
            variable = "moving_mean"
        else:
            variable = STATISTICS[parts["bn"]] if "bn" in parts else VARIABLES[parts["v"]]
        if "se" in parts:
            variable = f"{EXCITATION[parts['se']]}_{variable}"
        found.setdefault(f"{layer.format(**parts)}/{variable}", []).append(
            (int(parts.get("group", "shift" in parts)), name)
        )
    return {ours: [name for _, name in sorted(groups)] for ours, groups in found.items()}


def _expand(pattern: str) -> str:
    return PIECE.sub(lambda piece: PIECES[piece[1]], pattern)


def spelled(layers: Iterable[str], table: Table, *, first_block: int = 1) -> Iterator[str]:
    """Yield every name that the table of a state dict may give to a variable of these layers."""
    for pattern, template in table.items():
        # A pattern of other files than state dicts.
        if "?" in pattern:
            continue
        ours = re.sub(r"{(\w+)}", lambda piece: PIECES[piece[1]], template)
        for layer in layers:
            match = re.fullmatch(ours, layer)
            if match is None:
                continue
            parts = match.groupdict()
            for key, shift in (("stage", -1), ("block", first_block - 1)):
                if key in parts:
                    parts[key] = str(int(parts[key]) + shift)
            choices = [
                (parts[piece],) if piece in parts else SPELLINGS[piece]
                for piece in PIECE.findall(pattern)
            ]
            # The text between the pieces.
            first, *rest = PIECE.sub("<>", pattern).replace("\\.", ".").split("<>")
            for chosen in itertools.product(*choices):
                pairs = zip(chosen, rest, strict=True)
                yield first + "".join(piece + text for piece, text in pairs)
