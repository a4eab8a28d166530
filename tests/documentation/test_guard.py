"""The script that finds, counts and removes the blocks of a file of another package."""

import importlib

import numpy as np
import pytest
from places import ROOT

pytestmark = pytest.mark.export

CHANNELS, HIDDEN = 8, 2
# One block of eight channels to two and back, with its biases.
BLOCK = 2 * CHANNELS * HIDDEN + CHANNELS + HIDDEN


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("guard")


def network(gate="HardSigmoid", kernel=1):
    """Two blocks, one with biases as additions of reshaped constants, then a pool."""
    onnx = pytest.importorskip("onnx")
    make, random = onnx.helper, np.random.default_rng(0)
    nodes, tensors = [], [onnx.numpy_helper.from_array(np.array([1, -1, 1, 1]), "bias_shape")]

    def node(kind, *inputs, **attributes):
        nodes.append(make.make_node(kind, inputs, [f"y{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def constant(*shape):
        values = random.normal(size=shape).astype("float32")
        tensors.append(onnx.numpy_helper.from_array(values, f"c{len(tensors)}"))
        return tensors[-1].name

    def convolution(x, given, filters, as_addition):
        kernel_of = constant(filters, given, kernel, kernel)
        pads = [kernel // 2] * 4
        if not as_addition:
            return node("Conv", x, kernel_of, constant(filters), pads=pads)
        y = node("Conv", x, kernel_of, pads=pads)
        return node("Add", y, node("Reshape", constant(filters), "bias_shape"))

    x = "x"
    for as_addition in (False, True):
        y = node("GlobalAveragePool", x)
        y = node("Relu", convolution(y, CHANNELS, HIDDEN, as_addition))
        y = node(gate, convolution(y, HIDDEN, CHANNELS, as_addition))
        x = node("Relu", node("Mul", *((y, x) if as_addition else (x, y))))
    x = node("GlobalAveragePool", x)
    value = make.make_tensor_value_info
    graph = make.make_graph(
        nodes,
        "network",
        [value("x", 1, [None, CHANNELS, "h", "w"])],
        [value(x, 1, [None, CHANNELS, 1, 1])],
        tensors,
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)


def answer(proto, x):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]


def test_blocks_are_found_and_removed(script):
    proto = network()
    found = script.blocks(proto)
    assert [block.given for block in found] == ["x", found[1].given]
    assert len(found) == 2
    assert script.parameters(proto) == 2 * BLOCK
    twin = script.without(proto, found)
    assert script.parameters(twin) == 0
    assert [node.op_type for node in twin.graph.node] == ["Relu", "Relu", "GlobalAveragePool"]
    x = np.random.default_rng(0).normal(size=(2, CHANNELS, 5, 4)).astype("float32")
    expected = np.maximum(x, 0).mean((2, 3), keepdims=True)
    np.testing.assert_allclose(answer(twin, x), expected, atol=1e-6)
    assert not np.allclose(answer(proto, x), expected, atol=1e-3)


@pytest.mark.parametrize("changes", [{"gate": "Relu"}, {"kernel": 3}])
def test_other_patterns_are_no_blocks(script, changes):
    assert script.blocks(network(**changes)) == []


def test_only_the_second_block(script):
    proto = network()
    twin = script.without(proto, script.blocks(proto)[1:])
    assert len(script.blocks(twin)) == 1
    assert script.parameters(twin) == BLOCK
