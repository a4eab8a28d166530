"""Training batches of pictures with masks.

As in `batches`, a batch is a pure function of (seed, epoch, step): a picture's random crop and
mirroring depend only on (seed, epoch, its index, how often it was shown).
"""

from __future__ import annotations

import math

import numpy as np

from keras_se.data.masked import Box, MaskedPictures, threaded
from keras_se.data.randomness import CROP, FLIP, uniform
from keras_se.training.batches import EpochBatches

# Random crops to try before falling back to the whole picture.
ATTEMPTS = 10
# Range of their aspect ratio, log-uniform from its inverse.
ASPECT = 4 / 3


class MaskBatches(EpochBatches):
    """Batches of pictures with masks: `(pictures in 0..255, masks)`.

    Pictures are float32, `(batch, size, size, C)`, and masks uint8 class numbers, `(batch, size,
    size)`.
    """

    data: MaskedPictures

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        # The first row is only for mixing, which masks do not have.
        shown = self.views[self.first + index, self.rows[1:]].tolist()
        pictures, masks = zip(*threaded(self._example, shown), strict=True)
        return np.stack(pictures).astype("float32"), np.stack(masks)

    def _example(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        recipe, index = self.recipe, view % len(self.data)
        draws = np.arange(2 * ATTEMPTS + 2)
        numbers = uniform(recipe.seed, CROP, self.epoch, view, draws)
        box = random_box(self.data.pairs[index].size, numbers, recipe.crop_area)
        picture, mask = self.data.example(index, box)
        if recipe.flip and uniform(recipe.seed, FLIP, self.epoch, view).item() < 0.5:
            picture, mask = picture[:, ::-1], mask[:, ::-1]
        return picture, mask


def random_box(size: tuple[int, int], numbers: np.ndarray, area: tuple[float, float]) -> Box:
    """GoogLeNet's random crop, as `encoded_batches.random_crop` has it.

    Args:
        size: Height and width of the picture.
        numbers: 22 numbers in 0..1: area and aspect ratio of ten attempts, then the position.
        area: Least and largest share of the picture's area.

    Returns:
        Left, top, right and bottom in whole pixels; the whole picture if no attempt fits.
    """
    height, width = size
    for share, shape in numbers[: 2 * ATTEMPTS].reshape(ATTEMPTS, 2).tolist():
        surface = height * width * (area[0] + share * (area[1] - area[0]))
        aspect = math.exp((2 * shape - 1) * math.log(ASPECT))
        rows, columns = round(math.sqrt(surface / aspect)), round(math.sqrt(surface * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            top = math.floor(numbers[-2] * (height - rows + 1))
            left = math.floor(numbers[-1] * (width - columns + 1))
            return left, top, left + columns, top + rows
    return 0, 0, width, height
