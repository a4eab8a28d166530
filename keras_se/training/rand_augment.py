"""RandAugment (Cubuk et al., arXiv:1909.13719), one picture at a time, on Pillow.

`keras.layers.RandAugment` differs: in Keras 3.15 it ignores its seed, applies the same operations
to a whole batch, and rotates pictures by up to a full circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Operation = Callable[[Image.Image, float], Image.Image]
# Fill value for pixels from outside the picture.
GRAY = 128


def _options(image: Image.Image) -> dict[str, Any]:
    fill = GRAY if image.mode == "L" else (GRAY,) * len(image.getbands())
    return {"resample": Image.Resampling.BILINEAR, "fillcolor": fill}


def _moved(shear: tuple[float, float], shift: tuple[float, float]) -> Operation:
    """Shear about the centre, and shift by a share of the size."""

    def move(image: Image.Image, level: float) -> Image.Image:
        x, y = (level * value for value in shear)
        right, down = (level * value for value in shift)
        matrix = (
            1, x, right * image.width - x * image.height / 2,
            y, 1, down * image.height - y * image.width / 2,
        )  # fmt: skip
        return image.transform(image.size, Image.Transform.AFFINE, matrix, **_options(image))

    return move


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, level: kind(image).enhance(1 + 0.9 * level)


# The paper's fourteen (Section 3), with the ranges of AutoAugment (Cubuk et al., arXiv:1805.09501,
# Table 6). The level is from 0, no change, to 1; where it has two directions, from -1.
ONE_WAY: Mapping[str, Operation] = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "solarize": lambda image, level: ImageOps.solarize(image, round(256 * (1 - level))),
    "posterize": lambda image, level: ImageOps.posterize(image, 8 - round(4 * level)),
}
TWO_WAYS: Mapping[str, Operation] = {
    "rotate": lambda image, level: image.rotate(30 * level, **_options(image)),
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "shear_x": _moved((0.3, 0), (0, 0)),
    "shear_y": _moved((0, 0.3), (0, 0)),
    "translate_x": _moved((0, 0), (0.45, 0)),
    "translate_y": _moved((0, 0), (0, 0.45)),
}
OPERATIONS: Mapping[str, Operation] = {**ONE_WAY, **TWO_WAYS}


def operated(picture: np.ndarray, name: str, level: float) -> np.ndarray:
    """Apply one of the `OPERATIONS` to a uint8 picture, at a level from 0 (`TWO_WAYS`: -1) to 1."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    return np.asarray(OPERATIONS[name](image, level)).reshape(picture.shape)


def rand_augmented(
    picture: np.ndarray, count: int, magnitude: float, deviation: float, probability: float,
    key: int,
) -> np.ndarray:  # fmt: skip
    """Apply `count` operations drawn at random, with replacement, to a uint8 picture.

    The strength of each is drawn around `magnitude`, from 0 to 10, and it is applied with
    `probability`. A picture that is neither grey nor RGB raises a `ValueError`.
    """
    if picture.shape[-1] not in (1, 3):
        raise ValueError(
            "`rand_augment` must be 0 for pictures that are neither gray nor RGB. "
            f"Received: {picture.shape[-1]} channels"
        )
    random = np.random.default_rng(key)
    names = list(OPERATIONS)
    for number in random.integers(len(names), size=count):
        name = names[number]
        level = np.clip(random.normal(magnitude, deviation) / 10, 0, 1)
        sign = random.choice((-1, 1)) if name in TWO_WAYS else 1
        if random.random() < probability:
            picture = operated(picture, name, float(sign * level))
    return picture
