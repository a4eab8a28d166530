"""Record a run's data in its folder, and check that they have not changed.

`data.json` has the class names, the input shape and where each part is from; `files.json.gz` has
every picture's name, size and class.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_se.data.encoded import EncodedPictures
from keras_se.data.labelled import Data
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data

DATA, FILES = "data.json", "files.json.gz"
# Names shown in a message, and characters of each.
SHOWN, LONGEST = 2, 60

Contents = Mapping[str, Mapping[str, str]]


def contents_of(parts: Mapping[str, Data]) -> dict[str, dict[str, str]]:
    """The key of each picture by part, and the content that must not change."""
    return {part: dict(data.entries()) for part, data in parts.items()}


def data_account(
    parts: Mapping[str, Data], described: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """The content of `data.json`."""
    test = parts["test"]
    return {
        "classes": list(test.names),
        "shape": list(test.shape),
        "crop": test.crop if isinstance(test, EncodedPictures) else None,
        "parts": described,
    }


def packed(contents: Contents) -> bytes:
    """The bytes of `files.json.gz`, deterministic."""
    return gzip.compress(json.dumps(contents, sort_keys=True).encode(), mtime=0)


def stored_data(folder: str | Path) -> dict[str, Any] | None:
    """The record of a run's data in its folder.

    Args:
        folder: The run's folder.

    Returns:
        `"classes"`: names in the order of the network's outputs; `"shape"`: shape of a picture,
        `[height, width, channels]`; `"crop"`: share of the shorter side that is evaluated, `None`
        for pictures of one size in memory; `"parts"`: number of pictures and origin of each part.
        `None` for a run of an earlier version, which did not write it.

    Raises:
        ValueError: If the file is damaged.
        OSError: If it cannot be read.
    """
    path = Path(folder) / DATA
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found["classes"], list) and len(found["shape"]) == 3:
            return found
        reason = "other fields"
    except (ValueError, KeyError, TypeError) as error:
        reason = repr(error)
    raise ValueError(f"{path}: expected the record of a run's data. Received: {reason[:100]}")


def stored_names(folder: str | Path) -> list[str] | None:
    """The class names of a run's network, in order; `None` if the run has not recorded them."""
    stored = stored_data(folder)
    return None if stored is None else stored["classes"]


def check_data(
    folder: str | Path, parts: Mapping[str, Data], needed: Iterable[str] | None = None
) -> bool:
    """Raise a `ValueError` that names the difference unless the data are those of a run.

    `parts` are the result of `load_data`; only those in `needed`, by default all, must be the same.
    Returns `False` for a run of an earlier version, which has no record to compare with.
    """
    names = stored_names(folder)
    if names is None:
        return False
    now = list(parts["train"].names)
    where = f"{folder}: its run has different data"
    if now != names:
        raise ValueError(
            f"{where}: "
            + _words(
                (
                    ("missing class", [name for name in names if name not in now]),
                    ("new class", [name for name in now if name not in names]),
                ),
                "classes in a different order",
            )
        )
    path = Path(folder) / FILES
    try:
        stored = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: expected the file list of a run's data ({error})") from None
    wanted = set(needed or {**stored, **parts})
    if stored.keys() & wanted == parts.keys() & wanted:
        same = contents_of({part: parts[part] for part in parts.keys() & wanted})
        if all(stored[part] == contents for part, contents in same.items()):
            return True
    before, after = (
        {key: value for part in contents.values() for key, value in part.items()}
        for contents in (stored, contents_of(parts))
    )
    raise ValueError(
        f"{where}: "
        + _words(
            (
                ("missing", [key for key in before if key not in after]),
                ("new", [key for key in after if key not in before]),
                (
                    "changed",
                    [key for key in before if after.get(key, before[key]) != before[key]],
                ),
            ),
            "split differently",
        )
    )


def load_test(
    folder: str | Path, recipe: Recipe, report: Callable[[str], None],
    data_dir: str | Path | None = None,
) -> Data:  # fmt: skip
    """The test pictures of a run; a `ValueError` if they or the classes differ from the run's.

    `report` is called with a line for each skipped file. `data_dir` is where the data are now,
    `None` for the recipe's.
    """
    if data_dir is not None:
        recipe = replace(recipe, data_dir=str(data_dir))
    elif recipe.data_dir is not None and not Path(recipe.data_dir).exists():
        raise ValueError(
            f"`data_dir` (--data-dir) must name the data of {folder}, which are not where its "
            f"recipe says. Received: none; data_dir={recipe.data_dir!r} in the recipe, sought from "
            f"{Path.cwd()}"
        )
    parts = load_data(recipe, report)
    check_data(folder, parts, ("test",))
    return parts["test"]


def _words(kinds: Iterable[tuple[str, list[str]]], otherwise: str) -> str:
    """The first names of each kind of difference, in words."""
    found = [
        f"{kind}: {', '.join(name[-LONGEST:] for name in sorted(names)[:SHOWN])}"
        + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for kind, names in kinds
        if names
    ]
    return "; ".join(found) or otherwise
