"""Prepared TensorFlow Datasets data sets, read in place.

Nothing is downloaded: `tfds build NAME` prepares a data set.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import Image

from keras_se.checks import unknown_choice
from keras_se.data.datasets import check_labels
from keras_se.data.encoded import EncodedPictures
from keras_se.data.labelled import Data, Pictures
from keras_se.data.loading import TFDS, DataRequest
from keras_se.data.records import Records, array_records, tfrecords
from keras_se.data.splits import with_test
from keras_se.pictures import SKIPPED

# No namespace in front: TFDS would look it up on the internet.
NAME = re.compile(r"\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
# Largest data set to hold in memory, in bytes.
MOST = 4 * 2**30


def is_tfds(images: Any) -> TypeGuard[str]:
    """Whether `images` names a TensorFlow Datasets data set."""
    return isinstance(images, str) and images.startswith(TFDS)


def check_data_dir(data_dir: Any, images: Any) -> None:
    """Raise a `ValueError` if `data_dir` would have no effect."""
    if data_dir is not None and not is_tfds(images):
        raise ValueError(
            f"`data_dir` is only supported with 'tfds:NAME'. Received: data_dir={str(data_dir)!r}"
        )


def load_tfds(request: DataRequest, report: Callable[[str], None]) -> dict[str, Data]:
    """The parts of a prepared TensorFlow Datasets data set.

    `"train"` is TFDS' split of that name. `"test"` is its `test` if that has labels, else its
    `validation`, else a fifth of `train`. `"validation"` is its `validation` unless that is the
    test set. Pictures of one size keep it and are held in memory, unless the request gives an
    `image_size`; others are decoded on demand. `report` is called with a line for each skipped
    picture.

    Raises:
        ValueError: If there is no such data set, or it is not prepared or invalid.
    """
    name = request.data.removeprefix(TFDS)
    builder = _builder(name, request.data_dir)
    image, label = _features(name, builder.info)
    names, shape = builder.info.features[label].names, builder.info.features[image].shape
    held = request.image_size is None and None not in shape
    if held:
        _check_fits(request, builder.info, shape)
    else:
        shape, crop = request.encoding(shape[2])
    parts: dict[str, Data] = {}
    for part in ("train", "validation", "test"):
        records = _labelled(name, builder, part, image, label)
        if records is None:
            continue
        if held:
            parts[part] = _held(records, shape, names, request, report).called(records.title)
            continue
        every = np.arange(len(records.labels))
        encoded = EncodedPictures(records, every, records.labels, names, shape, crop, records.title)
        parts[part] = encoded.sound(report) if request.skip else encoded
    if "train" not in parts:
        raise ValueError(
            f"{name}: expected a split `train`. Received: {', '.join(builder.info.splits)}"
        )
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    return with_test(name, parts)


def evaluated_on(
    name: str, folder: str | Path | None
) -> tuple[Records, np.ndarray, list[str]]:  # fmt: skip
    """The part `"test"` of `load_tfds`; the other parts are not read.

    Returns the records, the indices of the pictures among them, `(count,)`, and the names of the
    classes. `folder` holds the prepared data sets; `None` for TFDS' own.
    """
    name = name.removeprefix(TFDS)
    builder = _builder(name, folder)
    image, label = _features(name, builder.info)
    for part in ("test", "validation", "train"):
        records = _labelled(name, builder, part, image, label)
        if records is None:
            continue
        names = builder.info.features[label].names
        every = np.arange(len(records.labels))
        if part == "train":
            indices = Pictures(every, records.labels, names)
            every = with_test(name, {part: indices})["test"].pictures
        return records, every, names
    raise ValueError(
        f"{name}: expected a split `test`, `validation` or `train`. "
        f"Received: {', '.join(builder.info.splits)}"
    )


def _labelled(name: str, builder: Any, part: str, image: str, label: str) -> Records | None:
    """The records of a split; `None` if it is missing or has no labels."""
    if part not in builder.info.splits or not builder.info.splits[part].num_examples:
        return None
    records = _records(f"{name} {part}", builder, part, image, label)
    # Undisclosed labels are -1.
    if part == "test" and (records.labels == -1).all():
        return None
    check_labels(records.title, records.labels, len(builder.info.features[label].names))
    return records


def _builder(name: str, folder: str | Path | None) -> Any:
    """The builder of a prepared data set."""
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ValueError(
            f"data='{TFDS}{name}' needs TensorFlow Datasets: pip install keras-se[tfds]"
        ) from None
    if not NAME.fullmatch(name):
        raise ValueError(
            f"`data` must be '{TFDS}NAME[/CONFIG][:VERSION]'. Received: data='{TFDS}{name}'"
        )
    short = re.split("[/:]", name)[0]
    try:
        builder = tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        near = [TFDS + other for other in difflib.get_close_matches(short, known)]
        more = f"'{TFDS}NAME' of a data set of TFDS, or one prepared in `data_dir`"
        raise ValueError(unknown_choice("data", TFDS + name, near, more)) from None
    except (ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"`data` must be a data set of TFDS. Received: {name} ({reason})"
        ) from None
    if not builder.info.splits:
        place = "" if folder is None else f" --data_dir={folder}"
        raise ValueError(
            f"{builder.data_dir}: expected a prepared TFDS data set; nothing is "
            f"downloaded here: tfds build {name}{place}"
        )
    return builder


def _features(name: str, info: Any) -> tuple[str, str]:
    """Names of the features with the picture and the class."""
    import tensorflow_datasets as tfds

    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    keys: tuple[Any, ...] = info.supervised_keys or ()
    if len(keys) != 2 or not all(
        isinstance(key, str) and isinstance(info.features[key], kind)
        for key, kind in zip(keys, kinds, strict=True)
    ):
        raise ValueError(
            f"{name}: expected a data set of pictures with one class each. "
            f"Received: supervised_keys={info.supervised_keys}, features {', '.join(info.features)}"
        )
    image, label = keys
    feature = info.features[image]
    if feature.np_dtype != np.uint8 or feature.shape[-1] not in (1, 3):
        raise ValueError(
            f"{name}: expected grey or RGB pictures of 8 bits. "
            f"Received: {feature.shape}, {feature.np_dtype.__name__}"
        )
    if info.features[label].num_classes is None or info.features[label].num_classes < 2:
        raise ValueError(
            f"{name}: expected at least two classes. Received: {info.features[label].num_classes}"
        )
    return image, label


def _records(title: str, builder: Any, part: str, image: str, label: str) -> Records:
    """The records of a split."""
    import tensorflow_datasets as tfds

    if builder.info.file_format.value == "tfrecord":
        shards = [
            (Path(shard.filename), shard.examples_in_shard)
            for shard in builder.info.splits[part].file_instructions
        ]
        return tfrecords(title, shards, image, label)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    try:
        source = builder.as_data_source(part, deserialize_method=raw)
    except NotImplementedError:
        raise ValueError(
            f"{title}: expected records of a format with random access, or TFRecords. "
            f"Received: {builder.info.file_format.value}"
        ) from None
    return array_records(title, source, image, label)


def _check_fits(request: DataRequest, info: Any, shape: tuple[int, int, int]) -> None:
    """Raise a `ValueError` unless the pictures fit into memory."""
    size = sum(split.num_examples for split in info.splits.values()) * int(np.prod(shape))
    if size > MOST:
        raise ValueError(
            f"`image_size` must be given with data={request.data!r}, which is too large for memory "
            f"({size / 2**30:.1f} GiB). Received: image_size=None"
        )


def _held(
    records: Records, shape: tuple[int, int, int], names: list[str], request: DataRequest,
    report: Callable[[str], None],
) -> Pictures:  # fmt: skip
    """The pictures of a split in memory."""
    mode = {1: "L", 3: "RGB"}[shape[2]]

    def load(index: int) -> np.ndarray | None:
        try:
            with Image.open(io.BytesIO(records.read(index))) as picture:
                if (picture.height, picture.width) != shape[:2]:
                    raise ValueError(f"{picture.height} x {picture.width} pixels")
                return np.asarray(picture.convert(mode)).reshape(shape)
        except (OSError, SyntaxError, ValueError) as error:
            if not request.skip:
                raise ValueError(
                    f"{records.name(index)}: expected an undamaged picture of {shape[0]} x "
                    f"{shape[1]} pixels; bad_pictures=skip leaves it out. Received: {error}"
                ) from None
            return None

    with ThreadPoolExecutor() as pool:
        loaded = list(pool.map(load, range(len(records.labels))))
    sound = np.array([picture is not None for picture in loaded])
    for index in np.flatnonzero(~sound).tolist():
        report(f"{SKIPPED}{records.name(index)}")
    if not sound.any():
        raise ValueError(f"{records.title}: expected a picture. Received: none")
    pictures = np.stack([picture for picture in loaded if picture is not None])
    return Pictures(pictures, records.labels[sound], names)
