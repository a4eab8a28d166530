"""Descriptions that layers store with their variables in a `.weights.h5` file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

KEY = "description"


class Variables(Mapping[str, Any]):
    """A layer's variables in a file, without its description."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getitem__(self, key: str) -> Any:
        return self._store[key]

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._store.keys() if key != KEY)  # noqa: SIM118

    def __len__(self) -> int:
        return sum(1 for _ in self)


def write(store: Any, record: Mapping[str, Any]) -> None:
    """Write a description next to the variables."""
    store[KEY] = np.frombuffer(json.dumps(record).encode(), np.uint8)


def read(store: Any) -> dict[str, Any] | None:
    """Return the description next to the variables, or `None` if the file has none."""
    if KEY not in store.keys():  # noqa: SIM118 (Keras' stores are no containers)
        return None
    return _parsed(store[KEY])


def read_file(path: Path) -> list[dict[str, Any]]:
    """Return all descriptions in a `.weights.h5` file, in file order."""
    found = []

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.rsplit("/", 1)[-1] == KEY:
            found.append(_parsed(item[()]))

    with h5py.File(path, "r") as file:
        file.visititems(collect)
    return found


def _parsed(value: Any) -> dict[str, Any]:
    record = json.loads(np.asarray(value, np.uint8).tobytes())
    if not isinstance(record, dict):
        raise ValueError(f"expected a layer description. Received: {str(record)[:40]}")
    return record
