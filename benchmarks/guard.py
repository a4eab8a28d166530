"""Squeeze-and-Excitation's cost in a network that this package neither wrote nor exported.

    python benchmarks/guard.py MODEL.onnx --size 48x192

An ONNX file with blocks (global average pool, 1x1 convolution, ReLU, 1x1 convolution, hard sigmoid,
multiplication) beside the same graph without them, its own plain twin, in onnxruntime and OpenVINO
in turn. It guards the way in which the cost is measured, which must not fit only our own exports.
PaddleOCR's classifier of text directions is such a file; the wheel of rapidocr contains it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from keras_se.benchmarking.benchmark import benchmark
from keras_se.benchmarking.timing import described
from keras_se.commands._sizes import height_and_width

# From the gate back to the squeeze.
PATTERN = ("HardSigmoid", "Conv", "Relu", "Conv", "GlobalAveragePool")
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


@dataclass(frozen=True)
class Block:
    """A block: the map that it scales, and the multiplication."""

    given: str
    scale: Any


class Graph:
    """An ONNX graph, its nodes by output, and its constants by name."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.nodes = list(proto.graph.node)
        self.by_output = {name: node for node in self.nodes for name in node.output}
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t

    def is_constant(self, name: str) -> bool:
        """Whether a value depends only on constants, as does a bias that is reshaped."""
        node = self.by_output.get(name)
        if name in self.constants or node is None:
            return name in self.constants
        return bool(node.input) and all(map(self.is_constant, node.input))

    def block(self, scale: Any) -> Block | None:
        """The block that ends in a multiplication, if one does."""
        if scale.op_type != "Mul":
            return None
        for gate, given in (scale.input, scale.input[::-1]):
            squeezed = self._squeezed(gate)
            if squeezed == given:
                return Block(given, scale)
        return None

    def _squeezed(self, name: str) -> str | None:
        """The map that the pattern before a gate starts from; `None` if it is not the pattern."""
        for kind in PATTERN:
            node = self.by_output.get(name)
            # Some converters write a convolution's bias as an addition.
            if kind == "Conv" and node is not None and node.op_type == "Add":
                (name,) = [x for x in node.input if not self.is_constant(x)] or [""]
                node = self.by_output.get(name)
            if node is None or node.op_type != kind:
                return None
            if kind == "Conv" and list(self.constants[node.input[1]].dims[2:]) != [1, 1]:
                return None
            name = node.input[0]
        return name


def parameters(proto: onnx.ModelProto) -> int:
    """Floating-point numbers of the file except scalars; BatchNorm's statistics are included."""
    tensors = Graph(proto).constants.values()
    return sum(math.prod(t.dims) for t in tensors if t.data_type in FLOATS and t.dims)


def blocks(proto: onnx.ModelProto) -> list[Block]:
    """The Squeeze-and-Excitation blocks of a file."""
    graph = Graph(proto)
    return [block for node in graph.nodes if (block := graph.block(node)) is not None]


def without(proto: onnx.ModelProto, found: Sequence[Block]) -> onnx.ModelProto:
    """A copy without the blocks, and without the nodes that only they needed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    passed = {block.scale.output[0]: block.given for block in found}
    for node in copy.graph.node:
        for n, name in enumerate(node.input):
            while name in passed:
                name = passed[name]
            node.input[n] = name
    by_output = {name: node for node in copy.graph.node for name in node.output}
    needed, pending = set(), [value.name for value in copy.graph.output]
    while pending:
        name = pending.pop()
        if name in by_output and name not in needed:
            pending += by_output[name].input
        needed.add(name)
    kept = [node for node in copy.graph.node if needed & set(node.output)]
    tensors = [tensor for tensor in copy.graph.initializer if tensor.name in needed]
    for field, values in ((copy.graph.node, kept), (copy.graph.initializer, tensors)):
        del field[:]
        field.extend(values)
    onnx.checker.check_model(copy)
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", default="48x192", help="height x width")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    proto = onnx.load(options.model)
    found = blocks(proto)
    if not found:
        parser.error(f"expected Squeeze-and-Excitation blocks. Received: {options.model}")
    twin = without(proto, found)
    saved = parameters(proto) - parameters(twin)
    print(f"{options.model.name}: {len(found)} blocks, {parameters(proto):,} parameters, ", end="")
    print(f"{saved:,} of them in the blocks")
    with tempfile.TemporaryDirectory() as folder:
        print(timed(Path(folder), proto, twin, options))


def timed(folder: Path, proto: onnx.ModelProto, twin: onnx.ModelProto, options: Any) -> str:
    """Time both files in both runtimes in turn."""
    import openvino

    names = {}
    for name, model in (("plain", twin), ("se", proto)):
        onnx.save(model, folder / f"{name}.onnx")
        converted = openvino.Core().read_model(folder / f"{name}.onnx")
        openvino.save_model(converted, folder / f"{name}.xml", compress_to_fp16=False)
        for suffix in (".onnx", ".xml"):
            names[str(folder / f"{name}{suffix}")] = name
    report = benchmark(
        list(names), batches=[options.batch], sizes=[height_and_width(options.size)],
        rounds=options.rounds,
    )  # fmt: skip
    lines = {(names[line.network], line.runtime): line for line in report.lines}
    text = [
        f"{runtime}: with SE {se.median:.2f} ms ({se.low:.2f} to {se.high:.2f}), "
        f"without {plain.median:.2f} ms ({plain.low:.2f} to {plain.high:.2f}), "
        f"ratio {se.ratio_to(plain):.3f}"
        for runtime in ("onnx", "openvino")
        for se, plain in [(lines["se", runtime], lines["plain", runtime])]
    ]
    pictures = "x".join(map(str, report.lines[0].pictures))
    return "\n".join([*text, f"{described(report.conditions)}; {pictures}"])


if __name__ == "__main__":
    main()
