"""Load a publisher's file, or a user's of the same layout, into a network of this package."""

from __future__ import annotations

import difflib
import errno
import importlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from keras_se.checks import unknown_choice
from keras_se.files import atomic, writing
from keras_se.layer_names import parse
from keras_se.layers.dense import HEAD
from keras_se.models._network import NetworkDescription
from keras_se.weights.conversion import MismatchError, convert
from keras_se.weights.entries import Preprocessing, PublishedNetwork, Weights, list_networks
from keras_se.weights.namings import COUNTERS, NAMINGS, Architecture, Shapes, Sources
from keras_se.weights.tensors import TensorFile, one_line, open_tensors

# Prefixes that wrappers put before tensor names, possibly nested.
PREFIXES = re.compile(r"^(?:(?:module|_orig_mod|model|network|net|encoder|backbone)\.)+")
# The functions for files of Keras 3.
INSTEAD = {
    ".keras": "`keras.models.load_model`",
    ".weights.h5": "the builder's `weights=`",
}


def load_checkpoint(
    path: str | Path,
    *,
    layout: str,
    model: str,
    input_shape: tuple[int | None, ...] | None = None,
    include_preprocessing: bool = True,
    classifier_activation: Any = "softmax",
) -> keras.Model:
    """Load a network from a publisher's file, or from one that was trained from it.

    The conversion is strict: every tensor is used once, every variable filled, every shape and
    value checked. The file determines the number of classes and input channels; without a
    classifier it gives a network without the head.

    Args:
        path: The file: HDF5 of Keras 2, safetensors, `.pth` (needs Torch; also a training
            checkpoint of timm, whose averaged weights are preferred), `.pdparams` (Paddle is not
            needed) or `.caffemodel`. Prefixes of its names such as `module.`, `model.`, `encoder.`
            or `backbone.` are removed.
        layout: Publisher whose names it uses: `"osmr"`, `"timm"`, `"qubvel"`, `"mmpretrain"`,
            `"paddleclas"`, `"caffe"`, or `"zfturbo"` for volumes.
        model: A builder such as `"SEResNet50"`, or the publisher's name of one of its networks,
            such as `"seresnet50b"`, where several of them have the same tensors.
        input_shape: As for the builder. Defaults to the builder's, with the file's channels.
        include_preprocessing: `True` (default): the input is RGB in 0..255, and the model applies
            the publisher's preprocessing. `False`: the input is that of the publisher's network,
            for `"caffe"` BGR minus (104, 117, 123).
        classifier_activation: `"softmax"` (default), `None` for logits, or any activation.

    Returns:
        A functional `keras.Model`: `(batch, H, W, C)` or `(batch, C, H, W)`, of volumes
        `(batch, depth, H, W, C)`, to `(batch, classes)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or not of that layout and network.

    Example:

    >>> model = keras_se.load_checkpoint("mine.safetensors", layout="timm", model="SEResNet18")
    >>> model.output_shape
    (None, 7)
    """
    network, _ = _converted(
        Path(path), layout, model, input_shape, include_preprocessing, classifier_activation
    )
    return network


def convert_file(
    source: str | Path, target: str | Path, *, layout: str, model: str
) -> tuple[keras.Model, Sources]:
    """Convert a file to `.keras` or `.weights.h5`; return the network and the sources."""
    target = Path(target)
    suffix = next((s for s in (".keras", ".weights.h5") if target.name.endswith(s)), None)
    if suffix is None:
        raise ValueError(f"`DST` must end in .keras or .weights.h5. Received: {target}")
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    network, sources = _converted(Path(source), layout, model, None, True, "softmax")
    # Keras detects formats by suffix.
    with writing(target), atomic(target, suffix) as temporary:
        (network.save if suffix == ".keras" else network.save_weights)(temporary)
    return network, sources


@dataclass(frozen=True, kw_only=True)
class _LocalFile(Weights):
    """A user's file as a set of weights; `sources` is filled when it is converted."""

    tensors: TensorFile
    sources: Sources = field(default_factory=dict)

    def fetch(self) -> None:
        """Do nothing: the file is local."""

    @contextmanager
    def arrays(self, shapes: Shapes, net: Architecture) -> Iterator[Mapping[str, Any]]:
        """Convert the file's tensors to variables of these shapes."""
        conversion = convert(self.tensors, self.naming, shapes, net)
        self.sources.update(conversion.sources)
        yield conversion.arrays


def _converted(
    path: Path, layout: str, model: str, input_shape: Any, include_preprocessing: bool,
    activation: Any,
) -> tuple[keras.Model, Sources]:  # fmt: skip
    """Return the network of the file, and the source tensors of its variables."""
    candidates = _candidates(layout, model)
    _check_kind(path)
    with one_line(path), open_tensors(path) as opened:
        file = _without_prefixes(opened)
        plausible = [network for network in candidates if _plausible(file, network)]
        # A network of that exact name comes first and wins even if others fit.
        plausible.sort(key=lambda network: network.name.lower() != model.lower())
        fits, reason = [], None
        for network in plausible or candidates[:1]:
            entry = _entry(path, file, network)
            try:
                built = builder_of(network)(
                    include_top=entry.classes > 0,
                    weights=entry,
                    input_shape=input_shape,
                    classes=entry.classes or 1,
                    classifier_activation=activation,
                    include_preprocessing=include_preprocessing,
                )
            except MismatchError as mismatch:
                reason = reason or f"the tensors do not match {network.name}; {mismatch}"
                continue
            fits.append((network.name, built, entry.sources))
            if network.name.lower() == model.lower():
                break
        if not fits:
            raise ValueError(reason)
        if len(fits) > 1 and fits[-1][0].lower() != model.lower():
            raise ValueError(
                f"{' and '.join(name for name, *_ in fits)} have the same tensors; name one of "
                f"them as `model`. Received: model={model!r}"
            )
        _, built, sources = fits[-1]
        return built, sources


def _check_kind(path: Path) -> None:
    """Raise a `ValueError` for Keras 3 files, which need no conversion."""
    for suffix, instead in INSTEAD.items():
        if path.name.endswith(suffix) and path.is_file():
            raise ValueError(f"{path}: use {instead} for a {suffix} file. Received: {path.name}")


def _without_prefixes(file: TensorFile) -> TensorFile:
    """Return the file with wrapper prefixes removed from its tensor names."""
    names = {name: PREFIXES.sub("", name) for name in file.tensors}
    if len(set(names.values())) < len(names):
        return file
    return replace(file, tensors={names[name]: t for name, t in file.tensors.items()})


def _entry(path: Path, file: TensorFile, network: PublishedNetwork) -> _LocalFile:
    size = builder_of(network).defaults.size
    return _LocalFile(
        name=str(path), model=network.model, network=network.name, dataset="", default=False,
        publisher=network.publisher, url=None, file=path.name, naming=network.naming, sha=None,
        revision=None, size=path.stat().st_size, licence="", note="",
        input_shape=network.input_shape(size, _channels(file, network)),
        classes=_classes(file, network),
        preprocessing=Preprocessing(size, 1, "bilinear", **network.normalisation),
        metrics=(), params_trainable=0, params_total=0, variant=network.variant, se=network.se,
        tensors=file,
    )  # fmt: skip


def _candidates(layout: str, model: str) -> list[PublishedNetwork]:
    networks = [network for network in list_networks() if "keras" not in network.publisher]
    layouts = sorted({network.publisher for network in networks})
    if layout not in layouts:
        raise ValueError(unknown_choice("layout", layout, layouts))
    networks = [network for network in networks if network.publisher == layout]
    found = [network for network in networks if model in (network.model, network.name)]
    if not found:
        builders = dict.fromkeys(network.model for network in networks)
        names = [*builders, *(network.name for network in networks)]
        near = difflib.get_close_matches(str(model), names, n=3, cutoff=0)
        raise ValueError(unknown_choice("model", model, near, f"another of layout {layout!r}"))
    return found


def _names(file: TensorFile, network: PublishedNetwork) -> tuple[Sources, NetworkDescription]:
    """Return our names for the file's tensors, as far as their names determine them."""
    net = described(network)
    shapes = {name: t.shape for name, t in file.tensors.items() if not COUNTERS.fullmatch(name)}
    return NAMINGS[network.naming](shapes, {}, net), net


def _plausible(file: TensorFile, network: PublishedNetwork) -> bool:
    """Whether the names in the file match the network's."""
    names, net = _names(file, network)
    if not names:
        return True
    tensors = [name for name in file.tensors if not COUNTERS.fullmatch(name)]
    ours = [name.split("/") for name in names]
    blocks = [(parse(layer), variable) for layer, variable in ours if layer.endswith("_se")]
    units = Counter(layer.stage for layer, _ in blocks if layer)
    variables = network.attention().block.variable_names
    return (
        {name for group in names.values() for name in group} == set(tensors)
        and f"{net.first_convolution}/kernel" in names
        and {variable for _, variable in blocks} == {*variables}
        and {stage: n // len(variables) for stage, n in units.items()} == net.units
    )


def _channels(file: TensorFile, network: PublishedNetwork) -> int:
    """Return the number of input channels."""
    names, net = _names(file, network)
    stem = names.get(f"{net.first_convolution}/kernel")
    shape = file.tensors[stem[0]].shape if stem else ()
    # A tensor that is not a kernel fits no network anyway.
    return shape[1 if file.out_first else 2] if len(shape) == 4 else 3


def _classes(file: TensorFile, network: PublishedNetwork) -> int:
    """Return the number of classes; 0 if there is no classifier."""
    names, _ = _names(file, network)
    if names:
        tensors = [file.tensors[name] for name in names.get(f"{HEAD}/kernel", ())]
    else:
        tensors = list(file.tensors.values())
    # Without names, the classifier is the only tensor with two axes.
    shapes = [tensor.shape for tensor in tensors if len(tensor.shape) == 2]
    return shapes[0][0 if file.out_first else -1] if len(shapes) == 1 else 0


def builder_of(network: PublishedNetwork | Weights) -> Any:
    """Return the builder of the network."""
    return getattr(importlib.import_module("keras_se.models"), network.model)


def described(network: PublishedNetwork | Weights) -> NetworkDescription:
    """Return the description of the network."""
    return builder_of(network).network.varied(network.variant)
