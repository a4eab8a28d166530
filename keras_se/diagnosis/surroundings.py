"""The machine, the cache and the environment variables, and what is wrong with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_se.benchmarking.timing import conditions, memory
from keras_se.checks import readable
from keras_se.diagnosis.installation import Finding
from keras_se.weights.locations import home, mirror_folder

# Variables that decide where files come from and what computes.
VARIABLES = (
    "KERAS_SE_HOME", "KERAS_SE_MIRROR", "KERAS_SE_OFFLINE", "KERAS_HOME", "KERAS_BACKEND",
    "TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
    "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
# The largest set takes twice its 690 MB while it is converted.
LEAST_FREE = 2 * 10**9


def machine() -> dict[str, Any]:
    """Processor, cores, Python and bytes of memory."""
    return {**conditions(()), "memory": memory()}


def variables() -> dict[str, str]:
    """The variables that are set, without passwords in addresses."""
    names = [name for known in VARIABLES for name in (known, known.lower())]
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    return {name: readable(value) for name, value in found.items()}


def cache() -> dict[str, Any]:
    """The cache folder, its files and their bytes, free bytes, and whether it can be written."""
    folder = home()
    existing = _existing(folder)
    sizes = list(_sizes(folder))
    return {
        "folder": str(folder),
        "files": len(sizes),
        "bytes": sum(sizes),
        "free": shutil.disk_usage(existing).free,
        "writable": existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
    }


def findings(cache: dict[str, Any]) -> Iterator[Finding]:
    """Yield faults of the cache and the mirror."""
    if not cache["writable"]:
        # Converted sets can be read from a read-only folder.
        yield Finding(
            not cache["files"],
            f"{cache['folder']} cannot be written, so no set of weights can be downloaded",
            "set KERAS_SE_HOME to a writable folder",
        )
    elif cache["free"] < LEAST_FREE:
        yield Finding(
            False,
            f"{cache['free'] / 1e9:.1f} GB are free in {cache['folder']}, too few for large sets",
            "free some space, or set KERAS_SE_HOME to a folder on another disk",
        )
    mirror = mirror_folder()
    if mirror and not mirror.is_dir():
        yield Finding(True, f"KERAS_SE_MIRROR is not a folder: {mirror}", "correct it, or unset it")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if os.path.exists(path))


def _sizes(folder: Path) -> Iterator[int]:
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue
