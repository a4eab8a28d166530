"""Sizes of pictures on the command line."""

from __future__ import annotations

import re


def height_and_width(size: str) -> tuple[int, int]:
    """Height and width from "320" or "480x320"."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not height * width:
        raise ValueError(
            f"`size` must be an integer of at least 1, or HEIGHTxWIDTH. Received: size={size!r}"
        )
    return height, width
