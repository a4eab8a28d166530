"""The registry of all trained sets of weights."""

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

if TYPE_CHECKING:
    from keras_se.layers import AttentionConfig
    from keras_se.weights.namings import Architecture

# The data set of the plain networks' weights, without Squeeze-and-Excitation.
BACKBONE = "imagenet_backbone"
# Shape of one input: its sizes, `None` for any, then its channels.
Shape = tuple[*tuple[int | None, ...], int]


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a set of weights; for volumes, that of the images' set.

    Resize the shorter side to `floor(size / crop)` pixels with `interpolation`, crop the central
    `size` x `size` pixels, and map channel c to `(x / 255 - mean[c]) / std[c]`. `mean` and `std`
    are in RGB order; the network then takes the channels in `channel_order`.
    """

    size: int
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str = "RGB"


@dataclass(frozen=True)
class Metric:
    """One metric of a set of weights; `measured` tells ours from a publisher's claim.

    `name` is `top1` or `top5`, with a suffix such as `@288` for images of that size.
    """

    name: str
    value: float
    dataset: str
    split: str
    measured: bool


@dataclass(frozen=True)
class PublishedNetwork:
    """A publisher's network: one of our builders and its variant.

    Attributes:
        publisher: The publisher.
        name: The publisher's name, such as `"seresnet50b"`.
        model: Our builder.
        naming: Its scheme of tensor names, a key of `keras_se.weights.namings.NAMINGS`.
        variant: Fields of the description that differ from the builder's default.
        normalisation: Its image normalisation: `mean`, `std` and maybe `channel_order` of
            `Preprocessing`.
        se: Settings of its attention blocks, as `AttentionConfig.settings` gives them.
        rank: Number of spatial axes: 2 for images, 3 for volumes.
    """

    publisher: str
    name: str
    model: str
    naming: str
    variant: dict[str, Any]
    normalisation: dict[str, Any]
    se: dict[str, Any] = field(default_factory=dict)
    rank: int = 2

    def attention(self) -> AttentionConfig:
        """Return the settings of its attention blocks."""
        return _attention(self.se)

    def input_shape(self, size: int, channels: int) -> Shape:
        """Return the shape of one input: images of that size, volumes of any."""
        return *[size if self.rank == 2 else None] * self.rank, channels


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    Attributes:
        name: Unique name, `<network>.<publisher and training data>`.
        model: Builder that it belongs to.
        network: The publisher's name of the network.
        dataset: Data set that it was trained on.
        default: Whether `weights="<dataset>"` means this set.
        publisher: The publisher.
        url: URL of the published file, or `None` for a set that is part of this package.
        file: Name of the published file; its path below `KERAS_SE_MIRROR`.
        naming: Scheme of the tensor names in the file.
        sha: `"<algorithm>:<hexadecimal digits>"` of the file, or of the file inside a zip; maybe
            only the first digits, if the publisher gives no more. `None` if the publisher's server
            provides it.
        revision: Git revision of the publisher's repository that `url` names, or `None`.
        size: Size of the file in bytes, or `None` if unknown.
        licence: SPDX identifier.
        note: Further remarks for the user, or "".
        input_shape: Shape of one image for evaluation, channels last; of one volume,
            `(None, None, None, C)`: its size is free.
        classes: Number of classes; 0 for a set without a classifier.
        preprocessing: Its evaluation transform.
        metrics: Its metrics.
        params_trainable: Number of trainable parameters.
        params_total: The same with BatchNorm's moving statistics.
        variant: Fields of its network that differ from the builder's default.
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
    naming: str
    sha: str | None
    revision: str | None
    size: int | None
    licence: str
    note: str
    input_shape: Shape
    classes: int
    preprocessing: Preprocessing
    metrics: tuple[Metric, ...]
    params_trainable: int
    params_total: int
    variant: dict[str, Any] = field(default_factory=dict, hash=False)
    se: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def rank(self) -> int:
        """Number of spatial axes: 2 for images, 3 for volumes."""
        return len(self.input_shape) - 1

    @property
    def plain(self) -> bool:
        """Whether it is of the plain network, so that SE starts as the identity."""
        return self.dataset == BACKBONE

    def attention(self) -> AttentionConfig:
        """Return the settings of its attention blocks, or of those to insert if it is plain."""
        return _attention(self.se)

    def fetch(self) -> None:
        """Download the set if it is missing, and verify its hash."""
        if self.url is None:
            check_hash(self._bundled, str(self.sha))
            return
        from keras_se.weights.cache import converted_path, fetched

        if not converted_path(self).exists():
            fetched(self)

    @contextmanager
    def arrays(
        self, shapes: Mapping[str, tuple[int, ...]], net: Architecture
    ) -> Iterator[Mapping[str, Any]]:
        """Open the arrays by `<layer>/<variable>`; `np.asarray` reads one.

        Args:
            shapes: Variable shapes of the network including the head (of the plain network for a
                set of one), used to convert a published set on first use.
            net: The network, used likewise.
        """
        from keras_se.weights.variable_file import open_variables

        path = self._bundled
        if self.url:
            from keras_se.weights.cache import converted

            path = converted(self, shapes, net)
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
    """Read the networks by `<publisher>/<name>`, and the sets by name.

    In `registry.json` a set names its network; fields shared by a publisher's sets, and
    normalisations, appear once.
    """
    text = resources.files("keras_se.weights").joinpath("registry.json").read_text("utf-8")
    registry = json.loads(text)
    networks, sets = {}, {}
    ranks = {name: fields.pop("rank", 2) for name, fields in registry["publishers"].items()}
    for publisher, members in registry["networks"].items():
        for name, (model, naming, variant, normalisation, *more) in members.items():
            normalise = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in registry["normalisations"][normalisation].items()
            }
            se = more[0] if more else {}
            networks[f"{publisher}/{name}"] = PublishedNetwork(
                publisher, name, model, naming, variant, normalise, se, ranks[publisher]
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
            naming=network.naming,
            variant=network.variant,
            se=network.se,
            preprocessing=Preprocessing(size, crop, interpolation, **network.normalisation),
            input_shape=network.input_shape(size, len(network.normalisation["mean"])),
            metrics=tuple(
                Metric(name, value, fields["dataset"].removesuffix("_backbone"), split, measured)
                for name, value in metrics
            ),
        )
    return networks, sets


def _registry() -> dict[str, Weights]:
    return _read_registry()[1]


def list_networks() -> list[PublishedNetwork]:
    """List the publishers' networks, including those without published weights."""
    return list(_read_registry()[0].values())


def known_weights() -> list[Weights]:
    """List the known sets of weights, in registry order."""
    return list(_registry().values())


def get_weights(name: Any) -> Weights:
    """Return the registry entry of that name, or raise a `ValueError` with the known names."""
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
    """Resolve the `weights` argument of the builder `model`.

    `said` are the fixed fields of the description that distinguish the default sets of one data
    set, such as a MobileNet's `alpha`; `assumed` are values of them that choose among several sets.

    Returns:
        `None`, a registry entry of that network, or the path of an existing `.weights.h5` file.

    Raises:
        ValueError: If it is none of these.
    """
    if weights is None:
        return None
    if isinstance(weights, Weights) and weights.model == model:
        return weights
    entries = [entry for entry in _registry().values() if entry.model == model]
    # Non-strings match no name.
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
