"""`keras-se evaluate`: figures of a network on labelled pictures."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.checks import unknown_choice
from keras_se.data.datasets import DATASETS, load_pictures
from keras_se.data.encoded import EncodedPictures
from keras_se.data.labelled import check_channels_last
from keras_se.data.masked import MaskedPictures
from keras_se.data.tfds import check_data_dir, evaluated_on, is_tfds
from keras_se.description import Description, describe_set, find_set
from keras_se.inspection import describe
from keras_se.labels import class_names, class_places
from keras_se.pictures import (
    SKIPPED,
    class_files,
    colours_for,
    preprocessing_of,
    read_picture,
    sides_of,
)
from keras_se.resolve import get_model, model_file, unknown
from keras_se.training.contents import load_test
from keras_se.training.figures import TINY, averaged, figures, logits
from keras_se.training.label_figures import LabelEvaluation, evaluation_of_labels
from keras_se.training.mask_evaluation import MaskEvaluation, evaluate_masks
from keras_se.training.recipe import BAD_PICTURES, Recipe, from_dict
from keras_se.views import View, check_margin, views_of

BATCH = 100


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of a network.

    Attributes:
        what: The set of weights, or the run folder.
        pictures: Number of pictures.
        cross_entropy: Mean over all pictures, in nats: of the softmax; of a network with a sigmoid
            for each class, the sum of the classes' binary cross-entropies.
        top1: Share of pictures whose class ranks first.
        top5: Share of pictures whose class ranks among the first five.
        classes: Names of the classes.
        confusion: Counts, `[true class][predicted class]`.
        skipped: Files that are not pictures.
    """

    what: str
    pictures: int
    cross_entropy: float
    top1: float
    top5: float
    classes: list[str]
    confusion: list[list[int]]
    skipped: list[str]

    def per_class(self) -> list[tuple[str, int, float | None]]:
        """Name, number of pictures and top-1 of each class; top-1 is `None` without pictures."""
        rows = zip(self.classes, self.confusion, strict=True)
        return [
            (name, sum(row), row[n] / sum(row) if sum(row) else None)
            for n, (name, row) in enumerate(rows)
        ]


def evaluate(
    what: str | Path,
    data: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    bad_pictures: str = "refuse",
    tta: str | None = None,
) -> Evaluation | LabelEvaluation | MaskEvaluation:
    """Evaluate a set of weights, a run or a model's file.

    A run with masks is measured over the pixels of its test pictures, without `data` and `tta`.

    Args:
        what: As for `keras_se.get_model`; a run folder means its last network.
        data: A folder with one folder of pictures per class, named by the class's identifier or
            name; or `"tfds:NAME"`, the test split of a prepared TensorFlow Datasets data set (if it
            has no labels, the validation split, else a fifth of the training split), whose classes
            are matched by identifier or name. Defaults to `None`: the test split of the set's or
            run's own data set.
        data_dir: Folder of the prepared TFDS data sets; for a run without `data`, where its data
            are now. Defaults to `None`, for TFDS' own and for the run's own `data_dir`.
        bad_pictures: `"refuse"` (default): a file that is not a picture is an error; `"skip"`: it
            is skipped and listed.
        tta: Test-time augmentation: the mean of the probabilities of `"flip"`: the picture and its
            mirror image; `"five"`: the centre and the corners of the resized picture (Krizhevsky et
            al., 2012); `"ten"`: both. Defaults to `None`: the picture alone.

    Returns:
        An `Evaluation`; a `LabelEvaluation` of a run on pictures with several labels.

    Raises:
        ValueError: If there is no such network or data, its classes are not known, a run's data
            have changed since it was trained, `data` has one label per picture for a run of several
            labels, a file is not a picture, or `tta` crops pictures that have the network's own
            size.
    """
    views = views_of(tta)
    if bad_pictures not in BAD_PICTURES:
        raise ValueError(unknown_choice("bad_pictures", bad_pictures, BAD_PICTURES))
    if data == "":
        raise ValueError("`data` must be a folder or 'tfds:NAME'. Received: data=''")
    check_channels_last()
    entry = find_set(what)
    recipe = None if entry is not None else _recipe_of(Path(what))
    if recipe is not None and data is None and Path(what).is_dir():
        return _evaluate_run(Path(what), recipe, data_dir, tta)
    if recipe is not None and data is not None and recipe.labels != "one":
        raise ValueError(
            "`data` must be None for a run of several labels per picture; folders of classes and "
            f"TFDS data sets give one. Received: data={str(data)!r}, what={str(what)!r}"
        )
    check_data_dir(data_dir, data)
    dataset = "" if entry is None else str(entry.dataset).removesuffix("_backbone")
    if data is None and dataset not in DATASETS:
        if entry is None and model_file(what) is None:
            raise unknown(what, "what")
        raise ValueError(
            f"`data` must be a folder of pictures or 'tfds:NAME' for {what}. Received: None"
        )
    if entry is not None and not entry.classes:
        raise ValueError(f"`what` must have a classifier. Received: what={entry.name!r}")
    if data is None:
        check_margin(tta, "pictures of the network's own size")
        test = load_pictures(dataset)["test"]
        model = _set_model(entry)
        scores = averaged(np.stack([logits(model, test, BATCH, view) for view in views]), "softmax")
        return _account(str(what), test.names, scores, test.labels, [], "softmax")
    model = None if entry is not None else get_model(what)
    if model is not None and len(model.output_shape) != 2:
        raise ValueError(
            "`what` must answer (batch, classes) with `data`; a run with masks is evaluated "
            f"without it. Received: what={str(what)!r}, which answers {model.output_shape}"
        )
    known = describe_set(entry) if entry is not None else describe(model)
    if known.classes is None:
        raise ValueError(
            "`what` must have class names, as a run's network and most sets do. "
            f"Received: what={str(what)!r}"
        )
    if known.crop == 1:
        check_margin(tta, "a network with crop=1.0")
    files = _files(known, data, data_dir, views)
    model = model or _set_model(entry)
    return _evaluate_files(str(what), model, known, files, bad_pictures == "skip", str(data))


def _recipe_of(run: Path) -> Recipe | None:
    """The recipe of a run, or of the run that a `.keras` file lies in; `None` if there is none."""
    path = (run.parent if run.suffix == ".keras" else run) / "recipe.json"
    return from_dict(json.loads(path.read_text("utf-8"))) if path.is_file() else None


def _evaluate_run(
    folder: Path, recipe: Recipe, data_dir: str | Path | None, tta: str | None
) -> Evaluation | LabelEvaluation | MaskEvaluation:
    lines: list[str] = []
    if recipe.head is not None and tta is not None:
        raise ValueError(f"`tta` must be None for a run with masks. Received: tta={tta!r}")
    test = load_test(folder, recipe, lines.append, data_dir)
    if isinstance(test, MaskedPictures):
        return evaluate_masks(folder, recipe, test)
    if not isinstance(test, EncodedPictures) or test.crop == 1:
        check_margin(tta, "pictures of the network's own size, or with crop=1.0")
    model = get_model(folder)
    every = np.stack([logits(model, test, recipe.batch, view) for view in views_of(tta)])
    skipped = [line.removeprefix(SKIPPED) for line in lines if line.startswith(SKIPPED)]
    found = (str(folder), test.names, averaged(every, recipe.loss), test.labels, skipped)
    return evaluation_of_labels(*found) if test.labels.ndim > 1 else _account(*found, recipe.loss)


def _set_model(entry: Any) -> keras.Model:
    return get_model(entry, classifier_activation=None)


def _evaluate_files(
    what: str, model: keras.Model, known: Description, files: _Files, skip: bool, data: str
) -> Evaluation:
    outputs: list[np.ndarray] = []
    labels: list[int] = []
    skipped: list[str] = []

    def load(item: tuple[Any, int]) -> tuple[np.ndarray | None, Any, int]:
        try:
            return files.load(item[0]), *item
        except (ValueError, OSError):
            if not skip:
                raise
            return None, *item

    # `read_picture` changes the warning filters in several threads; this restores them.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        for first in range(0, len(files.items), files.batch):
            loaded = list(pool.map(load, files.items[first : first + files.batch]))
            skipped += [files.name(key) for picture, key, _ in loaded if picture is None]
            pictures = [picture for picture, _, _ in loaded if picture is not None]
            labels += [label for picture, _, label in loaded if picture is not None]
            if pictures:
                stacked = np.stack(pictures, axis=1)
                flat = stacked.reshape(-1, *stacked.shape[2:])
                # One batch size, so that nothing is compiled twice.
                filled = np.resize(flat, (len(stacked) * files.batch, *flat.shape[1:]))
                answers = np.asarray(model.predict_on_batch(filled))[: len(flat)]
                outputs.append(answers.reshape(*stacked.shape[:2], -1))
    if not labels:
        raise ValueError(f"{data}: expected a picture. Received: {len(skipped)} other files")
    own = describe(model)
    every = _as_logits(np.concatenate(outputs, axis=1).astype("float64"), own.answers)
    scores = "sigmoid" if own.independent else "softmax"
    names = list(known.labels or ())
    return _account(what, names, averaged(every, scores), np.array(labels), skipped, scores)


def _as_logits(outputs: np.ndarray, answers: str) -> np.ndarray:
    """Convert a model's outputs to logits; probabilities become their logarithms."""
    if answers == "logits":
        return outputs
    scores = np.log(np.maximum(outputs, TINY))
    return scores if answers == "probabilities" else scores - np.log(np.maximum(1 - outputs, TINY))


@dataclass(frozen=True)
class _Files:
    """Pictures that are read on demand.

    Attributes:
        items: The key of each picture, and its class.
        load: Loads the views of a picture as network input, `(views, H, W, C)`.
        name: Names a picture in messages.
        batch: Pictures per batch; with their views about `BATCH`.
    """

    items: list[tuple[Any, int]]
    load: Callable[[Any], np.ndarray]
    name: Callable[[Any], str]
    batch: int


def _files(
    known: Description, data: str | Path, data_dir: str | Path | None, views: Sequence[View]
) -> _Files:
    """The pictures of a folder or of a prepared TFDS data set."""
    classes, batch = known.classes or (), -(-BATCH // len(views))
    transform, colours = preprocessing_of(known), colours_for(known)
    if not is_tfds(data):
        items: list[tuple[Any, int]] = [
            *class_files(Path(data), class_places(classes), "the network")
        ]
        sides = sides_of(known)
        return _Files(
            items, lambda p: read_picture(p, transform, colours, sides=sides, views=views), str,
            batch,
        )  # fmt: skip
    records, chosen, names = evaluated_on(data, data_dir)
    places = class_places(classes)
    for identifier, name in classes:
        # TFDS numbers classes that have no names.
        if identifier.isdecimal() and identifier != name:
            places.pop(identifier, None)
    found = [places.get(name, places.get(name.replace(" ", "_"), -1)) for name in names]
    if -1 in found:
        name = names[found.index(-1)]
        raise ValueError(
            f"{data}: every class must be a class of the network. "
            + unknown_choice("class", name, [], f"{next(iter(places))!r} and so on")
        )
    items = [(index, found[records.labels[index]]) for index in chosen.tolist()]
    return _Files(
        items, lambda n: records.picture(n, transform, colours, views), records.name, batch
    )


def data_set_files(folder: Path, dataset: str) -> list[tuple[Path, int]]:
    """The pictures in a folder of folders, named by class identifiers or names."""
    return class_files(folder, class_places(class_names(dataset)), dataset)


def _account(
    what: str, names: Sequence[str], logits: np.ndarray, labels: np.ndarray, skipped: list[str],
    scores: str,
) -> Evaluation:  # fmt: skip
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, logits.argmax(1)), 1)
    return Evaluation(
        what=what,
        pictures=len(labels),
        classes=list(names),
        confusion=confusion.tolist(),
        skipped=skipped,
        **figures(logits, labels, scores),
    )
