"""Representative images: they calibrate 8-bit files and show what the 8 bits change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.serving.decoding import Transform, decode
from keras_se.serving.network import BATCH, ServedNetwork

# Suffixes of representative images in a folder, and how many are used.
SUFFIXES, REPRESENTATIVE = (".jpg", ".jpeg", ".png", ".gif", ".bmp"), 300


@dataclass(frozen=True)
class Representative:
    """Representative images.

    Attributes:
        images: float32 as the network takes them, `(count, H, W, C)`.
        labels: Class numbers, `(count,)`, or `None` if unknown.
    """

    images: np.ndarray
    labels: np.ndarray | None = None


def representative_images(
    given: Any, transform: Transform, shape: tuple[int, ...], classes: int
) -> Representative:
    """The representative images, from an array, a stream or the files of a folder.

    Labels are the second parts of a stream's elements if they are numbers of `classes` classes, or
    one-hot vectors of them.
    """
    if isinstance(given, str | Path):
        return Representative(_of_folder(given, transform, shape))
    images, labels = _taken(given, len(shape)) if _is_stream(given) else (np.asarray(given), None)
    if images.ndim != 1 + len(shape) or not len(images) or images.shape[1:] != shape:
        raise ValueError(
            f"`representative` must be images of shape (n, {', '.join(map(str, shape))}). "
            f"Received: shape {images.shape}"
        )
    if not np.isfinite(images).all():
        raise ValueError("`representative` must be finite numbers. Received: NaN or infinite ones")
    return Representative(images.astype("float32"), _class_numbers(labels, classes))


def compared(
    network: ServedNetwork, run: Callable[..., list[np.ndarray]], path: Path, known: Representative
) -> tuple[float | None, tuple[float, float] | None]:
    """Share of the images in which file and model agree, and the accuracies of model and file.

    Either is `None` if it is not known.
    """
    if not network.top_k:
        return None, None
    size = network.batch or min(BATCH, len(known.images))
    count = len(known.images)
    # Runtimes take whole batches.
    images = known.images[np.arange(-(-count // size) * size) % count]
    file = _best(run(path, network.typed(images), size)[0])[:count]
    parts = [images[n : n + size] for n in range(0, len(images), size)]
    answers = [network.expected(network.typed(x).astype("float32")) for x in parts]
    model = _best(np.concatenate([y for (y,) in (answer.values() for answer in answers)]))[:count]
    agreement = float(np.mean(file == model))
    if known.labels is None:
        return agreement, None
    accuracies = [float(np.mean(best == known.labels)) for best in (model, file)]
    return agreement, (accuracies[0], accuracies[1])


def _best(scores: np.ndarray) -> np.ndarray:
    """The class with the highest score, of one probability the likelier side."""
    return scores[:, 0] > 0.5 if scores.shape[1] == 1 else scores.argmax(1)


def _of_folder(given: str | Path, transform: Transform, shape: tuple[int, ...]) -> np.ndarray:
    if given == "":
        raise ValueError("`representative` must be images, or a folder of them. Received: ''")
    if len(shape) != 3:
        raise ValueError(
            f"`representative` must be an array or a stream of it for inputs {shape}. "
            f"Received: representative={str(given)!r}"
        )
    folder = Path(given)
    files = [path for path in sorted(folder.rglob("*")) if _is_picture(path, folder)]
    chosen = files[:: max(1, len(files) // REPRESENTATIVE)][:REPRESENTATIVE]
    if not chosen:
        raise ValueError(
            "`representative` must be images, or a folder of them "
            f"({', '.join(SUFFIXES)}). Received: {folder}"
        )
    images, _, errors = decode([path.read_bytes() for path in chosen], transform)
    for path, error in zip(chosen, errors.numpy(), strict=True):
        if error:
            raise ValueError(f"{path}: {error.decode()}")
    return np.asarray(images)


def _is_picture(path: Path, folder: Path) -> bool:
    """Whether a path is a regular, visible file with an image suffix; pipes never end."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _is_stream(representative: Any) -> bool:
    """Whether images come one by one, as from a `tf.data.Dataset` or a generator."""
    return not isinstance(representative, list | tuple) and not hasattr(representative, "shape")


def _taken(stream: Iterable[Any], rank: int) -> tuple[np.ndarray, list[Any] | None]:
    """The first images of a stream of images or batches, and what comes second in its elements.

    One image has `rank` axes.
    """
    pictures: list[np.ndarray] = []
    labels: list[Any] | None = []
    for element in stream:
        parts = element if isinstance(element, tuple | list) else (element,)
        array = np.asarray(parts[0])
        single = array.ndim == rank
        pictures.extend(array[None] if single else array)
        if labels is not None and len(parts) > 1 and not isinstance(parts[1], dict | tuple | list):
            second = np.asarray(parts[1])
            labels.extend(second[None] if single else np.atleast_1d(second))
        else:
            labels = None
        if len(pictures) >= REPRESENTATIVE:
            break
    if not pictures:
        return np.zeros((0,)), None
    return np.stack(pictures[:REPRESENTATIVE]), labels and labels[:REPRESENTATIVE]


def _class_numbers(labels: list[Any] | None, classes: int) -> np.ndarray | None:
    """Class numbers from numbers or one-hot vectors; `None` if they are anything else."""
    if not labels or len({np.shape(label) for label in labels}) > 1:
        return None
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == classes > 1 and np.isin(array, (0, 1)).all():
        return array.argmax(1) if (array.sum(1) == 1).all() else None
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= classes:
        return None
    return array.astype("int64")
