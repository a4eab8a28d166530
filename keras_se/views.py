"""The views of a picture that test-time augmentation averages over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keras_se.checks import one_of


@dataclass(frozen=True)
class View:
    """A crop of the resized picture.

    Attributes:
        top: Share of the margin above it, from 0 to 1.
        left: Share of the margin on its left, from 0 to 1.
        mirrored: Whether it is mirrored left to right.
    """

    top: float = 0.5
    left: float = 0.5
    mirrored: bool = False


CENTRE = View()
CENTRE_AND_CORNERS = (CENTRE, *(View(top, left) for top in (0.0, 1.0) for left in (0.0, 1.0)))


def with_mirrored(views: Sequence[View]) -> tuple[View, ...]:
    """The views, and the same mirrored."""
    return (*views, *(replace(view, mirrored=True) for view in views))


TEST_TIME_AUGMENTATIONS: Mapping[str, tuple[View, ...]] = {
    "flip": with_mirrored([CENTRE]),
    "five": CENTRE_AND_CORNERS,
    "ten": with_mirrored(CENTRE_AND_CORNERS),
}


def views_of(tta: str | None) -> tuple[View, ...]:
    """The views of a test-time augmentation; only the centre for `None`."""
    one_of(None, *TEST_TIME_AUGMENTATIONS)("tta", tta)
    return (CENTRE,) if tta is None else TEST_TIME_AUGMENTATIONS[tta]


def check_margin(tta: str | None, what: str) -> None:
    """Raise a `ValueError` if the views crop pictures that have no margin."""
    if any((view.top, view.left) != (CENTRE.top, CENTRE.left) for view in views_of(tta)):
        raise ValueError(
            f"`tta` must be None or 'flip' for {what}: there is no margin to crop. "
            f"Received: tta={tta!r}"
        )
