"""Peak memory and time of `keras_se.export`, by network and format; writes `exporting.md`.

    python benchmarks/exporting.py                            # every pair, about ten minutes
    python benchmarks/exporting.py --network SEResNet18 --format onnx

Each export is a process of its own, which loads the network from a `.keras` file. Memory is what
the process holds before `export` (Python, TensorFlow, the network) and its peak during `export`,
which includes the check of the written file. Linux only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from keras_se.benchmarking.timing import conditions, described
from keras_se.files import atomic
from keras_se.serving.formats import FORMATS

PAGE = Path(__file__).with_suffix(".md")
NETWORKS = ("SEResNet18", "SEResNet50", "SEResNet152", "SENet154")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def megabytes(field: str) -> float:
    """Memory of this process: `VmRSS`, what it holds, or `VmHWM`, its peak."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    raise SystemExit(f"{STATUS} has no {field}")


def save(network: str, path: Path) -> None:
    """The network with random weights and realistic BatchNorm statistics."""
    from keras_se.benchmarking.networks import build

    build(network, None, False).save(path)


def export(source: Path, folder: Path, format: str) -> dict[str, float]:
    """Export in this process; gives seconds and megabytes."""
    import keras
    import tensorflow as tf

    import keras_se

    model = keras.saving.load_model(source, compile=False)
    # The first operation starts TensorFlow's threads.
    tf.constant(0) + 1
    before = megabytes("VmRSS")
    CLEAR.write_text("5")
    start = time.perf_counter()
    found = keras_se.export(model, folder / f"network{FORMATS[format].suffix}", format)
    seconds = time.perf_counter() - start
    weights = sum(variable.value.numpy().nbytes for variable in model.variables) / 1e6
    return {"weights": weights, "before": before, "peak": megabytes("VmHWM"), "seconds": seconds,
            "file": found.bytes / 1e6}  # fmt: skip


def apart(*arguments: object) -> str:
    """Run this script in a process of its own; gives its last line."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.splitlines() or [""])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    networks, formats = arguments.network or NETWORKS, arguments.format or [*FORMATS]
    if arguments.save:
        save(networks[0], arguments.save)
        return
    if arguments.load:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(export(arguments.load, Path(folder), formats[0])))
        return
    date = datetime.datetime.now(datetime.UTC).date()
    packages = ("keras", "tensorflow", "onnx", "tf2onnx", "openvino")
    rows = [
        "# Memory and time of `export`", "",
        "Written by `benchmarks/exporting.py`, which says how.", "",
        f"{date}, {described(conditions(packages))}.", "",
        "| network | format | weights, MB | file, MB | before, MB | peak, MB | more by | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            source = Path(folder, f"{network}.keras")
            apart("--network", network, "--save", source)
            for format in formats:
                found = json.loads(apart("--format", format, "--load", source))
                more = found["peak"] - found["before"]
                rows.append(
                    f"| {network} | {format} | {found['weights']:.0f} | {found['file']:.0f} | "
                    f"{found['before']:.0f} | {found['peak']:.0f} | {more:.0f} | "
                    f"{found['seconds']:.1f} |"
                )
                print(rows[-1], flush=True)
    if not arguments.network and not arguments.format:
        with atomic(PAGE) as path:
            Path(path).write_text("\n".join(rows) + "\n", "utf-8")


if __name__ == "__main__":
    main()
