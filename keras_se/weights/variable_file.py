"""HDF5 files that store each variable of a model under its own path.

Keras' own weights files address layers by class and order, so that two swapped layers of the same
shape load without an error. Here every variable has its name, and loading is strict.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_se.files import atomic, writing


def named_variables(model: Any) -> dict[str, Any]:
    """Return the weights of a flat functional model by `<layer name>/<variable name>`."""
    return {f"{layer.name}/{v.name}": v for layer in model.layers for v in layer.weights}


def write_variables(model: Any, path: Path) -> None:
    """Write all weights of `model` to `path`."""
    write_arrays({name: v.numpy() for name, v in named_variables(model).items()}, path)


def write_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    """Write arrays, or objects that `np.asarray` accepts, to `path` one at a time, atomically."""
    # No time stamps, so that equal weights give equal bytes.
    with (
        writing(path),
        atomic(path) as temporary,
        h5py.File(temporary, "w", track_order=False) as file,
    ):
        for name, array in arrays.items():
            file.create_dataset(name, data=np.asarray(array), track_times=False)


@contextmanager
def open_variables(path: Path) -> Iterator[dict[str, h5py.Dataset]]:
    """Open the arrays of a file from `write_variables`, by name, without reading them."""
    datasets: dict[str, h5py.Dataset] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[name] = item

    with h5py.File(path, "r") as file:
        file.visititems(collect)
        yield datasets


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file from `write_variables`, by name."""
    with open_variables(path) as datasets:
        return {name: dataset[()] for name, dataset in datasets.items()}


def place_variables(
    model: Any,
    arrays: Mapping[str, Any],
    unused: tuple[str, ...] = (),
    kept: Container[str] = (),
) -> None:
    """Strictly assign arrays by `<layer name>/<variable name>` to the variables of these names.

    Arrays of the layers `unused`, such as the head of a headless model, may be left over, and the
    variables `kept` have none. Any other difference raises a `ValueError`; then nothing is
    assigned.
    """
    variables = named_variables(model)
    missing = [name for name in variables if name not in arrays and name not in kept]
    extra = [name for name in arrays if name not in variables and name.split("/")[0] not in unused]
    wrong = [
        f"{name} (expected {tuple(variable.shape)}, received {arrays[name].shape})"
        for name, variable in variables.items()
        if name in arrays and tuple(variable.shape) != arrays[name].shape
    ]
    for what, names in (
        ("missing", missing),
        ("unexpected", extra),
        ("wrong shape", wrong),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(
                f"The weights do not fit model {model.name!r}. {what.capitalize()}: "
                f"{', '.join(names[:3])}{more}"
            )
    for name, variable in variables.items():
        if name in arrays:
            variable.assign(np.asarray(arrays[name]))
