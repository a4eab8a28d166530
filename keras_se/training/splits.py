"""Training, validation and test splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_se.data.label_format import classes_of
from keras_se.data.labelled import Data
from keras_se.data.randomness import FOLDS, permutation
from keras_se.labels import first_names
from keras_se.training.recipe import Recipe


def split(parts: Mapping[str, Data], recipe: Recipe) -> tuple[Data, Data, Data]:
    """The training, validation (after each epoch) and test (at the end) data."""
    training, test = parts["train"], parts["test"]
    validation = parts.get("validation", test)
    if recipe.folds is not None and recipe.fold is not None:
        own = folds_of(training.labels, recipe.folds) == recipe.fold - 1
        validation = training[np.flatnonzero(own)].called(
            f"fold {recipe.fold} of {recipe.folds} of {training.origin}"
        )
        training = training[np.flatnonzero(~own)].called(f"the other folds of {training.origin}")
        if not len(validation) or len(classes_of(training.labels)) < 2:
            raise ValueError(
                "`folds` must leave pictures to validate and at least two classes to train on. "
                f"Received: folds={recipe.folds}, {len(training) + len(validation)} pictures"
            )
    held_out = recipe.held_out
    if held_out >= len(training):
        raise ValueError(
            f"`held_out` must be less than the {len(training)} training pictures. "
            f"Received: held_out={held_out}"
        )
    count = len(training) - held_out
    if recipe.batch > count:
        raise ValueError(
            f"`batch` must be at most the {count} training pictures. Received: batch={recipe.batch}"
        )
    if held_out:
        validation = training[count:].called(f"held out of {training.origin}")
    for data in (validation, test):
        if not len(classes_of(data.labels)):
            raise ValueError(
                f"{data.origin}: expected a picture with a label. "
                f"Received: {len(data)} picture(s) without one"
            )
    return training[:count], validation, test


def folds_of(labels: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each picture, from 0; neither folds nor a class's shares differ by more than one.

    With several labels, folds have the same share of each label as nearly as that is possible. The
    folds depend only on the order of the pictures, so all folds of a data set fit together.
    """
    order = permutation(len(labels), FOLDS)
    found = np.empty(len(labels), int)
    if labels.ndim == 2:
        found[order] = _iteratively_stratified(labels[order] > 0, folds)
        return found
    order = order[np.argsort(labels[order], kind="stable")]
    found[order] = np.arange(len(labels)) % folds
    return found


def _iteratively_stratified(labels: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row of multi-hot labels.

    The rows of the label that is rarest among those left go to the fold that has the fewest of it;
    if several do, to that with the fewest of the row's labels, then of all rows (Sechidis,
    Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011; there the
    last two are one rule).
    """
    # All rows have the last label, so those without another one are dealt at the end.
    has = np.column_stack([labels, np.ones(len(labels), bool)])
    found = np.full(len(labels), -1)
    counts = np.zeros((folds, has.shape[1]), int)
    while (found < 0).any():
        left = has[found < 0].sum(axis=0)
        rarest = np.where(left > 0, left, len(labels) + 1).argmin()
        for row in np.flatnonzero((found < 0) & has[:, rarest]).tolist():
            own = counts[:, :-1][:, labels[row]].sum(axis=1)
            fold = np.lexsort((counts[:, -1], own, counts[:, rarest]))[0]
            found[row] = fold
            counts[fold] += has[row]
    return found


def described(training: Data, validation: Data, test: Data) -> dict[str, dict[str, Any]]:
    """Number of pictures and origin of each part."""
    origin = validation.origin
    if validation is test:
        origin = f"the test pictures ({origin}): best.keras is chosen on them"
    return {
        "training": {"pictures": len(training), "from": training.origin},
        "validation": {"pictures": len(validation), "from": origin},
        "test": {"pictures": len(test), "from": test.origin},
    }


def lines(
    parts: Mapping[str, Data], recipe: Recipe, training: Data, validation: Data, test: Data
) -> Iterator[str]:
    """The lines that a run prints about its data before it starts."""
    yield f"{training.classes} classes: {first_names(training.names)}"
    for part, about in described(training, validation, test).items():
        yield f"{part}: {about['pictures']:,} pictures, {about['from']}"
    if training.labels.ndim == 2:
        count = training.labels.sum(axis=1)
        yield f"labels: {count.mean():.2f} per training picture, none on {(count == 0).sum():,}"
    # A test part that was cut from the training pictures may have all pictures of a class.
    present = {label for data in parts.values() for label in classes_of(data.labels).tolist()}

    def without(data: Data) -> str:
        missing = sorted(present.difference(classes_of(data.labels).tolist()))
        return first_names([data.names[n] for n in missing])

    if names := without(training):
        yield f"no training pictures, since all are held out: {names}"
    if recipe.fold is not None and (names := without(validation)):
        yield f"no validation pictures, since none are in the fold: {names}"
    unused = parts.get("validation", validation)
    if unused.origin != validation.origin:
        setting = "held_out" if recipe.held_out else "fold"
        yield f"not used, since `{setting}` is set: {unused.origin}"
