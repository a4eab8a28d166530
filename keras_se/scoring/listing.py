"""The picture files to score, in a fixed order."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_se.checks import shown
from keras_se.pictures import SUFFIXES, printable

# Size of a file that cannot be looked up.
UNKNOWN = -1


@dataclass(frozen=True)
class Pictures:
    """Picture files, by position.

    Attributes:
        root: The folder that the files are relative to.
        files: Their paths.
        names_hash: Of their names as tables show them, in order; see `hash_of`.
        list_hash: Of their paths and sizes in bytes.
    """

    root: Path
    files: list[str]
    names_hash: str
    list_hash: str

    def name(self, position: int) -> str:
        """The name of a file in a table, which is UTF-8."""
        return printable(self.files[position])


class ListHash:
    """The SHA-256 of texts, one after the other."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, *texts: str) -> None:
        for text in texts:
            self._digest.update(text.encode("utf-8", "surrogateescape") + b"\0")

    def hexadecimal(self) -> str:
        return self._digest.hexdigest()


def list_pictures(images: Sequence[str], report: Callable[[str], None]) -> Pictures:
    """The pictures below one folder, sorted by path, or the given files.

    Links are followed. Names that begin with a dot are left out; `report` is called with a line
    for other files and for loops of links.
    """
    folders = [image for image in images if os.path.isdir(image)]
    if folders and len(images) > 1:
        raise ValueError(
            "`IMAGE` must be one folder, or files. "
            f"Received: {len(images)} arguments, among them the folder {printable(folders[0])!r}"
        )
    gone = next((image for image in images if not os.path.exists(image)), None)
    if gone is not None:
        raise FileNotFoundError(f"{printable(gone)}: no such file or folder")
    root = Path(folders[0]) if folders else Path()
    found = _below(root, report) if folders else ((image, _size(image)) for image in images)
    files, names, sizes = [], ListHash(), ListHash()
    for file, size in found:
        files.append(file)
        names.add(printable(file))
        sizes.add(file, str(size))
    if not files:
        raise ValueError(
            f"`IMAGE` must be a folder with pictures ({', '.join(SUFFIXES)}). "
            f"Received: {printable(root)!r}, without one"
        )
    _check_distinct(files, bool(folders))
    return Pictures(root, files, names.hexadecimal(), sizes.hexadecimal())


def _check_distinct(files: Sequence[str], from_folder: bool) -> None:
    """Raise a `ValueError` if two files have the same name in a table."""
    # Only an escaped byte can be written in two ways.
    doubtful = [name for name in map(printable, files) if not from_folder or "\\" in name]
    twice = [name for name, count in Counter(doubtful).items() if count > 1]
    if twice:
        raise ValueError(f"`IMAGE` must be distinct files. Received: twice {shown(twice[0])}")


def _below(root: Path, report: Callable[[str], None]) -> Iterator[tuple[str, int]]:
    """Path from `root` and size of each picture below it, folder by folder."""
    left_out: Counter[str] = Counter()
    # The folders that are being read, each with its identity and what is left of it.
    open_folders = [("", _identity(root), _entries(root))]
    while open_folders:
        folder, _, entries = open_folders[-1]
        entry = next(entries, None)
        if entry is None:
            open_folders.pop()
            continue
        path = os.path.join(folder, entry.name)
        if _is_folder(entry):
            identity = _identity(entry.path)
            if identity in [outer for _, outer, _ in open_folders]:
                report(f"{printable(entry.path)}: left out, a link to a folder that it is in")
            else:
                open_folders.append((path, identity, _entries(entry.path)))
        elif (suffix := os.path.splitext(entry.name)[1].lower()) in SUFFIXES:
            yield path, _size(entry.path)
        else:
            left_out[printable(suffix) or "without a suffix"] += 1
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        report(f"{printable(root)}: left out, other files: {kinds}")


def _entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(os.fspath(folder)) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return iter(sorted(visible, key=lambda entry: entry.name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # Such as a link to itself, which gets a row with its error if it has a picture's name.
        return False


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return UNKNOWN
