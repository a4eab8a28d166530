"""`excitations`: the gates of a network by class."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.analysis.extremes import Extremest
from keras_se.analysis.gates import Gates
from keras_se.analysis.moments import Moments
from keras_se.analysis.result import Excitations
from keras_se.analysis.samples import (
    LabelledImages,
    Samples,
    Stream,
    check_range,
    class_members,
    of_files,
    of_tfds,
)
from keras_se.checks import positive_integer
from keras_se.data.tfds import check_data_dir, is_tfds
from keras_se.graph.trace import is_functional
from keras_se.inspection import as_images, check_finite, check_images, describe, warn_of_range
from keras_se.pictures import (
    class_files,
    class_folders,
    colours_for,
    preprocessing_of,
    read_picture,
)
from keras_se.weights.entries import Preprocessing

HIGH, LOW = 0.9, 0.1
CLASSIFIERS = (keras.layers.Dense, keras.layers.Activation, keras.layers.Softmax)


def excitations(
    model: keras.Model,
    images: Any,
    labels: Any = None,
    *,
    samples_per_class: int | None = 50,
    class_names: Sequence[str] | None = None,
    data_dir: str | Path | None = None,
) -> Excitations:
    """Mean and standard deviation of every Squeeze-and-Excitation gate, class by class.

    This works for any network with `SqueezeExcite` layers: one of this package, fine-tuned, loaded
    from a file, nested in another model, or made by `add_squeeze_excite`. It runs in inference and
    is not changed. Images are processed in batches and only sums are kept, so memory does not grow
    with their number. A block without a squeeze has a gate per position; their mean is used.

    Args:
        model: A built model with `SqueezeExcite` layers.
        images: Input of the model: an array `(count, H, W, C)` or `(count, C, H, W)`, RGB in 0..255
            for a network of this package (a memory-mapped one is read batch by batch); a
            `tf.data.Dataset`, `keras.utils.PyDataset` or other iterable of batches `(images,
            labels)`; a folder with one folder of images per class; or `"tfds:NAME"`, the test
            split of a prepared TensorFlow Datasets data set (its `test`, or if that has no labels
            its `validation`, else a fifth of `train`). For images in files, the shorter side is
            resized to the input size and the centre is cropped; the input must be square, with one
            or three channels.
        labels: Classes of an array's images: integers `(count,)`, or zeros and ones
            `(count, classes)`: an image counts for every class with a one, for none in a row of
            zeros. `None` (default) if `images` includes them.
        samples_per_class: Measure only this many images of each class, the first in the order of
            the data (by file name in a folder); `None` for all. Defaults to 50, the paper's number.
            A class may have fewer.
        class_names: Names of all classes, in the order of the labels. Defaults to `None`: for a
            folder, the model's own class names if they include all folder names, else the folder
            names, sorted; for TFDS, the data set's own; else numbers, as many as the classifier has
            outputs or the labels of zeros and ones have columns, or up to the largest label.
        data_dir: Folder of the prepared TFDS data sets. Defaults to `None`, for TFDS' own.

    Returns:
        The `Excitations`. A class without images has the count 0 and NaN for mean and standard
        deviation; a warning names such classes.

    Raises:
        ValueError: If the model has no such layers or is not built, no image has a class, the
            number of labels differs from that of images or a label is out of range, or an argument
            is invalid.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> pictures, labels = np.random.randint(0, 256, (20, 28, 28, 1)), np.arange(20) % 10
    >>> found = keras_se.excitations(model, pictures, labels)
    >>> found.mean["stage2_block1_se"].shape, found.counts
    ((10, 16), array([2, 2, 2, 2, 2, 2, 2, 2, 2, 2]))

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 7.2: fifty pictures
        of each class.
    """
    gates = Gates(model)
    if samples_per_class is not None:
        samples_per_class = positive_integer("samples_per_class", samples_per_class)
    names = _names(class_names)
    check_data_dir(data_dir, images)
    source: LabelledImages
    if isinstance(images, str | Path):
        if labels is not None:
            raise ValueError("`labels` must be None if `images` includes them. Received: labels")
        if images == "":
            raise ValueError("`images` must be a folder or 'tfds:NAME'. Received: images=''")
        transform, colours = _transform(model)
        if is_tfds(images):
            source, own = of_tfds(images, data_dir, transform, colours)
            if names is not None and len(names) != len(own):
                raise ValueError(
                    f"`class_names` must have one name per class of {images}, {len(own)}. "
                    f"Received: {len(names)} names"
                )
            names = names or own
        else:
            source, names = _folder(model, Path(images), names, transform, colours)
    else:
        classes = _outputs(model) if names is None else len(names)
        source = _source(model, images, labels, classes)
    return measure(gates, source, samples_per_class, names)


def measure(
    gates: Gates, source: LabelledImages, samples_per_class: int | None, names: Sequence[str] | None
) -> Excitations:
    """`excitations` of a source of pictures; `names` has one name per class, or is `None`."""
    moments, extremest = Moments(), Extremest()
    widths: dict[str, int] = {}
    known = 0
    for pictures, members in source.batches(samples_per_class):
        check_finite(pictures)
        found = gates(pictures)
        widths = {name: array.shape[1] for name, array in found.items()}
        high = [(array > HIGH).mean(1, keepdims=True) for array in found.values()]
        low = [(array < LOW).mean(1, keepdims=True) for array in found.values()]
        rows = np.concatenate([*found.values(), *high, *low], 1)
        moments.add(rows[members.pictures], members.classes)
        extremest.add(found, pictures, members.first(len(rows)))
        known = max(known, members.known)
    if not widths:
        raise ValueError("`images` must hold at least one picture of a class. Received: none")
    if names is None:
        names = [str(n) for n in range(source.classes or known)]
    counts = moments.counts(len(names))
    _warn_of_empty(counts, names)
    # Columns are the gates, then the shares.
    mean, std = moments.mean(len(names)), moments.std(len(names))
    *edges, last = np.cumsum(list(widths.values())).tolist()
    shares = np.split(mean[:, last:].T, 2)
    return Excitations(
        tuple(names),
        counts,
        mean=dict(zip(widths, np.split(mean[:, :last], edges, 1), strict=True)),
        std=dict(zip(widths, np.split(std[:, :last], edges, 1), strict=True)),
        high=dict(zip(widths, shares[0], strict=True)),
        low=dict(zip(widths, shares[1], strict=True)),
        extremes=extremest.found(gates.model),
    )


def _warn_of_empty(counts: np.ndarray, names: Sequence[str]) -> None:
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if empty:
        more = " and so on" if len(empty) > 5 else ""
        warnings.warn(
            f"{len(empty)} of {len(names)} classes have no pictures; their means are NaN: "
            f"{', '.join(empty[:5])}{more}",
            stacklevel=4,
        )


def _names(names: Any) -> list[str] | None:
    """`class_names` as a list, checked."""
    if names is None:
        return None
    known = [] if isinstance(names, str) else list(names)
    if not known or len(set(known)) < len(known) or not all(isinstance(x, str) for x in known):
        raise ValueError(
            f"`class_names` must be distinct strings, one per class. Received: {names!r}"
        )
    return known


def _outputs(model: keras.Model) -> int | None:
    """Number of classes, if the model ends in a classifier of two or more."""
    shape = getattr(model, "output_shape", None) if is_functional(model) else None
    last = model
    while getattr(last, "layers", None):
        last = last.layers[-1]
    classifier = isinstance(last, CLASSIFIERS) and isinstance(shape, tuple) and len(shape) == 2
    return shape[1] if classifier and shape and (shape[1] or 0) > 1 else None


def _source(model: keras.Model, images: Any, labels: Any, classes: int | None) -> LabelledImages:
    """Arrays with their labels, or batches."""
    is_array = isinstance(images, list | tuple) or hasattr(images, "shape")
    if not is_array:
        if labels is not None:
            raise ValueError("`labels` must be None if `images` includes them. Received: labels")
        if isinstance(images, keras.utils.PyDataset):
            images = map(images.__getitem__, range(len(images)))
        if not isinstance(images, Iterable):
            raise ValueError(
                "`images` must be an array, batches of (pictures, labels), or a folder. "
                f"Received: images of type {type(images).__name__}"
            )
        return Stream(images, classes)
    if labels is None:
        raise ValueError("`labels` must be given with an array of pictures. Received: labels=None")
    pictures = as_images(images)
    check_images(model, pictures)
    if is_functional(model) and len(model.inputs) == 1:
        warn_of_range(model, pictures)
    members = class_members(labels, len(pictures))
    classes = classes or members.known
    check_range(members.classes, classes)
    return Samples(np.asarray(labels), lambda indices: pictures[indices], classes)


def _transform(model: keras.Model) -> tuple[Preprocessing, str]:
    """The preprocessing of pictures in files, and the mode `"L"` or `"RGB"`."""
    shape = tuple(model.inputs[0].shape[1:]) if is_functional(model) else ()
    known = describe(model) if len(shape) == 3 else None
    square = known is not None and known.height == known.width and (known.height or known.size)
    if known is None or not square or known.channels not in (1, 3):
        raise ValueError(
            "`images` must be an array or batches unless the model takes square grey or RGB "
            f"pictures of a known size. Received: files, input of shape {shape}"
        )
    return preprocessing_of(known), colours_for(known)


def _folder(
    model: keras.Model, folder: Path, names: list[str] | None, transform: Preprocessing,
    colours: str,
) -> tuple[LabelledImages, list[str]]:  # fmt: skip
    """The pictures in a folder of folders, and the names of the classes."""
    if names is None:
        folders = [path.name for path in class_folders(folder)] if folder.is_dir() else []
        own = describe(model).labels or ()
        names = list(own) if own and {*folders} <= {*own} else folders
    places = {name: n for n, name in enumerate(names)}
    files = class_files(folder, places, "`class_names`", "images")
    return of_files(files, lambda path: read_picture(path, transform, colours), len(names)), names
