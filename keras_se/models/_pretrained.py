"""Check that trained weights fit a network, and load them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from keras_se.checks import shortened
from keras_se.layers import PictureNormalization, _records
from keras_se.layers.attention import NEUTRAL_GATES, AttentionConfig, ChannelAttention
from keras_se.layers.dense import HEAD
from keras_se.models._network import NetworkDescription
from keras_se.surgery.insertion import start_neutral
from keras_se.weights.entries import Weights
from keras_se.weights.kernels import adapt_kernel
from keras_se.weights.variable_file import named_variables, place_variables

# Longest value in an error, in characters.
SHOWN = 60
PRETRAINED_ACTIVATIONS = ("softmax", None)
# Fields of a description that only matter in training.
TRAINING_ONLY = ("dropout", "stochastic_depth", "zero_last_gamma")
# Names of convolutions in a file, with their number of spatial axes.
CONVOLUTION = re.compile(r"^(?:grouped_)?conv([123])d")


@dataclass(frozen=True)
class OwnFile:
    """A user's `.weights.h5` file and its description of the network that wrote it.

    Attributes:
        path: The file.
        normalization: Arguments of `PictureNormalization`, or `None` if not in the file.
        head: `labels` and `scores` of the classifier, empty if not in the file.
        classes: Number of outputs of the last dense layer, or `None` if there is none.
        rank: Number of spatial axes of its convolutions, or `None` if there are none.
    """

    path: Path
    normalization: dict[str, Any] | None
    head: dict[str, Any]
    classes: int | None
    rank: int | None = None

    @property
    def variant(self) -> dict[str, Any]:
        """Fields of the network that differ from its builder's default."""
        return dict(self._architecture.get("variant") or {})

    @property
    def se(self) -> dict[str, Any] | None:
        """Settings of its attention blocks, or `None` if there are none or they are unknown."""
        return self._architecture.get("se")

    @property
    def _architecture(self) -> dict[str, Any]:
        return (self.normalization or {}).get("architecture") or {}


def read_own_file(path: Path) -> OwnFile:
    """Read the description in a `.weights.h5` file.

    Raises:
        ValueError: If it is not such a file.
    """
    try:
        records = _records.read_file(path)
        with h5py.File(path, "r") as file:
            layers = file.get("layers")
            names = (
                [] if layers is None else [n for n in layers if re.fullmatch(r"dense(_\d+)?", n)]
            )
            last = max(names, key=lambda name: int(name.partition("_")[2] or 0), default=None)
            kernel = None if last is None else file[f"layers/{last}/vars"].get("0")
            classes = None if kernel is None else int(kernel.shape[-1])
            ranks = [int(n) for name in layers or () for n in CONVOLUTION.findall(name)]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from None
    found = [record for record in records if "mean" in record]
    heads = [record for record in records if "scores" in record]
    rank = ranks[0] if ranks else None
    return OwnFile(path, found[0] if found else None, heads[-1] if heads else {}, classes, rank)


def architecture_of(
    builder: str, default: NetworkDescription, net: NetworkDescription, se: AttentionConfig | None
) -> dict[str, Any]:
    """Describe a network as JSON; equal descriptions and weights give equal outputs."""
    names = [field.name for field in fields(net) if field.name not in TRAINING_ONLY]
    differing = {n: getattr(net, n) for n in names if getattr(net, n) != getattr(default, n)}
    described = {
        "model": builder,
        "variant": differing,
        "se": None if se is None else se.settings(),
    }
    # Tuples become lists, as in a file.
    return dict(json.loads(json.dumps(described)))


def check_fits(
    entry: Weights,
    include_top: bool,
    classes: int | None,
    activation: Any,
    se: AttentionConfig | None,
) -> None:
    """Raise a `ValueError` unless a network with these arguments can hold these weights."""
    if include_top and not entry.classes:
        raise ValueError(
            f"weights={entry.name!r} has no classifier; use include_top=False. "
            "Received: include_top=True"
        )
    if include_top and classes is not None and classes != entry.classes:
        raise ValueError(
            f"weights={entry.name!r} with `include_top=True` has {entry.classes} classes. "
            f"Received: classes={classes}"
        )
    # A user's own checkpoint, without a known data set, may use any activation.
    if include_top and entry.dataset and activation not in PRETRAINED_ACTIVATIONS:
        raise ValueError(
            "With pretrained weights and `include_top=True`, `classifier_activation` must be "
            f"'softmax' or None. Received: classifier_activation={activation!r}"
        )
    if entry.plain:
        if se is not None and not se.starts_neutral:
            raise ValueError(
                f"weights={entry.name!r} needs a gate that is one half at zero, one of "
                f"{NEUTRAL_GATES}. Received: se={se!r}"
            )
        # Nothing can compensate for gates on a shortcut.
        if se is not None and se.placement in ("post", "identity"):
            raise ValueError(
                f"weights={entry.name!r} needs `placement` to be 'standard', 'pre' or 'conv3x3'. "
                f"Received: placement={se.placement!r}"
            )
    elif se != (trained := entry.attention()):
        raise ValueError(
            f"weights={entry.name!r} was trained with se={trained!r}; use weights=None for "
            f"another. Received: se={se!r}"
        )


def inflates(source: Weights | OwnFile | None, shape: Any) -> bool:
    """Whether weights for images have to be inflated for volumes of a shape, or `None`.

    Raises:
        ValueError: If the weights do not fit inputs of that rank.
    """
    if source is None:
        return False
    name, default = (
        (source.name, source.rank) if isinstance(source, Weights) else (str(source.path), 2)
    )
    trained, rank = source.rank, default if shape is None else len(shape) - 1
    if trained is None or trained == rank:
        return False
    if trained == 2 and rank == 3:
        return True
    kinds = {1: "signals", 2: "images or volumes", 3: "volumes"}
    raise ValueError(
        f"`input_shape` must be that of {kinds[trained]} for weights={name!r}; use weights=None "
        f"for another rank. Received: input_shape={shape}"
    )


def check_file(file: OwnFile, include_top: bool, classes: int) -> None:
    """Raise a `ValueError` unless the file's classifier has that many classes."""
    if include_top and file.classes is not None and file.classes != classes:
        raise ValueError(
            f"`weights` has {file.classes} classes; use classes={file.classes}, or "
            f"include_top=False for your own head. Received: classes={classes}, "
            f"weights={str(file.path)!r}"
        )


def check_variant(
    weights: str, names: Iterable[str], asked: NetworkDescription, trained: NetworkDescription
) -> None:
    """Raise a `ValueError` if a field differs from the network that the weights come from."""
    for name in names:
        if name not in TRAINING_ONLY and getattr(trained, name) != getattr(asked, name):
            raise ValueError(
                f"weights={weights!r} fixes the variant of the network "
                f"({name}={getattr(trained, name)!r}); use weights=None for another. "
                f"Received: {name}={getattr(asked, name)!r}"
            )


def place_set(
    model: keras.Model, net: NetworkDescription, entry: Weights, include_top: bool
) -> None:
    """Load a published set into a network, adapted to its number of channels."""
    shapes = _shapes(model, net, entry.classes)
    blocks = {layer.name for layer in model.layers if isinstance(layer, ChannelAttention)}
    added = {n for n in shapes if n.split("/")[0] in blocks or net.is_added(n)}
    added = added if entry.plain else set()
    shapes = {name: shape for name, shape in shapes.items() if name not in added}
    kernel = f"{net.first_convolution}/kernel"
    channels, published = shapes[kernel][-2], entry.input_shape[-1]
    before = _before(model, net.first_convolution) if channels != published else []
    if before and channels == 1:
        raise ValueError(
            f"`include_preprocessing` must be True for images with one channel and "
            f"weights={entry.name!r}. Received: include_preprocessing=False"
        )
    asked = dict(shapes)
    if channels != published:
        asked[kernel] = (*shapes[kernel][:-2], published, shapes[kernel][-1])
        asked |= dict.fromkeys(before, (published,))
    with entry.arrays(asked, net) as arrays:
        if channels != published:
            reverse = entry.preprocessing.channel_order == "BGR"
            adapted = {kernel: adapt_kernel(np.asarray(arrays[kernel]), channels, reverse)}
            adapted |= {name: np.resize(arrays[name], (channels,)) for name in before}
            arrays = {**arrays, **adapted}
        place_variables(model, arrays, () if include_top else (HEAD,), added)
    if added:
        start_neutral(model, {name.split("/")[0] for name in added})


def place_file(model: keras.Model, file: OwnFile) -> None:
    """Load with Keras' `load_weights`; report files that do not fit in one line."""
    head = next((layer for layer in model.layers if layer.name == HEAD), None)
    labels = file.head.get("labels")
    if head is not None and labels is not None and not isinstance(labels, str):
        head.labels = tuple(labels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(file.path)
    except (ValueError, OSError, KeyError) as error:
        raise _damaged(file.path, error, model.name) from None


def check_architecture(file: OwnFile, asked: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if the file was written by another network."""
    own = (file.normalization or {}).get("architecture")
    for key, value in asked.items():
        if own is not None and own.get(key) != value:
            raise ValueError(
                f"`weights` was written by a network with {key}="
                f"{shortened(own.get(key), SHOWN)}; build that network. "
                f"Received: {key}={shortened(value, SHOWN)}, weights={str(file.path)!r}"
            )


def _damaged(path: Path, error: Exception, model: str = "") -> ValueError:
    reason = " ".join(str(error).split())[:120]
    where = f"{model}: " if model else ""
    return ValueError(
        f"{where}`weights` must be an undamaged .weights.h5 file of the same network. "
        f"Received: weights={str(path)!r} ({reason})"
    )


def _shapes(
    model: keras.Model, net: NetworkDescription, classes: int
) -> dict[str, tuple[int, ...]]:
    """Return the variable shapes of the network including the head, which `model` may lack."""
    head = {f"{HEAD}/kernel": (net.features, classes), f"{HEAD}/bias": (classes,)}
    shapes = {name: tuple(variable.shape) for name, variable in named_variables(model).items()}
    return shapes | head if classes else shapes


def _before(model: keras.Model, convolution: str) -> list[str]:
    """List the variables before the first convolution, which have one value per channel."""
    names: list[str] = []
    for layer in model.layers:
        if layer.name == convolution:
            break
        if not isinstance(layer, PictureNormalization):
            names += [f"{layer.name}/{variable.name}" for variable in layer.weights]
    return names
