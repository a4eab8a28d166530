"""Masks in PNG files: the class number of every pixel."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from keras_se.pictures import printable

# Class number of pixels that count neither in the loss nor in the figures.
IGNORED = 255
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The start of a PNG: its signature and its header.
HEADER_BYTES = 26
# Bit depth and colour type: grey, and palettes.
GREY, PALETTE = {(8, 0), (1, 0)}, {(depth, 3) for depth in (1, 2, 4, 8)}
KINDS = "a PNG with a palette, or with one channel of 8 bits or 1"


def mask_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a mask, from its header.

    Raises:
        ValueError: If it is not a PNG of class numbers.
    """
    with open(path, "rb") as file:
        return _size(file.read(HEADER_BYTES), path)


def _size(head: bytes, path: str | Path) -> tuple[int, int]:
    depth, colours = head[24:25], head[25:26]
    kind = (int.from_bytes(depth), int.from_bytes(colours))
    if len(head) < HEADER_BYTES or head[:8] != SIGNATURE or kind not in GREY | PALETTE:
        received = f"{kind[0]} bits, colour type {kind[1]}" if head[:8] == SIGNATURE else "no PNG"
        raise ValueError(f"{printable(path)}: expected {KINDS}. Received: {received}")
    return int.from_bytes(head[20:24]), int.from_bytes(head[16:20])


def read_mask(path: str | Path, classes: int | None = None) -> np.ndarray:
    """The class numbers of a mask.

    Args:
        path: The file.
        classes: Number of classes; all numbers must be smaller, or 255. Defaults to `None`: any.

    Returns:
        uint8, `(height, width)`.

    Raises:
        ValueError: If it is not a PNG of class numbers, is damaged, or a number is too large.
        OSError: If it cannot be read.
    """
    data = Path(path).read_bytes()
    _size(data[:HEADER_BYTES], path)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mask = np.asarray(image).astype(np.uint8)
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{printable(path)}: expected an undamaged PNG. Received: {reason}"
        ) from None
    if classes is not None:
        wrong = mask[(mask >= classes) & (mask != IGNORED)]
        if wrong.size:
            raise ValueError(
                f"{printable(path)}: expected class numbers from 0 to {classes - 1}, or {IGNORED} "
                f"for pixels to ignore. Received: {wrong.max()} ({wrong.size} such pixels)"
            )
    return mask


def colour_map(count: int = 256) -> np.ndarray:
    """Colours of class numbers, `(count, 3)` uint8: those of PASCAL VOC, with black for 0."""
    numbers = np.arange(count)
    colours = np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> channel & 1) << (7 - bit)).astype(np.uint8)
        numbers = numbers >> 3
    return colours


def mask_image(mask: np.ndarray) -> Image.Image:
    """A PNG image of class numbers `(height, width)`, shown in the colours of `colour_map`."""
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette(colour_map().ravel().tolist())
    return image


def overlay(picture: np.ndarray, mask: np.ndarray, share: float = 0.5) -> Image.Image:
    """The picture, `(height, width, 3)` uint8, tinted with its mask; class 0 stays as it is."""
    tint = colour_map()[mask]
    mixed = (1 - share) * picture + share * tint
    return Image.fromarray(np.where(mask[..., None] > 0, mixed.round(), picture).astype(np.uint8))
