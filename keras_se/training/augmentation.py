"""Augmentation of small pictures in NumPy, a whole batch at a time.

Every function takes its random numbers as an argument, in 0..1, one row per picture, and returns a
new array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Random Erasing: range of the erased share, smallest aspect ratio, tries to fit a rectangle.
ERASED_AREA, ERASED_ASPECT, ERASING_TRIES = (0.02, 0.4), 0.3, 10


def shifted(pictures: np.ndarray, pixels: int, at: np.ndarray) -> np.ndarray:
    """Zero-pad pictures by `pixels` on all sides; crop their size at `at`, `(batch, 2)` in 0..1."""
    padded = np.pad(pictures, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    count, height, width, _ = pictures.shape
    top, left = (at.T * (2 * pixels + 1)).astype(int)
    rows = top[:, None, None] + np.arange(height)[:, None]
    columns = left[:, None, None] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows, columns]


def flipped(pictures: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Mirror the pictures left to right where `which`, `(batch,)`, is true."""
    return np.where(which[:, None, None, None], pictures[:, :, ::-1], pictures)


def cut_out(size: tuple[int, ...], side: int, at: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Windows of cutout: a square around `at`, `(batch, 2)` in 0..1, of each picture where `which`.

    Args:
        size: Height and width of the pictures; what else it has is ignored.
        side: Side of the square.
        at: Centres.
        which: `(batch,)`.

    Returns:
        Top, bottom, left and right, `(batch, 4)`, which may lie outside; no rows where not `which`.
    """
    first = (at * size[:2]).astype(int) - side // 2
    return _windows(first, np.full_like(first, side), which)


def randomly_erased(
    size: tuple[int, ...], sizes: np.ndarray, at: np.ndarray, which: np.ndarray
) -> np.ndarray:
    """Windows of Random Erasing, a rectangle of each picture where `which`, as from `cut_out`.

    Its area is 2 to 40 % of the picture's, its aspect ratio 0.3 to 1 / 0.3 (Zhong et al.,
    arXiv:1708.04896, Algorithm 1), drawn by `sizes`, `(batch, tries, 2)`. The first try that fits
    is used; if none fits, the picture is unchanged. `at`, `(batch, 2)`, is its place where it fits.
    All are in 0..1.
    """
    height, width = size[:2]
    low, high = ERASED_AREA
    area = (low + (high - low) * sizes[..., 0]) * height * width
    aspect = ERASED_ASPECT + (1 / ERASED_ASPECT - ERASED_ASPECT) * sizes[..., 1]
    sides = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], -1).round().astype(int)
    fits = np.asarray((sides > 0).all(-1) & (sides <= (height, width)).all(-1))
    sides = sides[np.arange(len(sides)), fits.argmax(1)]
    first = (at * ((height, width) - sides + 1)).astype(int)
    return _windows(first, sides, which & fits.any(1))


def _windows(first: np.ndarray, sides: np.ndarray, which: np.ndarray) -> np.ndarray:
    last = np.where(which[:, None], first + sides, first)
    return np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1)


def filled(pictures: np.ndarray, windows: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Fill a window of each picture, `(batch, 4)`, with a value, `(channels,)`."""
    top, bottom, left, right = windows.T[:, :, None, None]
    rows, columns = np.arange(pictures.shape[1])[:, None], np.arange(pictures.shape[2])
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return np.where(inside[..., None], value, pictures)


@dataclass(frozen=True)
class Mix:
    """How each picture of a batch is mixed with the one before it: mixup or CutMix.

    Attributes:
        own: Share of a picture's own values, outside the window.
        window: Top, bottom, left and right of the region pasted from the other picture.
        target: Share of the picture's own target.
    """

    own: float
    window: tuple[int, int, int, int]
    target: float


def draw_mix(mixup: float, cutmix: float, height: int, width: int, key: int) -> Mix:
    """Draw a mix from the Beta distributions of these alphas, where 0 means none.

    With both mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019), each is equally likely.
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
    """Mix the pictures and targets of a batch; float32."""
    others = np.roll(pictures, 1, axis=0)
    result = (mix.own * pictures + (1 - mix.own) * others).astype("float32")
    top, bottom, left, right = mix.window
    result[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    target = mix.target * targets + (1 - mix.target) * np.roll(targets, 1, axis=0)
    return result, target.astype("float32")
