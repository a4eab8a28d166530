"""The paper's claims about the excitations, compared with the measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_se.analysis.summary import BlockSummary

# A block is class-specific if classes differ more than the pictures within a class do.
CLASS_SPECIFIC = 1.0
# A block saturates if a larger share of its gates is above 0.9.
SATURATED = 0.5


@dataclass(frozen=True)
class Sentence:
    """A claim of the paper, its criterion, the figures, and whether it holds; `None` if unknown."""

    text: str
    criterion: str
    figures: str
    holds: bool | None


def sentences(rows: Sequence[BlockSummary], stages: Sequence[int | None]) -> list[Sentence]:
    """The paper's sentences on early, later and last blocks.

    The early block is the last of the first stage (the paper's SE_2_3); the later ones are the last
    of the second-to-last stage and the first of the last (SE_4_6, SE_5_1); the second-to-last block
    (SE_5_2) saturates. Without known stages, the first block is early and the last is later. Rows
    and stages are in the order of the network.

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
            "Classes differ less than the pictures within a class: ratio below 1.",
            _ratios(early),
            _told(early, lambda ratio: ratio < CLASS_SPECIFIC),
        ),
        Sentence(
            "Later blocks are class-specific.",
            "Classes differ more than the pictures within a class: ratio above 1.",
            _ratios(later),
            _told(later, lambda ratio: ratio > CLASS_SPECIFIC) if len(rows) > 1 else None,
        ),
        Sentence(
            "The second-to-last block (the paper's SE_5_2) saturates: most of its gates are close "
            "to one.",
            "More than half of its gates are above 0.9.",
            ", ".join(f"{row.label}: {row.high:.1%} above 0.9" for row in before_last)
            or "there is only one block",
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
