"""Read publishers' files as named tensors, one at a time.

Readers validate the file's metadata and never open another file.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_se.weights.caffe import caffe_tensors
from keras_se.weights.paddle import paddle_arrays


@dataclass(frozen=True)
class Tensor:
    """An array that is still in its file; `np.asarray` reads it."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.read(), dtype)


@dataclass(frozen=True)
class TensorFile:
    """Tensors of an open file by name; `out_first`: kernels store output channels first."""

    tensors: Mapping[str, Tensor]
    out_first: bool


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn any error of a reader into one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (
        ValueError, OSError, LookupError, TypeError, RuntimeError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: {reason}") from None


@contextmanager
def keras_hdf5(path: Path) -> Iterator[TensorFile]:
    """Open a Keras 2 HDF5 file (weights or model): tensors by `<layer>|<weight>`, in file order."""
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        tensors: dict[str, Tensor] = {}
        for layer in _names(root, "layer_names"):
            group = _item(root, layer, h5py.Group)
            for weight in _names(group, "weight_names"):
                dataset = _item(group, weight, h5py.Dataset)
                if dataset.external or dataset.is_virtual:
                    raise ValueError(f"{weight!r} is stored in another file")
                if dataset.shape is None:
                    raise ValueError(f"{weight!r} is not an array")
                name = f"{layer}|{weight.split(':')[0]}"
                if name in tensors:
                    raise ValueError(f"{weight!r} occurs twice")
                tensors[name] = Tensor(dataset.shape, partial(_read, dataset, weight))
        yield TensorFile(tensors, out_first=False)


def _read(dataset: Any, name: str) -> np.ndarray:
    try:
        return dataset[()]
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{name!r} cannot be read ({error})") from None


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names that Keras may have split over several attributes."""
    attributes = group.attrs
    if attribute in attributes:
        chunks = [attribute]
    else:
        chunks = [key for key in attributes if re.fullmatch(rf"{attribute}\d+", key)]
        chunks.sort(key=lambda key: int(key.removeprefix(attribute)))
        if not chunks:
            raise ValueError(f"no attribute {attribute!r}, so not a Keras 2 weights file")
    names = [name for chunk in chunks for name in attributes[chunk]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _item(group: Any, name: str, kind: type) -> Any:
    """Return the item at a path of hard links, which stay within this file."""
    parent = group
    for part in name.split("/"):
        link = parent.get(part, getlink=True) if isinstance(parent, h5py.Group) else None
        if link is None or not isinstance(link, h5py.HardLink):
            what = "is missing" if link is None else "is a link"
            raise ValueError(f"{name!r} {what}")
        parent = parent[part]
    if not isinstance(parent, kind):
        raise ValueError(f"{name!r} is not a {kind.__name__.lower()}")
    return parent


@contextmanager
def safetensors(path: Path) -> Iterator[TensorFile]:
    """Open a safetensors file."""
    from safetensors import SafetensorError, safe_open

    def read(name: str) -> np.ndarray:
        # Tensors stay in memory until the file is closed, so open it for each.
        try:
            with safe_open(path, framework="numpy") as file:
                return file.get_tensor(name)
        # NumPy lacks some of the types, each with a different error.
        except (SafetensorError, AttributeError, TypeError) as error:
            raise ValueError(f"tensor {name} cannot be read ({error})") from None

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.offset_keys()}
    except SafetensorError as error:
        raise ValueError(f"not a valid safetensors file ({error})") from None
    tensors = {name: Tensor(shape, partial(read, name)) for name, shape in shapes.items()}
    yield TensorFile(tensors, out_first=True)


@contextmanager
def torch_file(path: Path) -> Iterator[TensorFile]:
    """Open a `.pth` file: a state dict, or a training checkpoint that contains one.

    Averaged weights in a checkpoint are preferred, as in timm.
    """
    try:
        import torch
    except ImportError:
        raise ValueError("reading a .pth file needs Torch: pip install keras-se[torch]") from None
    import pickle

    try:
        # timm's training script stores its arguments with the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError("has Python objects other than tensors, which are not loaded") from None
    except Exception as error:
        raise ValueError(f"not a valid .pth file ({' '.join(str(error).split())[:100]})") from None
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not all(
        isinstance(value, torch.Tensor) for value in loaded.values()
    ):
        raise ValueError("contains no state dict")
    tensors: dict[str, Tensor] = {}
    for key, value in loaded.items():
        name = str(key).removeprefix("module.")
        if name in tensors:
            raise ValueError(f"{name!r} occurs twice")
        value = value.detach()
        tensors[name] = Tensor(
            tuple(value.shape), (value.float() if value.is_floating_point() else value).numpy
        )
    yield TensorFile(tensors, out_first=True)


@contextmanager
def caffe_model(path: Path) -> Iterator[TensorFile]:
    """Open a `.caffemodel`; BatchNorm's statistics are divided by their scale factor."""
    tensors = {name: Tensor(shape, read) for name, (shape, read) in caffe_tensors(path).items()}
    yield TensorFile(tensors, out_first=True)


@contextmanager
def paddle_file(path: Path) -> Iterator[TensorFile]:
    """Open a `.pdparams` file; of its matrices, which store inputs first, the transposed ones."""
    with paddle_arrays(path) as arrays:
        tensors = {
            name: Tensor(array.shape[::-1], partial(_transposed, read))
            if len(array.shape) == 2
            else Tensor(array.shape, read)
            for name, (array, read) in arrays.items()
        }
        yield TensorFile(tensors, out_first=True)


def _transposed(read: Callable[[], np.ndarray]) -> np.ndarray:
    return read().T


def open_tensors(path: Path) -> AbstractContextManager[TensorFile]:
    """Open a file of any supported format, detected from its first bytes."""
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return keras_hdf5(path)
    if start[8:9] == b"{":
        return safetensors(path)
    # Torch writes zip files; before 1.6 it wrote pickles that began with a long number.
    if start.startswith((b"PK\x03\x04", b"\x80\x02\x8a\x0a")):
        return torch_file(path)
    if start.startswith(b"\x80"):
        return paddle_file(path)
    # The tag of a name or of a layer.
    if start.startswith((b"\n", b"\xa2\x06")):
        return caffe_model(path)
    kind = "a web page" if start.lstrip()[:1] == b"<" else "none of these"
    raise ValueError(
        f"expected HDF5, safetensors, .pth, .pdparams or .caffemodel. Received: {kind}"
    )
