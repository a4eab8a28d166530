"""`Description`: a network's inputs and outputs; for a set of weights, from the registry.

This module does not need Keras, so that a bad picture is refused before Keras is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras_se
from keras_se.labels import class_names, has_names
from keras_se.weights.entries import Weights, known_weights, resolve_weights


@dataclass(frozen=True)
class Description:
    """The inputs and outputs of a model.

    Attributes:
        height: Height of its pictures or slices, `None` for any, and for signals.
        width: Width of its pictures or slices, `None` for any, and for signals.
        channels: Number of channels.
        channels_first: Whether pictures are `(C, H, W)`.
        size: Height and width at which the network is evaluated, or `None`.
        crop: Share of the resized picture's shorter side that is kept; 1.0, the whole picture,
            unless the model specifies another.
        interpolation: `"bilinear"` or `"bicubic"`, for the resize.
        normalises: Whether the model takes 0..255 and normalises inside, by `mean` and `std`.
        mean: Means of the channels in 0..1, RGB order, or `None`.
        std: Standard deviations of the channels in 0..1, or `None`.
        channel_order: `"RGB"` or `"BGR"`, after the normalisation.
        answers: `"probabilities"` of one class each, `"independent probabilities"`, `"logits"`, or
            `"values"`: anything else.
        scores: Activation that turns logits into probabilities, `"softmax"` or `"sigmoid"`; else
            `None`.
        classes: Identifier and name of each class, or `None` if there are no classes or their
            names are not known.
        features: Input width of the last dense layer, or `None`.
        spatial: Sizes of all spatial axes, `None` for any: `(height, width)` of pictures,
            `(length,)` of signals, `(depth, height, width)` of volumes.
    """

    height: int | None
    width: int | None
    channels: int
    channels_first: bool
    size: int | None
    crop: float
    interpolation: str
    normalises: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    channel_order: str
    answers: str
    scores: str | None
    classes: tuple[tuple[str, str], ...] | None
    features: int | None
    spatial: tuple[int | None, ...]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, or `None`."""
        return None if self.classes is None else tuple(name for _, name in self.classes)

    @property
    def independent(self) -> bool:
        """Whether the classes do not exclude each other: each has a sigmoid of its own."""
        return self.answers == "independent probabilities" or self.scores == "sigmoid"


def find_set(name: Any) -> Weights | None:
    """The set of weights for a name: the set's own, or a builder and a data set."""
    if isinstance(name, Weights):
        return name
    if not isinstance(name, str):
        return None
    found = {entry.name: entry for entry in known_weights()}.get(name)
    model, _, dataset = name.partition(".")
    if found is None and dataset and model in keras_se.list_models():
        resolved = resolve_weights(dataset, model)
        return resolved if isinstance(resolved, Weights) else None
    return found


def agreed_set(dataset: Any) -> Weights | None:
    """One of a data set's default sets, if all of them preprocess pictures alike."""
    sets = [entry for entry in known_weights() if entry.default and entry.dataset == dataset]
    transforms = {
        (entry.input_shape, entry.preprocessing.crop, entry.preprocessing.interpolation)
        for entry in sets
    }
    if len(transforms) > 1:
        raise ValueError(
            f"`weights_or_model` must be a set of weights: those of {dataset!r} have "
            f"{len(transforms)} transforms. Received: weights_or_model={dataset!r}"
        )
    return sets[0] if sets else None


def describe_set(entry: Weights) -> Description:
    """Describe the network of a set of weights."""
    transform, labels = entry.preprocessing, entry.dataset.removesuffix("_backbone")
    *spatial, channels = entry.input_shape
    return Description(
        height=spatial[-2],
        width=spatial[-1],
        channels=channels,
        channels_first=False,
        size=transform.size,
        crop=transform.crop,
        interpolation=transform.interpolation,
        normalises=True,
        mean=transform.mean,
        std=transform.std,
        channel_order=transform.channel_order,
        answers="probabilities" if entry.classes else "values",
        scores=None,
        classes=class_names(labels) if entry.classes and has_names(labels) else None,
        features=None,
        spatial=tuple(spatial),
    )
