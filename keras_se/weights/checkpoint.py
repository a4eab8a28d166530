"""A publisher's file, or a user's of the same layout, as a network of ours."""

from __future__ import annotations

import errno
import importlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.checks import unknown_choice
from keras_se.weights.conversion import Conversion, MismatchError, convert
from keras_se.weights.entries import Network, Preprocessing, Weights, list_networks
from keras_se.weights.layouts import LAYOUTS
from keras_se.weights.tensors import TensorFile, open_tensors
from keras_se.weights.variable_file import atomic, named_variables


def load_checkpoint(
    path: str | Path,
    *,
    layout: str,
    model: str,
    input_shape: tuple[int | None, int | None, int] | None = None,
    include_preprocessing: bool = True,
    classifier_activation: Any = "softmax",
) -> keras.Model:
    """A network with the weights of a publisher's file, or of one that was trained from it.

    The conversion is strict: every tensor is used once, every variable filled, every shape and
    value checked. The number of classes and of input channels are the file's; a file without a
    classifier gives a network without the head.

    Args:
        path: The file: HDF5 of Keras 2, safetensors, `.pth` (needs Torch; also a training
            checkpoint of timm, whose averaged weights are preferred) or `.caffemodel`.
        layout: Whose names are in it: `"osmr"`, `"timm"`, `"qubvel"` or `"caffe"`.
        model: A builder such as `"SEResNet50"`, or the publisher's name of one of its networks,
            such as `"seresnet50b"`, where several of them have the same tensors.
        input_shape: As for the builder. Defaults to the builder's, with the file's channels.
        include_preprocessing: `True` (default): takes RGB in 0..255 and does what the publisher
            does with it. `False`: takes what the publisher's own network takes, for `"caffe"` BGR
            minus (104, 117, 123).
        classifier_activation: `"softmax"` (default), `None` for logits, or any activation.

    Returns:
        A functional `keras.Model`: `(batch, H, W, C)` or `(batch, C, H, W)` to
        `(batch, classes)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or not of that layout and network.

    Example:

    >>> model = keras_se.load_checkpoint("x.safetensors", layout="timm", model="SEResNet50")
    """
    with _opened(Path(path), layout, model) as entry:
        return _built(entry, input_shape, include_preprocessing, classifier_activation)


def convert_file(
    source: str | Path, target: str | Path, *, layout: str, model: str
) -> tuple[keras.Model, Mapping[str, list[str]]]:
    """Convert a file to a `.keras` or `.weights.h5` file.

    Returns:
        The network, and our variables to the tensors that each is made of.
    """
    target = Path(target)
    suffix = next((s for s in (".keras", ".weights.h5") if target.name.endswith(s)), None)
    if suffix is None:
        raise ValueError(f"`DST` must end in .keras or .weights.h5. Received: {target}")
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    with _opened(Path(source), layout, model) as entry:
        built = _built(entry, None, True, "softmax")
        # Keras tells formats by the suffix.
        with atomic(target, suffix) as temporary:
            (built.save if suffix == ".keras" else built.save_weights)(temporary)
        return built, entry.conversion.sources


@dataclass(frozen=True, kw_only=True)
class _LocalFile(Weights):
    """A file of the user's, as a set of weights."""

    conversion: Conversion

    @contextmanager
    def arrays(self) -> Iterator[Mapping[str, Any]]:
        yield self.conversion.arrays


@contextmanager
def _opened(path: Path, layout: str, model: str) -> Iterator[_LocalFile]:
    candidates = _candidates(layout, model)
    with _one_line(path), open_tensors(path) as file:
        network, classes, channels, conversion = _fitting(file, candidates, model)
        size = _builder(network).defaults.size
        yield _LocalFile(
            name=str(path), model=network.model, network=network.name, dataset="", default=False,
            publisher=layout, url=None, file=path.name, layout=network.layout, sha=None,
            revision=None, size=path.stat().st_size, licence="", note="",
            input_shape=(size, size, channels), classes=classes,
            preprocessing=Preprocessing(size, 1, "bilinear", **network.normalisation),
            metrics=(), params_trainable=0, params_total=0, variant=network.variant,
            conversion=conversion,
        )  # fmt: skip


def _built(
    entry: _LocalFile, input_shape: Any, include_preprocessing: bool, activation: Any
) -> keras.Model:
    return getattr(importlib.import_module("keras_se.models"), entry.model)(
        include_top=entry.classes > 0,
        weights=entry,
        input_shape=input_shape,
        classes=entry.classes or 1,
        classifier_activation=activation,
        include_preprocessing=include_preprocessing,
    )


@contextmanager
def converting(path: Path, entry: Weights) -> Iterator[Conversion]:
    """The conversion of the file of a published set, which is open meanwhile."""
    network = next(
        n for n in list_networks() if (n.publisher, n.name) == (entry.publisher, entry.network)
    )
    with _one_line(path), open_tensors(path) as file:
        yield _conversion(file, network, entry.classes)[1]


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Whatever a reader raises on an unfit file becomes one line that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (ValueError, OSError, KeyError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: {reason}") from None


def _candidates(layout: str, model: str) -> list[Network]:
    networks = [network for network in list_networks() if network.publisher != "keras-se"]
    layouts = sorted({network.publisher for network in networks})
    if layout not in layouts:
        raise ValueError(unknown_choice("layout", layout, layouts))
    networks = [network for network in networks if network.publisher == layout]
    found = [network for network in networks if model in (network.model, network.name)]
    if not found:
        builders = dict.fromkeys(network.model for network in networks)
        names = [*builders, *(network.name for network in networks)]
        raise ValueError(unknown_choice("model", model, names))
    return found


def _fitting(
    file: TensorFile, candidates: list[Network], model: str
) -> tuple[Network, int, int, Conversion]:
    """The one network among the candidates that the file fits, with its classes and channels."""
    classes = _classes(file)
    fits, reasons = {}, {}
    for network in [n for n in candidates if _same_units(file, n)] or candidates[:1]:
        try:
            fits[network.name] = network, *_conversion(file, network, classes)
        except MismatchError as mismatch:
            reasons[network.name] = mismatch
    # Where several fit, the one of the very name was meant.
    exact = [name for name in fits if name == model or name == model.lower()]
    if len(fits) > 1 and len(exact) != 1:
        raise ValueError(
            f"{' and '.join(fits)} have the same tensors; name one of them as `model`. "
            f"Received: model={model!r}"
        )
    if not fits:
        name, reason = next(iter(reasons.items()))
        others = f" (nor of {', '.join(list(reasons)[1:])})" if len(reasons) > 1 else ""
        raise ValueError(f"the tensors are not those of {name}{others}; {reason}")
    network, channels, conversion = fits[exact[0]] if len(fits) > 1 else next(iter(fits.values()))
    return network, classes, channels, conversion


def _same_units(file: TensorFile, network: Network) -> bool:
    """Whether the file has the network's units and stem, as far as names tell."""
    net = _builder(network).network.varied(network.variant)
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    names = LAYOUTS[network.layout](shapes, {}, net)
    units = Counter(
        match[1] for match in (re.match(r"stage(\d+)_block\d+_conv1", n) for n in names) if match
    )
    deep = "stem_conv1/kernel" in names
    return not names or (tuple(units.values()) == net.blocks and deep == (len(net.stem_widths) > 1))


def _classes(file: TensorFile) -> int:
    """The classes of the classifier, the one tensor with two axes; 0 if there is none."""
    shapes = [tensor.shape for tensor in file.tensors.values() if len(tensor.shape) == 2]
    return shapes[0][0 if file.out_first else -1] if len(shapes) == 1 else 0


def _builder(network: Network) -> Any:
    return getattr(importlib.import_module("keras_se.models"), network.model)


def _conversion(file: TensorFile, network: Network, classes: int) -> tuple[int, Conversion]:
    """The channels of the pictures and the file as this network, or a `MismatchError`."""
    net = _builder(network).network.varied(network.variant)
    variables = _variables(network, classes, 3)
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    sources = LAYOUTS[network.layout](shapes, variables, net)
    stem = sources.get(f"stem_conv{'1' if len(net.stem_widths) > 1 else ''}/kernel")
    channels = shapes[stem[0]][1 if file.out_first else 2] if stem else 3
    if channels != 3:
        variables = _variables(network, classes, channels)
    return channels, convert(file, network.layout, variables, net)


def _variables(network: Network, classes: int, channels: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the variables of a network."""
    first = keras.config.image_data_format() == "channels_first"
    model = _builder(network)(
        include_top=classes > 0,
        weights=None,
        input_shape=(channels, None, None) if first else (None, None, channels),
        classes=classes or 1,
        include_preprocessing=False,
        variant=network.variant,
    )
    return {name: tuple(variable.shape) for name, variable in named_variables(model).items()}
