"""Atomic writing of files."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
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


def sync(path: Path) -> None:
    """Sync a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A temporary path beside `path`, synced and renamed to it on success, else removed."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{suffix}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with writing(path), atomic(path) as temporary:
        temporary.write_text(text, "utf-8")


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, created before any work and removed afterwards."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(".tmp", f".{path.name}.", path.parent))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, paths: Sequence[Path]) -> int:
    """Sync the files in a folder, rename those of `paths`, the first one last; return the size."""
    files = [file for file in stage.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    with writing(paths[0]):
        for file in files:
            sync(file)
        for path in reversed(paths):
            if path.exists():
                raise FileExistsError(f"{path.name} was written by another process")
            os.rename(stage / path.name, path)
    return size
