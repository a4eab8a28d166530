"""Run folders: how they are named, and whether a run may start or resume in one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from filelock import FileLock, Timeout

from keras_se.training.contents import DATA, FILES
from keras_se.training.environment import environment
from keras_se.training.recipe import Recipe, difference, from_dict

RECIPE, ENVIRONMENT, LOCK = "recipe.json", "environment.json", "lock"
CHECKPOINTS, EVENTS, TEACHER = "checkpoints", "tensorboard", "teacher.json"
# Files that a run writes before its first step.
BEFORE_STEPS = {RECIPE, ENVIRONMENT, DATA, FILES, TEACHER, EVENTS, LOCK}
# Temporary files of a killed process: a run's file, the process id, the type.
WRITTEN = "|".join(
    [
        *map(re.escape, (RECIPE, ENVIRONMENT, DATA, FILES, TEACHER)),
        r"metrics\.csv|results\.json|README\.md|curves\.png|out_of_fold\.csv|(last|best)\.(keras|weights\.h5)",
    ]
)
HALF_WRITTEN = re.compile(rf"({WRITTEN})\.\d+\.(tmp|keras|png)")


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of killed processes; the folder must be locked."""
    for path in folder.iterdir():
        if HALF_WRITTEN.fullmatch(path.name):
            path.unlink()


def next_free(base: Path) -> Path:
    """The first of `base`, `base-2` and so on after all folders in use."""
    taken = [number for number, path in _numbered(base) if not is_free(path) or _is_held(path)]
    number = max(taken, default=0) + 1
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def newest(base: Path) -> Path:
    """The last of `base`, `base-2` and so on that is a run; `base` if there is none.

    A run without a checkpoint counts only if there is no other.
    """
    runs = [(number, path) for number, path in _numbered(base) if (path / RECIPE).is_file()]
    begun = [item for item in runs if not is_free(item[1])]
    return max(begun or runs, default=(1, base))[1]


def _numbered(base: Path) -> list[tuple[int, Path]]:
    """The existing paths among `base`, `base-2` and so on."""
    found = [(1, base)] if base.exists() else []
    pattern = re.compile(re.escape(base.name) + r"-([1-9]\d*)")
    for path in base.parent.iterdir() if base.parent.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match and int(match[1]) > 1:
            found.append((int(match[1]), path))
    return found


def is_free(folder: Path) -> bool:
    """Whether a run may start there without losing anything of value."""
    if not folder.is_dir():
        return not folder.exists()
    # Leftovers of processes that failed before the first step do not count.
    names = {path.name for path in folder.iterdir() if not HALF_WRITTEN.fullmatch(path.name)}
    if RECIPE not in names:
        return names <= {LOCK}
    if any((folder / CHECKPOINTS).glob("*.h5")):
        return False
    return names <= {*BEFORE_STEPS, CHECKPOINTS}


def _is_held(folder: Path) -> bool:
    """Whether a process is training there."""
    try:
        if (folder / LOCK).exists():
            FileLock(folder / LOCK).acquire(timeout=0).lock.release()
    except (Timeout, OSError):
        return True
    return False


def check_new(folder: Path) -> None:
    """Raise a `ValueError` unless a run may start there."""
    if not is_free(folder):
        raise ValueError(f"{folder}: expected a new or empty folder; resume to continue its run")


def check_resumed(folder: Path, recipe: Recipe, report: Callable[[str], None]) -> None:
    """Raise a `ValueError` unless the folder has a run of this recipe and backend.

    `report` is called with a line for each package whose version differs.
    """
    path = folder / RECIPE
    try:
        stored = from_dict(_read(path))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected the recipe of a run ({error})") from None
    if differing := difference(stored, recipe):
        raise ValueError(f"{folder}: its run has another recipe: {differing}")
    try:
        before = _read(folder / ENVIRONMENT)
    except (OSError, json.JSONDecodeError):
        return
    backend = keras.backend.backend()
    if before.get("backend", backend) != backend:
        raise ValueError(
            f"{folder}: its run was started with KERAS_BACKEND={before['backend']}. "
            f"Received: KERAS_BACKEND={backend}"
        )
    now = environment()["versions"]
    for name, version in before.get("versions", {}).items():
        if now.get(name) != version and name in ("keras", backend, "numpy"):
            report(
                f"{name} is {now.get(name)} and was {version} when the run began: results may "
                "differ slightly"
            )


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise json.JSONDecodeError("not an object", "", 0)
    return found
