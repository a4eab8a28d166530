"""What the paper says of the excitations, held against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_se.analysis.summary import BlockSummary

# A block tells classes apart if they differ more than the pictures of one class do.
CLASS_SPECIFIC = 1.0
# Share of the gates above 0.9 from which on most are open.
SATURATED = 0.5


@dataclass(frozen=True)
class Sentence:
    """A sentence of the paper.

    Attributes:
        text: What it says.
        criterion: When it holds.
        figures: What was measured.
        holds: Whether it does; `None` if it cannot be told.
    """

    text: str
    criterion: str
    figures: str
    holds: bool | None


def sentences(rows: Sequence[BlockSummary], stages: Sequence[int | None]) -> list[Sentence]:
    """The paper's sentences on early, later and last blocks.

    Early is the last block of the first stage (the paper's SE_2_3); later are the last block of
    the last stage but one and the first of the last (SE_4_6, SE_5_1); and the block before the last
    is the one that saturates (SE_5_2). Where no stages are known, the first block is early and the
    last is later.

    Args:
        rows: The summary, in the order of the network.
        stages: The stage of each block; `None` where it is not known.

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 7.2.
    """
    early, later = rows[:1], rows[-1:]
    known = [stage for stage in stages if stage is not None]
    if len(known) == len(rows) and len(set(known)) > 1:
        by_stage: dict[int, list[BlockSummary]] = {}
        for row, stage in zip(rows, known, strict=True):
            by_stage.setdefault(stage, []).append(row)
        parts = list(by_stage.values())
        early = parts[0][-1:]
        later = [*(parts[-2][-1:] if len(parts) > 2 else []), parts[-1][0]]
    before_last = rows[-2:-1]
    return [
        Sentence(
            "Early blocks are class-agnostic.",
            "Classes differ less than the pictures of one class: ratio below 1.",
            _ratios(early),
            _told(early, lambda ratio: ratio < CLASS_SPECIFIC),
        ),
        Sentence(
            "Later blocks are class-specific.",
            "Classes differ more than the pictures of one class: ratio above 1.",
            _ratios(later),
            _told(later, lambda ratio: ratio > CLASS_SPECIFIC) if len(rows) > 1 else None,
        ),
        Sentence(
            "The last block but one (the paper's SE_5_2) saturates: most of its gates are close "
            "to one.",
            "More than half of its gates are above 0.9.",
            ", ".join(f"{row.label}: {row.high:.1%} above 0.9" for row in before_last)
            or "there is one block only",
            before_last[0].high > SATURATED if before_last else None,
        ),
    ]


def _ratios(rows: Sequence[BlockSummary]) -> str:
    return "; ".join(
        f"{row.label}: ratio {'unknown' if row.ratio is None else format(row.ratio, '.2f')}, "
        f"spread {row.between:.2g} between classes, {row.within:.2g} within"
        for row in rows
    )


def _told(rows: Sequence[BlockSummary], holds: Callable[[float], bool]) -> bool | None:
    ratios = [row.ratio for row in rows if row.ratio is not None]
    return all(map(holds, ratios)) if len(ratios) == len(rows) else None
