"""Checkpoints from which a killed run resumes bit for bit.

A checkpoint is one HDF5 file `<epoch>-<step>.<first digits of its SHA-256>.h5`: the values of all
variables in order, and the rest of the run's state in an attribute. It is renamed to this once it
is complete and synced; the previous checkpoint is kept.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_se.files import sync, writing
from keras_se.weights.hashes import file_hash

KEPT = 2
NAME = re.compile(r"(\d+)-(\d+)\.([0-9a-f]{16})\.h5")


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("*.h5")]
    ordered = sorted((int(match[1]), int(match[2]), path) for match, path in found if match)
    return [path for _, _, path in ordered]


def save_checkpoint(
    folder: Path, position: tuple[int, int], values: Sequence[np.ndarray], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint and remove the oldest; an error leaves the earlier ones untouched.

    `position` is the epoch, from 0, and the number of its steps done; `state` is JSON-serialisable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{os.getpid()}.tmp"
    try:
        with writing(temporary):
            # In memory, since HDF5 crashes when a file cannot grow.
            buffer = io.BytesIO()
            with h5py.File(buffer, "w") as file:
                file.attrs["state"] = np.bytes_(json.dumps(state))
                for number, value in enumerate(values):
                    file.create_dataset(f"{number:06}", data=value, track_times=False)
            temporary.write_bytes(buffer.getbuffer())
            sync(temporary)
            digits = file_hash(temporary).split(":")[1][:16]
            epoch, step = position
            os.replace(temporary, folder / f"{epoch:05}-{step:07}.{digits}.h5")
            sync(folder)
    finally:
        temporary.unlink(missing_ok=True)
    for path in _checkpoints(folder)[:-KEPT]:
        path.unlink()


def newest_checkpoint(
    folder: Path, report: Callable[[str], None]
) -> tuple[list[np.ndarray], dict[str, Any]] | None:
    """The values and the state of the newest undamaged checkpoint, or `None` if there is none.

    `report` is called with a line for each damaged one.
    """
    for left in folder.glob("*.tmp"):
        left.unlink()
    for path in reversed(_checkpoints(folder)):
        received = file_hash(path).split(":")[1]
        if received[:16] != path.name.split(".")[1]:
            report(f"{path}: damaged; falling back to the previous one, if any")
            continue
        with h5py.File(path, "r") as file:
            return [file[name][()] for name in sorted(file)], json.loads(file.attrs["state"])
    return None


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of Keras variables."""
    from keras import ops

    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Assign values to Keras variables; if shapes or types differ, raise and assign nothing."""
    wanted = [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
    received = [(value.shape, str(value.dtype)) for value in values]
    if wanted != received:
        pairs = enumerate(zip(wanted, received, strict=False))
        differing = next((n for n, (one, other) in pairs if one != other), None)
        first = f"{len(wanted)} variables. Received: {len(received)}"
        if differing is not None:
            name = getattr(variables[differing], "path", differing)
            first = f"{name} {wanted[differing]}. Received: {received[differing]}"
        raise ValueError(f"The checkpoint is of another network or version: expected {first}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
