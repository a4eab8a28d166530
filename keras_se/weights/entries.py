"""The registry: what is known of every trained set of weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_se.checks import reader_of, unknown_choice
from keras_se.weights.hashes import check_hash
from keras_se.weights.variable_file import open_variables

if TYPE_CHECKING:
    from keras_se.layers import AttentionConfig

# The data set of the plain networks' weights, without Squeeze-and-Excitation.
BACKBONE = "imagenet_backbone"


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a set of weights.

    The shorter side is resized to `floor(size / crop)` pixels with `interpolation`, the centre
    `size` x `size` is cut out, and channel c becomes `(x / 255 - mean[c]) / std[c]`. `mean` and
    `std` are in RGB order; the network then takes the channels in `channel_order`.
    """

    size: int
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str = "RGB"


@dataclass(frozen=True)
class Metric:
    """One figure of a set of weights; `measured` tells ours from a publisher's claim.

    `name` is `top1` or `top5`, with `@288` behind it for pictures of that size.
    """

    name: str
    value: float
    dataset: str
    split: str
    measured: bool


@dataclass(frozen=True)
class PublishedNetwork:
    """A network as its publisher built it: a builder of ours, and in which fields it differs.

    Attributes:
        publisher: Who built it.
        name: Its name there, such as `"seresnet50b"`.
        model: Our builder.
        layout: How its tensors are named; a key of `keras_se.weights.layouts.LAYOUTS`.
        variant: Fields of the builder's description in which it differs from the builder's default.
        normalisation: What it does to pictures: `mean`, `std` and maybe `channel_order` of
            `Preprocessing`.
        se: Settings of its attention blocks, as `AttentionConfig.settings` gives them.
    """

    publisher: str
    name: str
    model: str
    layout: str
    variant: dict[str, Any]
    normalisation: dict[str, Any]
    se: dict[str, Any] = field(default_factory=dict)

    def attention(self) -> AttentionConfig:
        """Its attention blocks."""
        return _attention(self.se)


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    Attributes:
        name: Unique name, `<network>.<publisher and what it was trained on>`.
        model: Builder that it belongs to.
        network: The publisher's name of the network.
        dataset: Data set that it was trained on.
        default: Whether `weights="<dataset>"` means this set.
        publisher: Who trained it.
        url: Where it is published, or `None` for a set that is part of this package.
        file: Name of the published file; its path below `KERAS_SE_MIRROR`.
        layout: How tensors are named in the file.
        sha: `"<algorithm>:<hexadecimal digits>"` of the file, inside a zip of what is in it; maybe
            only the first digits, where the publisher gives no more. `None` if the publisher's
            server states it.
        revision: Git revision of the publisher's repository that `url` names, or `None`.
        size: Size of the file in bytes, or `None` if it is not known.
        licence: SPDX identifier.
        note: What else a user must know, or "".
        input_shape: Shape of one picture for evaluation, channels last.
        classes: Number of classes; 0 for a set without a classifier.
        preprocessing: Its evaluation transform.
        metrics: Its figures.
        params_trainable: Number of trainable parameters.
        params_total: The same with BatchNorm's moving statistics.
        variant: Fields in which its network differs from the builder's default.
        se: Settings of its attention blocks that differ from `keras_se.SEConfig()`.
    """

    name: str
    model: str
    network: str
    dataset: str
    default: bool
    publisher: str
    url: str | None
    file: str
    layout: str
    sha: str | None
    revision: str | None
    size: int | None
    licence: str
    note: str
    input_shape: tuple[int, int, int]
    classes: int
    preprocessing: Preprocessing
    metrics: tuple[Metric, ...]
    params_trainable: int
    params_total: int
    variant: dict[str, Any] = field(default_factory=dict, hash=False)
    se: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def plain(self) -> bool:
        """Whether it is of the plain network: Squeeze-and-Excitation starts without an effect."""
        return self.dataset == BACKBONE

    def attention(self) -> AttentionConfig:
        """The attention blocks of its network; those to insert where it is of a plain network."""
        return _attention(self.se)

    def fetch(self) -> None:
        """See to it that the set is on this machine, its hash checked."""
        if self.url is None:
            check_hash(self._bundled, str(self.sha))
            return
        from keras_se.weights.cache import converted_path, fetched

        if not converted_path(self).exists():
            fetched(self)

    @contextmanager
    def arrays(self, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Mapping[str, Any]]:
        """The arrays by `<layer>/<variable>`, in an open file; `np.asarray` reads one.

        Args:
            shapes: The variables of the network with its head, for which a published set is
                converted when it is used for the first time; of the plain network for a set of
                one.
        """
        path = self._bundled
        if self.url:
            from keras_se.weights.cache import converted

            path = converted(self, shapes)
        with open_variables(path) as arrays:
            yield arrays

    @property
    def _bundled(self) -> Path:
        return Path(str(resources.files("keras_se.weights") / "files" / self.file))


def _attention(settings: Mapping[str, Any]) -> AttentionConfig:
    from keras_se.layers import AttentionConfig

    return AttentionConfig.from_settings(settings)


@functools.cache
def _read_registry() -> tuple[dict[str, PublishedNetwork], dict[str, Weights]]:
    """The networks by `<publisher>/<name>`, and the sets by name.

    In `registry.json` a set names its network; what all sets of a publisher share, and how a
    network normalises pictures, is said once.
    """
    text = resources.files("keras_se.weights").joinpath("registry.json").read_text("utf-8")
    registry = json.loads(text)
    networks, sets = {}, {}
    for publisher, members in registry["networks"].items():
        for name, (model, layout, variant, normalisation, *se) in members.items():
            normalise = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in registry["normalisations"][normalisation].items()
            }
            networks[f"{publisher}/{name}"] = PublishedNetwork(
                publisher, name, model, layout, variant, normalise, *se
            )
    for fields in registry["sets"]:
        network = networks[fields.pop("network")]
        size, crop, interpolation = fields.pop("evaluated_at")
        split, measured = fields.pop("split"), network.publisher == "keras-se"
        metrics = fields.pop("metrics").items()
        sets[fields["name"]] = Weights(
            **{**registry["publishers"][network.publisher], **fields},
            network=network.name,
            model=network.model,
            layout=network.layout,
            variant=network.variant,
            se=network.se,
            preprocessing=Preprocessing(size, crop, interpolation, **network.normalisation),
            input_shape=(size, size, len(network.normalisation["mean"])),
            metrics=tuple(
                Metric(name, value, fields["dataset"].removesuffix("_backbone"), split, measured)
                for name, value in metrics
            ),
        )
    return networks, sets


def _registry() -> dict[str, Weights]:
    return _read_registry()[1]


def list_networks() -> list[PublishedNetwork]:
    """The publishers' networks, also those without published weights."""
    return list(_read_registry()[0].values())


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

    >>> [entry.name for entry in keras_se.list_weights("SEResNet34") if entry.default]
    ['se_resnet34.qubvel_imagenet']
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


def resolve_weights(
    weights: Any,
    model: str,
    said: Mapping[str, Any] | None = None,
    assumed: Mapping[str, Any] | None = None,
) -> Weights | Path | None:
    """What the `weights` argument of the builder `model` stands for.

    Args:
        weights: The argument.
        model: Name of the builder.
        said: Fields of the description that are fixed and tell apart the default sets of one data
            set, such as a MobileNet's `alpha`. Defaults to `None`.
        assumed: Values of these fields that choose among several sets. Defaults to `None`.

    Returns:
        `None`, a registry entry of that network, or the path of an existing `.weights.h5` file.

    Raises:
        ValueError: If it stands for nothing known.
    """
    if weights is None:
        return None
    if isinstance(weights, Weights) and weights.model == model:
        return weights
    entries = [entry for entry in _registry().values() if entry.model == model]
    # Anything but text, such as an array, matches no name.
    name = weights if isinstance(weights, str) else ""
    for entry in entries:
        if name == entry.name:
            return entry
    defaults = [entry for entry in entries if entry.default]
    fitting = [
        entry
        for entry in defaults
        if entry.dataset == name and (said or {}).items() <= entry.variant.items()
    ]
    if len(fitting) > 1:
        fitting = [e for e in fitting if (assumed or {}).items() <= e.variant.items()]
    if fitting:
        return fitting[0]
    if isinstance(weights, str | Path) and str(weights).endswith(".weights.h5"):
        if Path(weights).is_file():
            return Path(weights)
        raise ValueError(f"`weights` names a file that does not exist. Received: {weights}")
    if chosen_sets := [entry for entry in defaults if entry.dataset == name]:
        ((option, value),) = (said or {}).items()
        known = ", ".join(str(entry.variant[option]) for entry in chosen_sets)
        raise ValueError(
            f"{model}: weights={weights!r} needs {option} to be one of: {known}. "
            f"Received: {option}={value!r}"
        )
    reader = reader_of(str(weights)) if isinstance(weights, str | Path) else None
    if reader is not None:
        raise ValueError(
            f"{model}: `weights` must be None, a known name or the path of a .weights.h5 file. "
            f"Received: weights={str(weights)!r}; {reader}"
        )
    names = list(dict.fromkeys(entry.dataset for entry in defaults)) + [e.name for e in entries]
    sets = "" if names else " (this network has no sets of weights yet)"
    path = f"the path of a .weights.h5 file{sets}"
    raise ValueError(f"{model}: {unknown_choice('weights', weights, [None, *names], path)}")
