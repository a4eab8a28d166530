"""Atomic writing of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a write error into one line that names the file; HDF5's have many lines."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        text = getattr(error, "strerror", None) or str(error)
        known = re.search("error message = '([^']*)'", str(error))
        reason = known[1] if known else " ".join(text.split())
        raise OSError(f"{path}: cannot be written ({reason})") from None


@contextmanager
def atomic(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A temporary path beside `path`, synced and renamed to it on success, else removed."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
