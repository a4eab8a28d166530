"""Strictly convert a publisher's tensors to the variables of a network of this package.

Every tensor is used once, every variable is filled, and every shape agrees; this is checked before
any tensor is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources

import numpy as np

from keras_se.labels import class_names
from keras_se.layers.dense import HEAD
from keras_se.weights.namings import COUNTERS, NAMINGS, Architecture
from keras_se.weights.tensors import Tensor, TensorFile


class MismatchError(ValueError):
    """Raised if a file does not fit a network."""


@dataclass(frozen=True)
class Conversion:
    """For each of our variables, its source tensors, and its array, which `np.asarray` reads."""

    sources: Mapping[str, list[str]]
    arrays: Mapping[str, Tensor]


def convert(
    file: TensorFile, naming: str, variables: Mapping[str, tuple[int, ...]], net: Architecture
) -> Conversion:
    """Map a file's tensors to variables of these shapes.

    Raises:
        MismatchError: If a tensor is left over or used twice, a variable remains empty, or shapes
            differ.
    """
    tensors = {name: t for name, t in file.tensors.items() if not COUNTERS.fullmatch(name)}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    sources = NAMINGS[naming](shapes, variables, net)
    uses = Counter(name for ours in variables for name in sources.get(ours, ()))
    wrong = []
    for ours, shape in variables.items():
        for tensor in sources.get(ours, ()):
            groups = 1 if _is_mean(ours) else len(sources[ours])
            received = _converted_shape(shapes[tensor], groups, len(shape), file.out_first)
            if received != shape:
                wrong.append(f"{tensor} for {ours} ({shape} expected, {received} received)")
                break
    unexpected = [name for name in tensors if uses[name] == 0]
    for what, names in (
        ("missing", [name for name in variables if name not in sources]),
        ("unexpected", unexpected),
        ("used twice", [name for name in tensors if uses[name] > 1]),
        ("wrong shape", wrong),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            own = f"; the file has {', '.join(unexpected[:3])}" if what == "missing" else ""
            raise MismatchError(f"{what}: {', '.join(names[:3])}{more}{own if unexpected else ''}")
    imagenet = naming.startswith("caffe") and variables.get(f"{HEAD}/bias") == (1000,)
    order = _class_order() if imagenet else None
    arrays = {
        ours: Tensor(
            shape,
            partial(
                _read,
                {name: tensors[name] for name in sources[ours]},
                shape,
                file.out_first,
                order if ours.startswith(HEAD) else None,
                _is_mean(ours),
            ),
        )
        for ours, shape in variables.items()
    }
    return Conversion(sources, arrays)


def _is_mean(ours: str) -> bool:
    return ours.endswith("/moving_mean")


def _converted_shape(
    shape: tuple[int, ...], groups: int, rank: int, out_first: bool
) -> tuple[int, ...]:
    """Return the shape of `groups` such tensors combined by `_read`."""
    if out_first and len(shape) in (2, 4):
        shape = (*shape[:1:-1], *shape[1::-1])
    ones = len(shape) - rank
    if ones > 1 and shape[:ones] == (1,) * ones:
        shape = shape[ones:]
    return (*shape[:-1], shape[-1] * groups) if shape else shape


def _read(
    tensors: Mapping[str, Tensor],
    shape: tuple[int, ...],
    out_first: bool,
    order: np.ndarray | None,
    mean: bool,
) -> np.ndarray:
    parts = []
    for name, tensor in tensors.items():
        array = tensor.read()
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise ValueError(f"tensor {name} is of type {array.dtype}, not floating point")
        with np.errstate(over="ignore"):
            array = array.astype("float32", copy=False)
        if not np.isfinite(array).all():
            raise ValueError(f"tensor {name} contains values that are not finite")
        if out_first and array.ndim in (2, 4):
            array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
        parts.append(array)
    if mean and len(parts) == 2:
        # The convolution has a bias, which BatchNorm's mean absorbs.
        parts = [parts[0] - parts[1]]
    array = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    # Turns a 1x1 (1x1x1) convolution into a fully connected layer, a 1-D one into its kernel.
    array = array.reshape(shape)
    if order is not None:
        array = array[..., order]
    return np.ascontiguousarray(array)


def _class_order() -> np.ndarray:
    """Return the output index of the authors' networks for each class in ImageNet's usual order."""
    text = resources.files("keras_se.weights").joinpath("caffe_classes.txt").read_text("utf-8")
    position = {synset: index for index, synset in enumerate(text.split())}
    return np.array([position[synset] for synset, _ in class_names("imagenet")])
