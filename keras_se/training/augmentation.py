"""Augmentation of small pictures, whole batches at a time, on NumPy.

Every function takes what is random as numbers in 0..1, one row a picture, and returns a new array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Mix:
    """How each picture of a batch is mixed with the one before it: mixup or CutMix.

    Attributes:
        own: Share of a picture's own values, outside the window.
        window: Top, bottom, left and right of what is the other picture's alone.
        target: Share of the picture's own target.
    """

    own: float
    window: tuple[int, int, int, int]
    target: float


def draw_mix(mixup: float, cutmix: float, height: int, width: int, key: int) -> Mix:
    """A mix for pictures of that size; with both, each of the two is as likely.

    Args:
        mixup: Alpha of the Beta distribution of mixup (Zhang et al., 2018); 0: none.
        cutmix: Alpha of the Beta distribution of CutMix (Yun et al., 2019); 0: none.
        height: Of the pictures.
        width: Of the pictures.
        key: Seed.
    """
    random = np.random.default_rng(key)
    pasting = random.random() < 0.5 if mixup and cutmix else bool(cutmix)
    alpha = cutmix if pasting else mixup
    share = float(random.beta(alpha, alpha))
    if not pasting:
        return Mix(share, (0, 0, 0, 0), share)
    ends: list[int] = []
    for size in (height, width):
        # Clipped at the border.
        centre, half = int(random.integers(size)), int(size * math.sqrt(1 - share)) // 2
        ends += [max(0, centre - half), min(size, centre + half)]
    top, bottom, left, right = ends
    pasted = (bottom - top) * (right - left) / (height * width)
    return Mix(1.0, (top, bottom, left, right), 1 - pasted)


def mixed(
    pictures: np.ndarray, targets: np.ndarray, mix: Mix
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The pictures and targets of a batch, mixed; float32."""
    others = np.roll(pictures, 1, axis=0)
    result = (mix.own * pictures + (1 - mix.own) * others).astype("float32")
    top, bottom, left, right = mix.window
    result[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    target = mix.target * targets + (1 - mix.target) * np.roll(targets, 1, axis=0)
    return result, target.astype("float32")
