"""Load a data set by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keras_se.checks import unknown_choice
from keras_se.data.datasets import DATASETS, load_pictures
from keras_se.data.label_format import LabelFormat
from keras_se.data.labelled import Data

# Prefix of a data set that TensorFlow Datasets prepares.
TFDS = "tfds:"


@dataclass(frozen=True)
class DataRequest:
    """A data set, and how to load it.

    Attributes:
        data: A key of `DATASETS`, `"folder"`, `"masks"`, or `"tfds:NAME"`.
        data_dir: Folder of its files, or `None` for the usual place.
        image_size: Height and width to resize to; `None`: pictures of one size keep it.
        encoding: Returns the input shape `(size, size, channels)` and the share of the shorter side
            that is evaluated, for encoded pictures of so many channels.
        skip: Whether to skip files that are not pictures; else they are errors.
        labels: The form of a folder's labels. Defaults to one label per picture.
    """

    data: str
    data_dir: str | Path | None
    image_size: int | None
    encoding: Callable[[int], tuple[tuple[int, int, int], float]]
    skip: bool
    labels: LabelFormat = field(default_factory=LabelFormat)


def load(request: DataRequest, report: Callable[[str], None]) -> Mapping[str, Data]:
    """The parts `"train"`, `"test"` and, if the data set has that split, `"validation"`.

    `report` is called with a line for each skipped picture.

    Raises:
        ValueError: If there is no such data set, or it is invalid.
        OSError: If a file is missing and cannot be downloaded.
    """
    if request.data == "folder":
        from keras_se.data.folder import load_folder

        return load_folder(request, report)
    if request.data == "masks":
        from keras_se.data.mask_folder import load_masks

        return load_masks(request, report)
    if request.data.startswith(TFDS):
        from keras_se.data.tfds import load_tfds

        return load_tfds(request, report)
    if request.data not in DATASETS:
        more = f"'{TFDS}<name>' of TensorFlow Datasets"
        raise ValueError(unknown_choice("data", request.data, [*DATASETS, "folder", "masks"], more))
    if request.image_size is not None:
        raise ValueError(
            f"`image_size` must be null for {request.data}, whose pictures have a fixed size. "
            f"Received: image_size={request.image_size}"
        )
    folder = None if request.data_dir is None else Path(request.data_dir)
    return load_pictures(request.data, folder)
