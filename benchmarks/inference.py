"""Exported networks beside each other and beside their peers: the figures of batch 1 and 8.

    python benchmarks/inference.py FOLDER                     # everything, an hour
    python benchmarks/inference.py FOLDER --runtime openvino  # one runtime

224 x 224, in turn in one process, all the cores that it may use (`taskset -c 0,1` for two), by
`keras_se.benchmarking`. The peers' files are written to the folder by their own packages in
processes of their own. A run replaces its sections of `benchmarks/inference.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_se.benchmarking.report import Line, Report

SIDE, BATCHES, ROUNDS = 224, (1, 8), 20
RESULTS = Path(__file__).with_suffix(".md")

SE, RESNEXT = "SEResNet50", "SEResNeXt50"
PLAIN = f"{SE} without SE"
KERAS = "keras.applications.ResNet50"
QUBVEL, ZERO = "SE-ResNet-50 of image-classifiers", "SE-ResNet-50 of ZeroModels"
TIMM = "SE-ResNet-50 of timm"
F32, BF16, INT8, OWN = "float32", "bfloat16", "int8", "own"


def _saved(model: Any, path: Path) -> None:
    """Write a SavedModel as users of any version of Keras do."""
    from keras_se.benchmarking.networks import settle

    settle(model, (None, SIDE, SIDE, 3))
    with contextlib.redirect_stdout(io.StringIO()):
        model.export(str(path))


def _keras(path: Path) -> None:
    import keras

    _saved(keras.applications.ResNet50(weights=None), path)


def _qubvel(path: Path) -> None:
    from classification_models.tfkeras import Classifiers

    _saved(Classifiers.get("seresnet50")[0](input_shape=(SIDE, SIDE, 3), weights=None), path)


def _zero(path: Path) -> None:
    from zeromodels.models.senet import SENetImageClassify

    _saved(SENetImageClassify(depths=[3, 4, 6, 3]), path)


def _timm(path: Path) -> None:
    import torch
    from peers import timm_seresnet50

    torch.manual_seed(0)
    model = timm_seresnet50()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            # As `networks.settle`: some layers initialise gamma to zero.
            layer.momentum = 1.0
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.3, 0.3)
    pictures = 255 * torch.rand(8, 3, SIDE, SIDE)
    with torch.no_grad():
        model.train()(pictures)
    any_batch = {"images": {0: "batch"}, "predictions": {0: "batch"}}
    torch.onnx.export(
        model.eval(), (pictures[:2],), str(path), input_names=["images"],
        output_names=["predictions"], dynamic_axes=any_batch, dynamo=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """How a peer's file is written."""

    write: Callable[[Path], None]
    suffix: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


PEERS = {
    KERAS: Peer(_keras),
    QUBVEL: Peer(_qubvel, environment={"TF_USE_LEGACY_KERAS": "1"}),
    ZERO: Peer(_zero),
    TIMM: Peer(_timm, ".onnx"),
}
# Peers and precisions of each runtime; a peer is in the precision of its file.
RUNS = {
    "tf_saved_model": ((KERAS, QUBVEL, ZERO), (F32,)),
    "openvino": ((KERAS, QUBVEL, ZERO), (F32, BF16, INT8)),
    "onnx": ((TIMM,), (F32,)),
    "litert": ((), (F32, INT8)),
}


@dataclass(frozen=True)
class Bound:
    """The first must take at most so much of the second's time."""

    network: str
    against: str
    at_most: float
    precision: str = F32
    against_precision: str = F32
    batches: tuple[int, ...] = BATCHES


def beside(peer: str, at_most: float, precision: str = F32, *batches: int) -> Bound:
    """A bound of SE-ResNet-50 beside a peer."""
    return Bound(SE, peer, at_most, precision, OWN, batches or BATCHES)


SMALL = Bound(SE, SE, 0.45, INT8, F32)
GROUPS = Bound(RESNEXT, SE, 1.15)
BOUNDS = {
    "tf_saved_model": [
        beside(KERAS, 0.80, F32, 1),
        beside(KERAS, 0.85, F32, 8),
        beside(QUBVEL, 0.85),
        beside(ZERO, 0.85),
        Bound(SE, PLAIN, 1.06),
        GROUPS,
    ],
    "openvino": [
        beside(QUBVEL, 0.62),
        beside(ZERO, 0.62),
        # The best of Keras' peers is the fastest, so that the bound holds for each.
        *(beside(peer, 0.30, BF16) for peer in (KERAS, QUBVEL, ZERO)),
        Bound(SE, PLAIN, 1.12),
        Bound(SE, PLAIN, 1.08, BF16, BF16),
        GROUPS,
        Bound(RESNEXT, SE, 1.15, BF16, BF16),
        SMALL,
    ],
    "onnx": [beside(TIMM, 0.75), Bound(SE, PLAIN, 1.06), GROUPS],
    "litert": [Bound(SE, PLAIN, 1.05), GROUPS, SMALL],
}


def file(folder: Path, peer: str) -> Path:
    """Where a peer's file is."""
    return folder / f"{peer.replace(' ', '-').replace('.', '_')}{PEERS[peer].suffix}"


def write(folder: Path, peer: str) -> None:
    """Write a peer's file."""
    path = file(folder, peer)
    temporary = path.with_name(f"unfinished-{path.name}")
    PEERS[peer].write(temporary)
    temporary.rename(path)


def write_missing(folder: Path, peers: Sequence[str]) -> None:
    """Write the files that are not there, each in a process: not all live with one Keras."""
    for peer in peers:
        if not file(folder, peer).exists():
            print(f"writing {peer}", flush=True)
            command = [sys.executable, __file__, str(folder), "--write", peer]
            subprocess.run(command, check=True, env=os.environ | PEERS[peer].environment)


def run(folder: Path, runtime: str, batches: Sequence[int], rounds: int) -> None:
    """Time the networks of a runtime, print a section per batch size, and keep it."""
    from keras_se.benchmarking.benchmark import benchmark
    from keras_se.benchmarking.runtimes import precisions

    peers, wanted = RUNS[runtime]
    names = {str(file(folder, peer)): peer for peer in peers}
    report = benchmark(
        (SE, RESNEXT, *names), [runtime], plain=True, batches=batches, sizes=[(SIDE, SIDE)],
        rounds=rounds, precisions=[one for one in wanted if one in precisions(runtime)],
    )  # fmt: skip
    for setting in report.settings():
        found = [replace(line, network=names.get(line.network, line.network)) for line in setting]
        section = described_section(runtime, report, found)
        print(f"\n{section}", flush=True)
        _keep(section)


def described_section(runtime: str, report: Report, found: Sequence[Line]) -> str:
    """The section of one batch size: figures, and what became of the bounds."""
    from keras_se.benchmarking.timing import described

    batch = found[0].pictures[0]
    text = [
        f"## {runtime}, batch {batch}",
        f"{described(report.conditions)}; {SIDE} x {SIDE}.",
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
            *(_judged(bound, found) for bound in BOUNDS[runtime] if batch in bound.batches),
        ]),
    ]  # fmt: skip
    return "\n\n".join(text)


def _judged(bound: Bound, found: Sequence[Line]) -> str:
    lines = {(line.network, line.precision): line for line in found}
    own = lines.get((bound.network, bound.precision))
    both = dict.fromkeys((bound.precision, bound.against_precision))
    start = f"| {bound.network} / {bound.against} | {' / '.join(both)} |"
    if own is None:
        return f"{start} | {bound.at_most} | not on this CPU |"
    value = own.ratio_to(lines[bound.against, bound.against_precision])
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
    parser.add_argument("folder", type=Path, help="of the peers' files")
    parser.add_argument("--runtime", choices=RUNS, action="append")
    parser.add_argument("--batch", choices=BATCHES, action="append", type=int)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.write:
        write(options.folder, options.write)
        return
    for runtime in options.runtime or RUNS:
        write_missing(options.folder, RUNS[runtime][0])
        run(options.folder, runtime, options.batch or BATCHES, options.rounds)


if __name__ == "__main__":
    main()
