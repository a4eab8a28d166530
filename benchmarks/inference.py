"""Exported networks beside each other and beside their peers: the figures of batch 1 and 8.

    python benchmarks/inference.py FOLDER                     # writes the files, some minutes
    python benchmarks/inference.py FOLDER --runtime openvino  # those of a runtime, and times them

224 x 224, in turn in one process, all the cores that it may use (`taskset -c 0,1` for two). The
files of the peers are written by their own packages in processes of their own. A run replaces its
sections of `benchmarks/inference.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZE, BATCHES, ROUNDS = 224, (1, 8), 20
RESULTS = Path(__file__).with_suffix(".md")

SE, PLAIN, RESNEXT = "SE-ResNet-50", "ResNet-50", "SE-ResNeXt-50"
KERAS = "keras.applications.ResNet50"
QUBVEL, ZERO = "SE-ResNet-50 of image-classifiers", "SE-ResNet-50 of ZeroModels"
SE_AS_BUILT, PLAIN_AS_BUILT = f"{SE}, not fused", f"{PLAIN}, not fused"

# Builder, whether without SE, and whether fused.
OURS = {
    SE: ("SEResNet50", False, True),
    PLAIN: ("SEResNet50", True, True),
    RESNEXT: ("SEResNeXt50", False, True),
    SE_AS_BUILT: ("SEResNet50", False, False),
    PLAIN_AS_BUILT: ("SEResNet50", True, False),
}


def _keras() -> Any:
    import keras

    return keras.applications.ResNet50(weights=None)


def _qubvel() -> Any:
    from classification_models.tfkeras import Classifiers

    return Classifiers.get("seresnet50")[0](input_shape=(SIZE, SIZE, 3), weights=None)


def _zero() -> Any:
    from zeromodels.models.senet import SENetImageClassify

    return SENetImageClassify(depths=[3, 4, 6, 3])


PEERS: dict[str, Callable[[], Any]] = {KERAS: _keras, QUBVEL: _qubvel, ZERO: _zero}

# Network and runtime, in the order in which they are timed.
FUSED = (SE, PLAIN, RESNEXT)
RUNS = {
    "tf_saved_model": [(name, "tf_saved_model") for name in (*OURS, *PEERS)],
    "openvino": [
        *((name, "openvino") for name in FUSED),
        *((name, "tf_saved_model") for name in (QUBVEL, ZERO)),
    ],
    "onnx": [(name, "onnx") for name in FUSED],
    "litert": [(name, "litert") for name in FUSED],
}


@dataclass(frozen=True)
class Bound:
    """The first must take at most so much of the second's time, both in this precision.

    A peer is always in float32.
    """

    network: str
    against: str
    at_most: float
    precision: str = "float32"


# Of each runtime: what Squeeze-and-Excitation and the groups cost.
COSTS = [Bound(SE, PLAIN, 1.05), Bound(RESNEXT, SE, 1.15)]
BOUNDS = {
    "tf_saved_model": [
        Bound(SE, KERAS, 0.92),
        Bound(SE, QUBVEL, 0.85),
        Bound(SE, ZERO, 0.85),
        *COSTS,
        Bound(SE_AS_BUILT, PLAIN_AS_BUILT, 1.08),
    ],
    "openvino": [
        Bound(SE, QUBVEL, 0.62),
        Bound(SE, ZERO, 0.62),
        *COSTS,
        Bound(SE, QUBVEL, 0.33, "bfloat16"),
        Bound(SE, ZERO, 0.33, "bfloat16"),
        Bound(SE, PLAIN, 1.05, "bfloat16"),
        Bound(RESNEXT, SE, 1.15, "bfloat16"),
    ],
    "onnx": COSTS,
    "litert": COSTS,
}


def file(folder: Path, name: str, runtime: str) -> Path:
    """Where the network is in the runtime's format."""
    from keras_se.benchmarking.runtimes import RUNTIMES

    stem = name.replace(", ", "-").replace(" ", "-").replace(".", "_")
    return folder / f"{stem}-{runtime}{RUNTIMES[runtime].suffix}"


def write(folder: Path, name: str, runs: Sequence[str]) -> None:
    """Write the formats of one network that the runs need and that are not there yet."""
    runtimes = {runtime for run in runs for other, runtime in RUNS[run] if other == name}
    missing = {r: path for r in sorted(runtimes) if not (path := file(folder, name, r)).exists()}
    if not missing:
        return
    print(f"writing {name}: {', '.join(missing)}", flush=True)
    import keras_se
    from keras_se.benchmarking.networks import build, settle

    if name in PEERS:
        (path,) = missing.values()
        model = settle(PEERS[name](), (None, SIZE, SIZE, 3))
        # As users of any version of Keras do.
        temporary = path.with_suffix(".tmp")
        with contextlib.redirect_stdout(io.StringIO()):
            model.export(str(temporary))
        temporary.rename(path)
        return
    builder, plain, fused = OURS[name]
    model = build(builder, SIZE, plain)
    for runtime, path in missing.items():
        keras_se.export(model, path, runtime, fuse=fused, image_bytes=False)


def write_all(folder: Path, runs: Sequence[str]) -> None:
    """Each network in a process of its own: not all live with the same Keras."""
    chosen = [part for run in runs for part in ("--runtime", run)]
    for name in (*OURS, *PEERS):
        legacy = {"TF_USE_LEGACY_KERAS": "1"} if name == QUBVEL else {}
        command = [sys.executable, __file__, str(folder), "--write", name, *chosen]
        subprocess.run(command, check=True, env=os.environ | legacy)


def run(folder: Path, runtime: str, batch: int, rounds: int) -> None:
    """Time the networks of a runtime, print the section of the results, and keep it."""
    from keras_se.benchmarking.benchmark import lines, pictures, subject
    from keras_se.benchmarking.runtimes import RUNTIMES, precisions
    from keras_se.benchmarking.timing import PACKAGES, conditions, cores, described, ratio

    images = pictures((batch, SIZE, SIZE, 3))
    subjects = [
        subject(name, one, file(folder, name, one), images, cores(), precision)
        for name, one in RUNS[runtime]
        for precision in precisions(one)
    ]
    found, seconds = lines(subjects, rounds)
    times = {(s.network, s.precision): t for s, t in zip(subjects, seconds, strict=True)}
    packages = dict.fromkeys((*PACKAGES, *(RUNTIMES[one].package for _, one in RUNS[runtime])))
    date = datetime.datetime.now(datetime.UTC).date()
    text = [
        f"## {runtime}, batch {batch}",
        f"{date}, {described(conditions(packages))}; {SIZE} x {SIZE}, {rounds} rounds.",
        "\n".join([
            "| network | runtime | precision | median ms (quartiles) | pictures/s |",
            "| --- | --- | --- | --- | ---: |",
            *(
                f"| {line.network} | {line.runtime} | {line.precision} | {line.median:.1f} "
                f"({line.low:.1f} to {line.high:.1f}) | {line.pictures_per_second:.1f} |"
                for line in found
            ),
        ]),
        "\n".join([
            "| ratio | precision | measured | at most | |",
            "| --- | --- | ---: | ---: | --- |",
            *(_judged(bound, times, ratio) for bound in BOUNDS[runtime]),
        ]),
    ]  # fmt: skip
    section = "\n\n".join(text)
    print(f"\n{section}", flush=True)
    _keep(section)


def _judged(
    bound: Bound,
    times: dict[tuple[str, str], list[float]],
    ratio: Callable[[Sequence[float], Sequence[float]], float],
) -> str:
    own = times.get((bound.network, bound.precision))
    of = "float32" if bound.against in PEERS else bound.precision
    start = f"| {bound.network} / {bound.against} | {bound.precision} |"
    if own is None:
        return f"{start} | {bound.at_most} | not on this CPU |"
    value = ratio(own, times[bound.against, of])
    verdict = "" if value <= bound.at_most else "**missed**"
    return f"{start} {value:.3f} | {bound.at_most} | {verdict} |"


def _keep(section: str) -> None:
    """Put the section into the results in place of the one with its heading."""
    parts = RESULTS.read_text("utf-8").split("\n\n## ") if RESULTS.exists() else []
    introduction, *kept = parts or ["# Inference, in turn (`benchmarks/inference.py`)"]
    sections = {part.split("\n", 1)[0]: part.strip() for part in kept}
    heading, _ = section.removeprefix("## ").split("\n", 1)
    sections[heading] = section.removeprefix("## ")
    RESULTS.write_text("\n\n## ".join([introduction.strip(), *sections.values()]) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the exported files")
    parser.add_argument("--runtime", choices=RUNS, action="append", default=[])
    parser.add_argument("--batch", choices=BATCHES, action="append", type=int)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", choices=(*OURS, *PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.write:
        write(options.folder, options.write, options.runtime)
        return
    write_all(options.folder, options.runtime or [*RUNS])
    for runtime in options.runtime:
        for batch in options.batch or BATCHES:
            run(options.folder, runtime, batch, options.rounds)


if __name__ == "__main__":
    main()
