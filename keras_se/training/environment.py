"""The environment that a run's figures depend on, besides its recipe and data."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

import keras_se
from keras_se.training.recipe import Recipe

VERSIONS = ("keras", "tensorflow", "jax", "torch", "numpy")
# Timeout for `git`, in seconds.
PATIENCE = 10
# Whether a run of this process turned on TensorFlow's reproducible operations: they stay on.
_reproducible = False


@contextmanager
def prepared(recipe: Recipe, report: Callable[[str], None]) -> Iterator[None]:
    """Set the seeds, precision and determinism of a recipe; the precision only meanwhile.

    `report` is called with a line if the operations are not those of a fresh process.
    """
    global _reproducible
    before = keras.config.dtype_policy()
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)
    if recipe.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        _reproducible = True
    elif _reproducible:
        report(
            "An earlier run of this process had deterministic=true, which TensorFlow cannot undo: "
            "results may differ slightly from those of a new process"
        )
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def environment() -> dict[str, Any]:
    """Versions, backend and machine, JSON-serialisable."""
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = version(name)
        except ImportError:
            continue
    return {
        "keras_se": keras_se.__version__,
        "commit": commit(Path(keras_se.__file__).resolve().parents[1]),
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "versions": versions,
    }


def commit(root: Path) -> str | None:
    """The commit of this package's checkout; `None` if `root` is not its checkout.

    The package may be installed inside another project's checkout, and variables such as `GIT_DIR`
    may point to one.
    """
    try:
        about = (root / "setup.cfg").read_text("utf-8")
        if not (root / ".git").exists() or "name = keras-se\n" not in about:
            return None
        found = subprocess.run(
            ["git", f"--git-dir={root / '.git'}", "rev-parse", "HEAD"],
            capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
