"""The memory of this process, and the surroundings of others that a test starts."""

import os
import subprocess
import sys

from places import SUPPORT

# A process of another backend of Keras computes on the CPU.
ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def environment(backend: str) -> dict[str, str]:
    """For a program of the tests: a backend of Keras, and the modules of this folder."""
    path = os.pathsep.join(filter(None, (str(SUPPORT), os.environ.get("PYTHONPATH"))))
    return os.environ | ON_THE_CPU | {"KERAS_BACKEND": backend, "PYTHONPATH": path}


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def alone(code: str, *arguments: object, **environment: str) -> str:
    """Run code in a fresh process outside the checkout, and return its output."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=kept | environment, cwd="/", capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
