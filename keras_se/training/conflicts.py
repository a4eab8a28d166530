"""Settings of a recipe that do not fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from keras_se.checks import shown
from keras_se.data.datasets import DATASETS

if TYPE_CHECKING:
    from keras_se.training.recipe import Recipe


def check_together(recipe: Recipe) -> None:
    """Raise a `ValueError` that names the first settings which do not fit each other."""
    for expected, names in _conflicts(recipe):
        received = ", ".join(f"{name}={shown(getattr(recipe, name))}" for name in names)
        raise ValueError(f"{expected}. Received: {received}")


def check_used(recipe: Recipe, given: Iterable[str]) -> None:
    """Raise a `ValueError` if a given field, unless it has its default, has no effect.

    Fields that are not given may have none: a change of one field need not undo a recipe's others.
    """
    defaults = {field.name: field.default for field in fields(recipe)}
    for name in given:
        other, values = UNUSED.get(name, (name, ()))
        if getattr(recipe, other) in values and getattr(recipe, name) != defaults[name]:
            raise ValueError(
                f"`{name}` is not used with {other}={_json(getattr(recipe, other))}. "
                f"Received: {name}={shown(getattr(recipe, name))}"
            )


def _conflicts(recipe: Recipe) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each conflict what was expected, and the fields to show."""
    if recipe.warmup_epochs >= recipe.epochs:
        yield f"`warmup_epochs` must be less than `epochs`, {recipe.epochs}", ("warmup_epochs",)
    if recipe.new_head and recipe.weights is None:
        yield "`weights` must be given with new_head=true", ("weights",)
    if recipe.schedule == "step" and not recipe.drops:
        yield "`drops` must not be empty with schedule='step'", ("drops",)
    if (recipe.fold is None) != (recipe.folds is None) or (recipe.fold or 0) > (recipe.folds or 0):
        yield "`fold` must be from 1 to `folds`, and both given or both null", ("fold", "folds")
    if recipe.fold is not None and recipe.held_out:
        yield "`held_out` must be 0 with `fold`, which holds pictures out itself", ("held_out",)
    if recipe.sampling == "balanced" and recipe.class_weights == "balanced":
        yield (
            "`class_weights` must be null with sampling='balanced', which balances the classes "
            "already",
            ("class_weights",),
        )
    if recipe.batch % recipe.repeats:
        yield f"`batch` must be a multiple of `repeats`, {recipe.repeats}", ("batch",)
    if recipe.target_threshold is not None and recipe.loss != "sigmoid":
        yield "`target_threshold` is only supported with loss='sigmoid'", ("target_threshold",)
    if recipe.target_threshold is not None and recipe.label_smoothing:
        yield (
            "`label_smoothing` must be 0 with `target_threshold`, which makes targets 0 or 1",
            ("label_smoothing",),
        )
    if recipe.labels != "one":
        yield from _of_several_labels(recipe)
    elif recipe.separator != ";":
        yield (
            "`separator` is only supported with several labels, labels='separated'",
            ("separator",),
        )
    if (recipe.teacher is None) != (recipe.distillation is None):
        yield (
            "`teacher` and `distillation`, its weight, must be both given or both null",
            ("teacher", "distillation"),
        )
    if recipe.teacher is None and recipe.temperature != 1:
        yield "`temperature` is only supported with `teacher`", ("temperature",)
    if recipe.teacher is not None and recipe.class_weights is not None:
        yield "`class_weights` must be null with `teacher`", ("class_weights",)
    if recipe.ema is not None and recipe.swa is not None:
        yield "`ema` and `swa` are two averages of the weights: set one to null", ("ema", "swa")
    if (recipe.head is None) == (recipe.data == "masks"):
        yield (
            "`head` must be 'unet' or 'fpn' with data='masks', and null with other data",
            ("head", "data"),
        )
    if recipe.attention is not None and recipe.head != "unet":
        yield "`attention` is only supported with head='unet'", ("attention", "head")
    for name, value in MASKS.items() if recipe.head is not None else ():
        if getattr(recipe, name) != value:
            yield f"`{name}` must be {_json(value)} with data='masks'", (name,)


# The value that settings must have with masks, whose pictures have no class of their own.
MASKS = {
    "labels": "one",
    "folds": None,
    "sampling": "shuffled",
    "class_weights": None,
    "loss": "softmax",
    "label_smoothing": 0,
    "teacher": None,
    "shift": 0,
    "rand_augment": 0,
    "cutout": 0,
    "random_erasing": 0,
    "mixup": 0,
    "cutmix": 0,
}
# The value that settings must have with several labels per picture.
SEVERAL_LABELS = {
    "data": "folder",
    "loss": "sigmoid",
    "label_smoothing": 0,
    "sampling": "shuffled",
    "class_weights": None,
}


# Fields that have no effect with some values of another.
UNUSED: dict[str, tuple[str, tuple[object, ...]]] = {
    "bad_pictures": ("data", tuple(DATASETS)),
    "crop": ("data", tuple(DATASETS)),
    "crop_area": ("data", tuple(DATASETS)),
    "cutout_probability": ("cutout", (0,)),
    "drop_factor": ("schedule", ("cosine",)),
    "drops": ("schedule", ("cosine",)),
    "momentum": ("optimizer", ("lamb", "adamw")),
    "nesterov": ("optimizer", ("lamb", "adamw")),
    "rand_augment_deviation": ("rand_augment", (0,)),
    "rand_augment_magnitude": ("rand_augment", (0,)),
    "rand_augment_probability": ("rand_augment", (0,)),
}


def _of_several_labels(recipe: Recipe) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, value in SEVERAL_LABELS.items():
        if getattr(recipe, name) != value:
            yield f"`{name}` must be {_json(value)} with labels={recipe.labels!r}", (name,)


def _json(value: object) -> str:
    return "null" if value is None else repr(value)
