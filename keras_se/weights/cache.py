"""The local cache of published files: each is downloaded, verified and converted once.

`$KERAS_SE_HOME/published` holds the publishers' files under their own names; the folder can serve
other machines as `KERAS_SE_MIRROR`. `$KERAS_SE_HOME/converted` holds the same weights in this
package's format, each with its hash, and suffices to build networks.
"""

from __future__ import annotations

import errno
import glob
import json
import lzma
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock

from keras_se.files import atomic, writing
from keras_se.weights.download import download
from keras_se.weights.entries import Weights, known_weights
from keras_se.weights.hashes import check_hash, compare_hash, file_hash, hash_of
from keras_se.weights.locations import address, home, mirror_folder, offline
from keras_se.weights.tensors import one_line, open_tensors
from keras_se.weights.variable_file import write_arrays

if TYPE_CHECKING:
    from keras_se.weights.namings import Architecture, Shapes

# Part of the key of converted files; raise it whenever the same file would convert differently.
CONVERTER_VERSION = 1
DIGITS = "[0-9a-f]{64}"
# Hashes stated by a server, stored next to the file.
STATED = {"sha256": DIGITS, "md5": "[0-9a-f]{32}"}
# Bytes to unzip at once.
BLOCK = 2**20


def cached_files(entry: Weights) -> list[Path]:
    """Return a set's files in the cache: the published one with its hash, else the converted."""
    path = published_path(entry)
    files = [path, *(path.with_name(f"{path.name}.{algorithm}") for algorithm in STATED)]
    if not path.exists():
        path = converted_path(entry)
        files = [path, _record(path)]
    return [file for file in files if path.exists() and file.exists()]


def published_path(entry: Weights) -> Path:
    """Return the path of a set's published file in the cache."""
    return home() / "published" / entry.file


def converted_path(entry: Weights) -> Path:
    """Return the path of a set's converted file, named by source and converter version."""
    source = (entry.sha or f"revision:{entry.revision or 'unpinned'}").split(":")[1][:12]
    return home() / "converted" / f"{entry.name}.{source}.{CONVERTER_VERSION}.h5"


def converted(entry: Weights, shapes: Shapes, net: Architecture) -> Path:
    """Return the converted file of a set; download and convert it if it is missing.

    `shapes` are those of the network's variables, including the head's.
    """
    path = converted_path(entry)
    # If the file exists, a read-only folder is enough.
    if not path.exists():
        with _locked(path):
            if not path.exists():
                _convert(entry, _found(entry), path, shapes, net)
    _check_converted(path, entry)
    return path


def _stated(path: Path) -> str:
    """Return the recorded hash of a converted file."""
    try:
        stated = json.loads(_record(path).read_text("utf-8"))["sha"]
        if not re.fullmatch(f"sha256:{DIGITS}", stated):
            raise ValueError(stated)
        return str(stated)
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path}: its record {_record(path).name} is damaged; delete both"
        ) from None


def _record(path: Path) -> Path:
    return path.with_suffix(".json")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file `path` against other processes; create its folder.

    Removes half-written leftovers of killed processes.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        held = lock.acquire()
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path.parent}: cannot be written ({error.strerror}); set KERAS_SE_HOME to a "
            "writable folder",
        ) from None
    with held:
        for name in (path.name, _record(path).name):
            for left in path.parent.glob(f"{glob.escape(name)}.*.tmp"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


def verify() -> Iterator[tuple[Path, str | None]]:
    """Yield every cached file of a registered set with its error, or `None`."""
    for entry in known_weights():
        for path, check in (
            (published_path(entry), _check_published),
            (converted_path(entry), _check_converted),
        ):
            if entry.url and path.exists():
                try:
                    check(path, entry)
                except (ValueError, OSError) as error:
                    yield path, " ".join(str(error).split())
                else:
                    yield path, None


def _check_converted(path: Path, entry: Weights) -> None:
    check_hash(path, _stated(path))


def fetched(entry: Weights) -> Path:
    """Return the published file of a set; download it if it is missing, and verify its hash."""
    path = _found(entry)
    _check_published(path, entry)
    return path


def _found(entry: Weights) -> Path:
    """Return the published file of a set; download it unless the cache or mirror has it."""
    path, folder = published_path(entry), mirror_folder()
    if not path.exists() and folder:
        path = folder / entry.file
        if not path.is_file():
            raise FileNotFoundError(
                errno.ENOENT, f"{entry.name}: KERAS_SE_MIRROR has no file", str(path)
            )
    if not path.exists():
        _download(entry, path)
    return path


def most_bytes(entry: Weights) -> int:
    """Return the size limit of a set's file, zipped or not: twice its float32 values, plus some."""
    return 2 * 4 * entry.params_total + 2**26


def _download(entry: Weights, path: Path) -> None:
    url = address(entry)
    if offline():
        raise FileNotFoundError(
            errno.ENOENT,
            f"{entry.name} is not in the cache and KERAS_SE_OFFLINE is set; save {entry.url} as",
            str(path),
        )
    with _locked(path):
        if path.exists():
            return
        unchecked = path.with_name(f"{path.name}.unchecked")
        with _progress(entry.name) as progress:
            stated = download(url, unchecked, most_bytes(entry), progress)
        try:
            if entry.sha:
                _check_published(unchecked, entry)
            elif stated:
                check_hash(unchecked, stated)
                algorithm, digits = stated.split(":")
                with atomic(path.with_name(f"{path.name}.{algorithm}")) as noted:
                    noted.write_text(f"{digits}  {path.name}\n", "utf-8")
            elif url == entry.url:
                raise ValueError(f"{url}: the server provides no hash of the file")
            else:
                # Nothing identifies the file, so only check that it is a weights file.
                with one_line(unchecked), open_tensors(unchecked):
                    pass
        except ValueError as error:
            unchecked.unlink()
            raise ValueError(str(error).replace(str(unchecked), url)) from None
        os.replace(unchecked, path)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on stderr, if it is a terminal or notebook."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    visible = console.is_terminal or console.is_jupyter
    with Progress(*columns, console=console, disable=not visible, transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _check_published(path: Path, entry: Weights) -> None:
    """Raise a `ValueError` unless the hash of the file, or of a zip's only member, matches.

    If the registry has no hash, the server's was checked after the download and stored next to
    the file; a mirror need not provide one.
    """
    expected = entry.sha
    if expected is None:
        for algorithm, digits in STATED.items():
            noted = path.with_name(f"{path.name}.{algorithm}")
            if noted.exists():
                match = re.match(rf"{digits}\b", noted.read_text("utf-8", "replace"))
                if not match:
                    raise ValueError(f"{path}: its hash file {noted.name} is damaged; delete both")
                expected = f"{algorithm}:{match[0]}"
    if entry.file.endswith(".zip"):
        with _member(path, entry) as data:
            received = hash_of(data, str(expected).split(":")[0])
        compare_hash(path, str(expected), received)
    elif expected:
        check_hash(path, expected)


@contextmanager
def _member(path: Path, entry: Weights) -> Iterator[Iterator[bytes]]:
    """Open the blocks of the only file in a zip; ignore its path."""
    limit = most_bytes(entry)
    with ExitStack() as stack:
        with _sound_zip(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = [m for m in archive.infolist() if not m.filename.endswith("/")]
        if len(members) != 1:
            raise ValueError(f"{path}: expected a zip of one file. Received: {len(members)}")
        if members[0].file_size > limit:
            raise ValueError(
                f"{path}: expected at most {limit} bytes unzipped. Received: {members[0].file_size}"
            )
        with _sound_zip(path):
            # Reads at most the size that the archive states.
            file = stack.enter_context(archive.open(members[0]))
        yield _unzipped(path, file)  # type: ignore[arg-type]


def _unzipped(path: Path, file: BinaryIO) -> Iterator[bytes]:
    with _sound_zip(path):
        while block := file.read(BLOCK):
            yield block


@contextmanager
def _sound_zip(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, ValueError,
            NotImplementedError, RuntimeError, EOFError, IndexError) as error:  # fmt: skip
        raise ValueError(f"{path}: expected a valid zip. Received: {error}") from None


@contextmanager
def _plain(path: Path, entry: Weights) -> Iterator[Path]:
    """Return the file, or the unzipped file in a private folder, after verifying its hash."""
    if not entry.file.endswith(".zip"):
        _check_published(path, entry)
        yield path
        return
    target = converted_path(entry)
    with tempfile.TemporaryDirectory(".tmp", f"{target.name}.", target.parent) as folder:
        unzipped = Path(folder) / "unzipped"
        with _member(path, entry) as data, writing(target), open(unzipped, "wb") as file:
            file.writelines(data)
        check_hash(unzipped, str(entry.sha), name=path)
        yield unzipped


def _convert(entry: Weights, source: Path, path: Path, shapes: Shapes, net: Architecture) -> None:
    """Write the converted file; its record is written before the file is renamed into place."""
    from keras_se.weights.conversion import convert

    with _plain(source, entry) as plain, atomic(path) as temporary:
        with one_line(source), open_tensors(plain) as file:
            conversion = convert(file, entry.naming, shapes, net)
            write_arrays(conversion.arrays, temporary)
        record = {"set": entry.name, "sha": file_hash(temporary), "converter": CONVERTER_VERSION}
        with atomic(_record(path)) as written:
            written.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
