"""The memory of this process, and the surroundings of others that a test starts."""

import os

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
