"""Where files of weights come from and are kept; needs no other package, so it cannot fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from keras_se.weights.entries import Weights

# Another cache folder, used by `home_in`.
_OTHER_HOME: ContextVar[Path | None] = ContextVar("home", default=None)


def home() -> Path:
    """Return the cache folder: `KERAS_SE_HOME`, else `keras_se` in Keras' own."""
    if other := _OTHER_HOME.get():
        return other
    if folder := os.environ.get("KERAS_SE_HOME"):
        return Path(folder).expanduser()
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras_se"


@contextmanager
def home_in(folder: Path) -> Iterator[None]:
    """Use another cache folder meanwhile."""
    token = _OTHER_HOME.set(folder)
    try:
        yield
    finally:
        _OTHER_HOME.reset(token)


def offline() -> bool:
    """Return whether `KERAS_SE_OFFLINE` forbids connections."""
    return os.environ.get("KERAS_SE_OFFLINE", "0") not in ("", "0")


def mirror_folder() -> Path | None:
    """Return the folder that `KERAS_SE_MIRROR` names, or `None` if it is unset or a URL."""
    mirror = os.environ.get("KERAS_SE_MIRROR", "")
    return Path(mirror).expanduser() if mirror and "://" not in mirror else None


def address(entry: Weights) -> str:
    """Return the URL that a set is downloaded from: the publisher's, or a mirror's."""
    mirror = os.environ.get("KERAS_SE_MIRROR", "")
    if "://" in mirror:
        return f"{mirror.rstrip('/')}/{quote(entry.file)}"
    return str(entry.url)
