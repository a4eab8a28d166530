"""The data of a recipe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

from keras_se.data.encoded import EncodedPictures
from keras_se.data.label_format import LabelFormat
from keras_se.data.labelled import Data, Pictures
from keras_se.data.loading import DataRequest, load
from keras_se.data.masked import MaskedPictures
from keras_se.training.batches import TrainingBatches
from keras_se.training.encoded_batches import encoded_batches
from keras_se.training.mask_batches import MaskBatches
from keras_se.training.networks import encoded_as
from keras_se.training.recipe import Recipe


def load_data(recipe: Recipe, report: Callable[[str], None]) -> Mapping[str, Data]:
    """The parts `"train"`, `"test"` and, if there is one, `"validation"` of a recipe's data.

    Raises:
        ValueError: If there is no such data set, or it is invalid.
        OSError: If a file is missing and cannot be downloaded.
    """
    request = DataRequest(
        recipe.data,
        recipe.data_dir,
        recipe.image_size,
        functools.partial(encoded_as, recipe),
        recipe.bad_pictures == "skip",
        LabelFormat(recipe.labels, recipe.separator),
    )
    return load(request, report)


def training_batches(
    data: Data,
    recipe: Recipe,
    epoch: int,
    first: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Any:
    """The batches of an epoch from step `first`: `(pictures in 0..255, targets)`, float32.

    The targets of pictures with masks are the class numbers of their pixels, uint8.

    Args:
        data: The training pictures.
        recipe: Provides the batch size, the seed and the augmentation.
        epoch: The epoch, from 0.
        first: The first step. Defaults to 0.
        part: Part of each batch to make, `(index, count)`. Defaults to the whole batch.
    """
    if isinstance(data, EncodedPictures):
        return encoded_batches(data, recipe, epoch, first, part)
    if isinstance(data, MaskedPictures):
        return MaskBatches(data, recipe, epoch, first, part)
    return TrainingBatches(cast(Pictures, data), recipe, epoch, first, part)
