"""Hashes of files in the publishers' form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def hash_of(data: Iterable[bytes], algorithm: str = "sha256") -> str:
    """Return `"<algorithm>:<hexadecimal digits>"` of all blocks."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for block in data:
        digest.update(block)
    return f"{algorithm}:{digest.hexdigest()}"


def variables_hash(variables: Iterable[Any]) -> str:
    """Return `"sha256:<hexadecimal digits>"` of the types, shapes and values of Keras variables."""
    import numpy as np
    from keras import ops

    values = (np.ascontiguousarray(ops.convert_to_numpy(variable)) for variable in variables)
    return hash_of(f"{v.dtype} {v.shape}\n".encode() + v.tobytes() for v in values)


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Return `"<algorithm>:<hexadecimal digits>"` of a file."""
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def check_hash(path: Path, expected: str, name: Path | None = None) -> None:
    """Raise a `ValueError` about the file, or `name`, unless its hash begins with `expected`."""
    compare_hash(name or path, expected, file_hash(path, expected.split(":")[0]))


def compare_hash(path: Path, expected: str, received: str) -> None:
    """Raise a `ValueError` that names `path` unless `received` begins with `expected`."""
    if not received.startswith(expected):
        raise ValueError(f"{path}: expected {expected}. Received: {received}")
