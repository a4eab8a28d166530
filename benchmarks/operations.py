"""Where the time of an exported network goes: milliseconds of one batch by kind of operation.

    python benchmarks/operations.py --runtime openvino
    python benchmarks/operations.py --runtime onnx --batch 8

SE-ResNet-50, its plain twin and SE-ResNeXt-50 in turn, as each runtime itself counts; being
counted costs something, so that the sums are larger than the times in `inference.md`. LiteRT tells
nothing in Python.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.benchmarking.plan import Exports, noise
from keras_se.benchmarking.timing import conditions, cores, described

SIZE = 224
SE, PLAIN, RESNEXT = "SE-ResNet-50", "ResNet-50", "SE-ResNeXt-50"
# Builder, and whether without SE.
NETWORKS = {SE: ("SEResNet50", False), PLAIN: ("SEResNet50", True), RESNEXT: ("SEResNeXt50", False)}

# Answers once and tells the milliseconds of each kind of operation.
Counted = Callable[[], Mapping[str, float]]


def _saved_model(path: Path, images: np.ndarray) -> Counted:
    import tensorflow as tf

    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        session = v1.Session(graph=graph)
        loaded = v1.saved_model.load(session, ["serve"], str(path))
    signature = loaded.signature_def["serve_images"]
    (pictures,), (*scores,) = signature.inputs.values(), signature.outputs.values()
    options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
    fetches, feed = [score.name for score in scores], {pictures.name: images}

    def count() -> dict[str, float]:
        found: dict[str, float] = collections.defaultdict(float)
        metadata = v1.RunMetadata()
        session.run(fetches, feed, options=options, run_metadata=metadata)
        for device in metadata.step_stats.dev_stats:
            for node in device.node_stats:
                # "[_Mkl]Conv2D(...)" or "name:Conv2D": what was run, not what it is called.
                kind = node.timeline_label.split("(")[0].split(" = ")[-1].split(":")[-1]
                found[kind or node.node_name] += node.op_end_rel_micros / 1000
        return found

    return count


def _onnx(path: Path, images: np.ndarray) -> Counted:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.enable_profiling = True

    def count() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = f"{folder}/profile"
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
            feed = {session.get_inputs()[0].name: images}
            for _ in range(3):
                session.run(None, feed)
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        found: dict[str, list[float]] = collections.defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                found[event["name"]].append(event["dur"] / 1000)
        kinds = {e["name"]: e["args"]["op_name"] for e in events if e["name"] in found}
        total: dict[str, float] = collections.defaultdict(float)
        for name, times in found.items():
            total[kinds[name]] += min(times)
        return total

    return count


def _openvino(path: Path, images: np.ndarray) -> Counted:
    import openvino

    core = openvino.Core()
    network = core.read_model(path)
    network.reshape(list(images.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": cores(), "PERF_COUNT": True,
    }  # fmt: skip
    request = core.compile_model(network, "CPU", settings).create_infer_request()

    def count() -> dict[str, float]:
        request.infer([images])
        found: dict[str, float] = collections.defaultdict(float)
        for node in request.profiling_info:
            found[node.node_type] += node.real_time.total_seconds() * 1000
        return found

    return count


LOAD: dict[str, Callable[[Path, np.ndarray], Counted]] = {
    "tf_saved_model": _saved_model, "openvino": _openvino, "onnx": _onnx,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runtime", choices=LOAD, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    images = noise((options.batch, SIZE, SIZE, 3))
    with tempfile.TemporaryDirectory() as folder:
        compare(options.runtime, images, options.rounds, Exports(Path(folder), fuse=True))


def compare(runtime: str, images: np.ndarray, count_of_rounds: int, exports: Exports) -> None:
    """Export the networks, let the runtime count in turn, and print the medians."""
    pair = (runtime, "float32")
    counted: dict[str, Any] = {}
    for name, (builder, plain) in NETWORKS.items():
        _, files = exports.of(builder, plain, (SIZE, SIZE), [pair])
        counted[name] = LOAD[runtime](files[pair], images)
    rounds: dict[str, list[Mapping[str, float]]] = {name: [] for name in counted}
    for number in range(3 + count_of_rounds):
        for name, count in counted.items():
            found = count()
            if number >= 3:
                rounds[name].append(found)
    medians = {
        name: {
            kind: statistics.median(found.get(kind, 0.0) for found in all_found)
            for kind in {kind for found in all_found for kind in found}
        }
        for name, all_found in rounds.items()
    }
    print(f"{described(conditions())}; {runtime}, batch {len(images)}\n")
    names = list(NETWORKS)
    print("| operation | " + " | ".join(names) + " | SE - plain |")
    print("| --- |" + " ---: |" * (len(names) + 1))
    kinds = {kind for found in medians.values() for kind in found}
    for kind in sorted(kinds, key=lambda kind: -medians[SE].get(kind, 0)):
        values = [medians[name].get(kind, 0.0) for name in names]
        more = medians[SE].get(kind, 0.0) - medians[PLAIN].get(kind, 0.0)
        if max(values) >= 0.05:
            print(f"| {kind} | " + " | ".join(f"{v:.2f}" for v in values) + f" | {more:+.2f} |")
    totals = [sum(medians[name].values()) for name in names]
    print("| all | " + " | ".join(f"{v:.2f}" for v in totals), end="")
    print(f" | {totals[names.index(SE)] - totals[names.index(PLAIN)]:+.2f} |")


if __name__ == "__main__":
    main()
