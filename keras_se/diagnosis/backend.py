"""Start Keras' backend: `python backend.py` prints its name and accelerators as JSON.

`start` runs it in a process of its own, which may crash. So this file imports only what it tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

# Timeout in seconds; a first start from a slow disk takes a minute.
PATIENCE = 180


def start() -> dict[str, Any]:
    """Return `backend` and `accelerators`, or the one-line `error` of a backend that fails."""
    # -P: modules in the working directory are not part of the installation.
    command = [sys.executable, "-P", __file__]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PATIENCE} seconds"}
    except OSError as error:
        return {"error": f"{sys.executable}: {error.strerror}"}
    if done.returncode < 0:
        return {"error": f"the process was ended ({signal.strsignal(-done.returncode)})"}
    lines = (done.stdout if done.returncode == 0 else done.stderr).split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "no message")
    if done.returncode == 0:
        with suppress(ValueError):
            return dict(json.loads(last))
    return {"error": last.strip()[:200]}


def accelerators(backend: str) -> list[str]:
    """Names of the devices other than CPUs."""
    if backend == "tensorflow":
        import tensorflow as tf

        devices = [d for d in tf.config.list_physical_devices() if d.device_type != "CPU"]
        details = tf.config.experimental.get_device_details
        return [details(device).get("device_name", device.name) for device in devices]
    if backend == "jax":
        import jax

        return [str(device.device_kind) for device in jax.devices() if device.platform != "cpu"]
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def main() -> None:
    """Compute with the backend, and print its name and accelerators."""
    import keras

    keras.ops.convert_to_numpy(keras.ops.matmul(*2 * [keras.ops.ones((8, 8))]))
    name = keras.backend.backend()
    print(json.dumps({"backend": name, "accelerators": accelerators(name)}))


if __name__ == "__main__":
    main()
