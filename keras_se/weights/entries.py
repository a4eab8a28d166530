"""The registry: what is known of every trained set of weights."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from keras_se.checks import unknown_choice
from keras_se.weights.variable_file import check_sha256


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a set of weights.

    The shorter side is resized to `floor(size / crop)` pixels with `interpolation`, the centre
    `size` x `size` is cut out, and channel c becomes `(x / 255 - mean[c]) / std[c]`; the channels
    are in RGB order.
    """

    size: int
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Metric:
    """One figure of a set of weights; `measured` tells ours from a publisher's claim."""

    name: str
    value: float
    dataset: str
    split: str
    measured: bool


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    Attributes:
        name: Unique name, `<network>.<what it was trained on>`.
        model: Builder that it belongs to.
        dataset: Data set that it was trained on; its class names are the labels.
        default: Whether `weights="<dataset>"` means this set.
        publisher: Who trained it.
        url: Where it is published, or `None` for a set that is part of this package.
        file: File name.
        layout: How variables are stored in the file.
        sha256: Hash of the file.
        licence: SPDX identifier.
        note: What else a user must know, or "".
        input_shape: Shape of one picture that it was trained on, channels last.
        classes: Number of classes.
        variant: Fields in which its network differs from the builder's default.
        preprocessing: Its evaluation transform.
        metrics: Its figures.
        params_trainable: Number of trainable parameters.
        params_total: The same with BatchNorm's moving statistics.
    """

    name: str
    model: str
    dataset: str
    default: bool
    publisher: str
    url: str | None
    file: str
    layout: str
    sha256: str
    licence: str
    note: str
    input_shape: tuple[int, int, int]
    classes: int
    preprocessing: Preprocessing
    metrics: tuple[Metric, ...]
    params_trainable: int
    params_total: int
    variant: dict[str, Any] = field(default_factory=dict, hash=False)

    def path(self) -> Path:
        """Where the file of this set lies, its hash checked."""
        path = Path(str(resources.files("keras_se.weights") / "files" / self.file))
        check_sha256(path, self.sha256)
        return path


def _parse(fields: dict[str, Any]) -> Weights:
    preprocessing = fields.pop("preprocessing")
    for key in ("mean", "std"):
        preprocessing[key] = tuple(preprocessing[key])
    fields["preprocessing"] = Preprocessing(**preprocessing)
    fields["metrics"] = tuple(Metric(**metric) for metric in fields["metrics"])
    fields["input_shape"] = tuple(fields["input_shape"])
    return Weights(**fields)


@functools.cache
def _registry() -> dict[str, Weights]:
    text = resources.files("keras_se.weights").joinpath("registry.json").read_text("utf-8")
    return {entry["name"]: _parse(entry) for entry in json.loads(text)}


def list_weights(model: str | None = None) -> list[Weights]:
    """The known sets of weights, in the order of the registry.

    Args:
        model: Builder name such as `"SEResNet50"`, to list only that network's sets. Defaults to
            `None`, for all.

    Returns:
        A list of `Weights`.

    Raises:
        ValueError: If there is no builder of that name.

    Example:

    >>> [entry.name for entry in keras_se.list_weights("SEResNet20")]
    ['se_resnet20.fashion_mnist']
    """
    from keras_se.models import list_models

    if model is not None and model not in list_models():
        raise ValueError(unknown_choice("model", model, list_models()))
    return [entry for entry in _registry().values() if model in (None, entry.model)]


def get_weights(name: Any) -> Weights:
    """The registry entry of that name, or a `ValueError` with the names that there are."""
    entry = _registry().get(name) if isinstance(name, str) else None
    if entry is None:
        raise ValueError(unknown_choice("weights", name, _registry()))
    return entry


def resolve_weights(weights: Any, model: str) -> Weights | Path | None:
    """What the `weights` argument of the builder `model` stands for.

    Returns:
        `None`, a registry entry of that network, or the path of an existing `.weights.h5` file.

    Raises:
        ValueError: If it stands for nothing known.
    """
    if weights is None:
        return None
    entries = [entry for entry in _registry().values() if entry.model == model]
    for entry in entries:
        if weights == entry.name or (entry.default and weights == entry.dataset):
            return entry
    if str(weights).endswith(".weights.h5"):
        if Path(weights).is_file():
            return Path(weights)
        raise ValueError(f"`weights` names a file that does not exist. Received: {weights}")
    names = [entry.dataset for entry in entries if entry.default] + [e.name for e in entries]
    sets = "" if names else " (this network has no sets of weights yet)"
    path = f"the path of a .weights.h5 file{sets}"
    raise ValueError(f"{model}: {unknown_choice('weights', weights, [None, *names], path)}")
