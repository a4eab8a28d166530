"""Augmentation of small pictures, whole batches at a time, on NumPy.

Every function takes what is random as numbers in 0..1, one row a picture, and returns a new array.
"""

from __future__ import annotations

import numpy as np


def shifted(pictures: np.ndarray, pixels: int, at: np.ndarray) -> np.ndarray:
    """Crops of the size of the pictures, which are zero-padded by `pixels` on every side.

    Args:
        pictures: `(batch, height, width, channels)`.
        pixels: Padding on every side.
        at: Where, `(batch, 2)`, in 0..1.
    """
    padded = np.pad(pictures, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    count, height, width, _ = pictures.shape
    top, left = (at.T * (2 * pixels + 1)).astype(int)
    rows = top[:, None, None] + np.arange(height)[:, None]
    columns = left[:, None, None] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows, columns]


def flipped(pictures: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The pictures, mirrored left to right where `which`, `(batch,)`, is true."""
    return np.where(which[:, None, None, None], pictures[:, :, ::-1], pictures)


def cut_out(
    pictures: np.ndarray, side: int, at: np.ndarray, which: np.ndarray, value: np.ndarray
) -> np.ndarray:
    """A square of `value` in each picture where `which`; it is clipped at the border.

    Args:
        pictures: `(batch, height, width, channels)`.
        side: Of the square, in pixels.
        at: Where its centre is, `(batch, 2)`, in 0..1.
        which: `(batch,)`, boolean.
        value: What is put there, `(channels,)`.
    """
    inside = which[:, None, None]
    for axis in (1, 2):
        size = pictures.shape[axis]
        first = (at[:, axis - 1] * size).astype(int) - side // 2
        position = np.arange(size) - first[:, None]
        within = (position >= 0) & (position < side)
        inside = inside & np.expand_dims(within, 3 - axis)
    return np.where(inside[..., None], value, pictures)


def mixed(values: np.ndarray, partners: np.ndarray, share: float) -> np.ndarray:
    """`share` of each row and the rest of its partner (mixup)."""
    return values * share + values[partners] * (1 - share)


def pasted(
    pictures: np.ndarray, partners: np.ndarray, share: float, at: np.ndarray
) -> tuple[np.ndarray, float]:
    """A rectangle of each picture's partner in it (CutMix).

    Args:
        pictures: `(batch, height, width, channels)`.
        partners: Index of each picture's partner.
        share: Of the area that stays, but for clipping at the border.
        at: Where the rectangle's centre is, `(2,)`, in 0..1.

    Returns:
        The pictures, and the share of the area that did stay.
    """
    side = np.sqrt(1 - share)
    ends = []
    for axis in (1, 2):
        size = pictures.shape[axis]
        centre, half = int(at[axis - 1] * size), int(size * side) // 2
        ends += [max(0, centre - half), min(size, centre + half)]
    top, bottom, left, right = ends
    result = pictures.copy()
    result[:, top:bottom, left:right] = pictures[partners, top:bottom, left:right]
    area = (bottom - top) * (right - left)
    return result, 1 - area / (pictures.shape[1] * pictures.shape[2])
