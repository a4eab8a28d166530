"""The files of a data folder, listed from its subfolders or from a CSV table."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keras_se.data.label_format import LabelFormat
from keras_se.data.label_table import read_table
from keras_se.data.splits import PART_OF, SPELLINGS, WORDS
from keras_se.pictures import (
    SKIPPED,
    SUFFIXES,
    class_folders,
    printable,
    printable_names,
    visible,
)

# Name of a table beside the folder, if it does not have the folder's name.
TABLE = "labels.csv"


@dataclass
class Listing:
    """The files of a folder.

    Attributes:
        root: The folder that keys of files are relative to.
        names: Names of the classes: sorted, or in the order of their columns.
        parts: Path, size in bytes and classes of each file in `"train"` and, if given,
            `"validation"` and `"test"`.
        origins: Where each part is from, in words.
    """

    root: Path
    names: list[str]
    parts: dict[str, list[tuple[str, int, tuple[int, ...]]]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def list_folder(
    folder: Path, skip: bool, report: Callable[[str], None], labels: LabelFormat | None = None
) -> Listing:
    """The files of a folder of folders, or of a flat folder with a table.

    Args:
        folder: The folder, or the table.
        skip: Whether to skip files that cannot be read; else they are errors.
        report: Called with a line for each thing left out.
        labels: The form of a table's labels; several labels need a table. Defaults to `None`, for
            one label in a column.

    Raises:
        ValueError: If it is neither, has fewer than two classes, or a file cannot be read.
        OSError: If a folder cannot be read.
    """
    shown, labels = printable(folder), labels or LabelFormat()
    if folder.is_file() and folder.suffix.lower() == ".csv":
        return _of_table(folder, skip, report, labels)
    if not folder.is_dir():
        raise ValueError(f"`data_dir` must be a folder or a CSV file. Received: data_dir={shown!r}")
    inside = visible(folder)
    folders = [path for path in inside if path.is_dir()]
    if labels.several:
        if (table := _table_of(folder, inside)) is None:
            raise ValueError(
                f"{shown}: expected a CSV file with labels={labels.kind!r}, in it or beside it. "
                "Received: none"
            )
        return _of_table(table, skip, report, labels, folder)
    places = part_folders(folder, folders, report)
    classes = folders if places is None else [p for p in visible(places["train"]) if p.is_dir()]
    if len(classes) < 2 and (table := _table_of(folder, inside)):
        return _of_table(table, skip, report, labels, folder)
    if places is None:
        places = {"train": folder}
    else:
        _report_left_out(folder, [path for path in inside if path not in folders], report)
    names = _class_names(places["train"], folders)
    listing = Listing(folder, names)
    for part, place in places.items():
        if not any(path.is_dir() for path in visible(place)):
            raise ValueError(
                f"{printable(place)}: expected a folder of pictures for each class. Received: no "
                f"folder; data_dir={printable(places['train'])} leaves {printable(place.name)} out"
            )
        listing.parts[part] = list(_of_classes(place, names, skip, report))
        listing.origins[part] = printable(place)
    return listing


def part_folders(
    folder: Path, folders: Sequence[Path], report: Callable[[str], None]
) -> dict[str, Path] | None:
    """The folder of each part; `None` if the folders are classes."""
    found: dict[str, list[Path]] = {}
    others = []
    for path in folders:
        part = PART_OF.get(path.name.lower())
        if part is None:
            others.append(path)
        else:
            found.setdefault(part, []).append(path)
    classes = {
        path.name for place in found.get("train", ()) for path in visible(place) if path.is_dir()
    }
    if "train" not in found or not (classes or len(found) > 1):
        return None
    shown = printable(folder)
    for part, several in found.items():
        if len(several) > 1:
            raise ValueError(
                f"{shown}: expected one folder of {part} pictures. Received: "
                + printable_names([path.name for path in several])
            )
    for other in others:
        if classes & {path.name for path in visible(other)}:
            raise ValueError(
                f"{shown}: expected folders {WORDS}. Received: "
                + printable_names([path.name for path in folders])
            )
        report(f"{printable(other)}: left out; not one of {WORDS}")
    return {part: found[part][0] for part in SPELLINGS if part in found}


def _table_of(folder: Path, inside: Sequence[Path]) -> Path | None:
    """The table in a folder or beside it."""
    tables = [path for path in inside if path.suffix.lower() == ".csv" and path.is_file()]
    if len(tables) > 1:
        raise ValueError(
            f"{printable(folder)}: expected one CSV file, with the parts in its column split. "
            f"Received: {printable_names([path.name for path in tables])}"
        )
    beside = (folder.parent / f"{folder.name}.csv", folder.parent / TABLE)
    return next((path for path in (*tables, *beside) if path.is_file()), None)


def _class_names(place: Path, folders: Sequence[Path]) -> list[str]:
    """The names of the classes of a folder of folders."""
    inside = visible(place)
    names = [path.name for path in class_folders(place)]
    if len(names) < 2:
        pictures = sum(path.suffix.lower() in SUFFIXES for path in inside)
        raise ValueError(
            f"{printable(place)}: expected a folder of pictures for each of at least two classes, "
            f"or a CSV file with the columns file,label. Received: {len(names)} folder(s) "
            f"({printable_names(names)}), {pictures} picture(s)"
        )
    for name in names:
        below = visible(place / name)
        if below and all(path.is_dir() and path.suffix == "" for path in below):
            inner, outer = (printable_names([p.name for p in some]) for some in (below, folders))
            raise ValueError(
                f"{printable(place / name)}: expected a picture ({', '.join(SUFFIXES)}), or "
                f"folders {WORDS} beside it. Received: folders {inner} in {outer}"
            )
    return names


def _of_classes(
    place: Path, names: Sequence[str], skip: bool, report: Callable[[str], None]
) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Path, size and class of the pictures in folders of classes."""
    inside = visible(place)
    extra = sorted({path.name for path in inside if path.is_dir()} - set(names))
    if extra:
        raise ValueError(
            f"{printable(place)}: expected the classes of `train`. Received: {printable(extra[0])}"
        )
    others = [path for path in inside if not path.is_dir()]
    for label, name in enumerate(names):
        if not (place / name).is_dir():
            continue
        for path in visible(place / name):
            if path.suffix.lower() not in SUFFIXES:
                others.append(path)
            elif (size := readable_size(path, skip, report)) is not None:
                yield str(path), size, (label,)
    _report_left_out(place, others, report)


def readable_size(
    path: Path, skip: bool, report: Callable[[str], None], where: str = ""
) -> int | None:  # fmt: skip
    """Size in bytes of a readable regular file, listed at `where`; `None` if it is skipped."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            reason = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        elif not os.access(path, os.R_OK):
            reason = "no permission to read it"
        else:
            return status.st_size
    except OSError as error:
        reason = "a dangling link" if path.is_symlink() else str(error.strerror)
    shown = printable(path)
    if not skip:
        raise ValueError(
            f"{where}{shown}: expected a file that can be read; bad_pictures=skip leaves it out. "
            f"Received: {reason}"
        )
    report(f"{SKIPPED}{shown}")
    return None


def _report_left_out(place: Path, paths: Sequence[Path], report: Callable[[str], None]) -> None:
    """Report files and folders that are not used, counted by kind."""
    counts = Counter(
        "folders in folders" if path.is_dir() else path.suffix.lower() or "files without a suffix"
        for path in paths
    )
    pictures = sum(counts.pop(suffix, 0) for suffix in SUFFIXES)
    words = [f"{count} {printable(kind)}" for kind, count in sorted(counts.items())]
    if pictures:
        words.insert(0, f"{pictures} picture(s) outside of the folders of classes")
    if words:
        report(f"{printable(place)}: left out: {', '.join(words)}")


def _of_table(
    table: Path, skip: bool, report: Callable[[str], None], labels: LabelFormat,
    folder: Path | None = None,
) -> Listing:  # fmt: skip
    """The files that a table lists.

    They are searched for in its folder, in `folder`, and in `folder`'s only subfolder, if any.
    """
    shown = printable(table)
    folder = folder or table.parent
    below = [path for path in visible(folder) if path.is_dir()]
    roots = list(dict.fromkeys((table.parent, folder, *(below if len(below) == 1 else ()))))
    names, rows = read_table(table, labels, report)
    listing = Listing(table.parent, names)
    label_of = {name: label for label, name in enumerate(names)}
    # Lines and folders of the files, which may have several spellings.
    seen: dict[str, int] = {}
    used: set[Path] = set()
    for line, file, own, part in rows:
        path = next((root / file for root in roots if (root / file).exists()), roots[0] / file)
        where = f"{shown}, line {line}"
        key = os.path.abspath(path)
        if key in seen:
            raise ValueError(f"{where}: {printable(file)} is also in line {seen[key]}")
        seen[key] = line
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{where}: expected a picture ({', '.join(SUFFIXES)}). Received: {printable(file)}"
            )
        size = readable_size(path, skip, report, f"{where}: ")
        if size is not None:
            used.add(path.parent)
            listing.parts.setdefault(part, []).append(
                (str(path), size, tuple(label_of[name] for name in own))
            )
    if "train" not in listing.parts:
        raise ValueError(f"{shown}: expected training pictures. Received: none")
    trained = {label for _, _, own in listing.parts["train"] for label in own}
    if missing := [name for name, label in label_of.items() if label not in trained]:
        raise ValueError(
            f"{shown}: expected a training picture of each class. "
            f"Received: none of {printable_names(missing)}"
        )
    whole = len(listing.parts) == 1
    for part in listing.parts:
        listing.origins[part] = shown if whole else f"{shown}, split {part}"
    beside = {
        os.path.abspath(path)
        for place in used
        for path in visible(place)
        if path.suffix.lower() in SUFFIXES
    }
    if unlisted := beside - seen.keys():
        report(f"{shown}: left out: {len(unlisted)} picture(s) that it does not list")
    return listing
