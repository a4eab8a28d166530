"""Tests of weights that enter an ONNX graph last."""

import numpy as np
import pytest

from keras_se.serving.onnx_weights import fill_in

pytestmark = pytest.mark.export


def model(nodes, inputs, outputs, initializers=()):
    from onnx import TensorProto, helper

    def values(names):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), [*initializers])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_rearranged_weights_are_constants():
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    weight = np.arange(12, dtype="float32").reshape(3, 4)
    shape = numpy_helper.from_array(np.array([4, 3]), "shape")
    nodes = [
        helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0]),
        helper.make_node("Reshape", ["w", "shape"], ["shaped"]),
        helper.make_node("Add", ["turned", "shaped"], ["both"]),
        helper.make_node("MatMul", ["both", "x"], ["y"]),
    ]
    proto = model(nodes, ["x", "w"], ["y"], [shape])
    x = np.ones((3, 2), "float32")
    (before,) = ReferenceEvaluator(proto).run(None, {"x": x, "w": weight})
    fill_in(proto, {"w": weight})
    assert [node.op_type for node in proto.graph.node] == ["MatMul"]
    assert [given.name for given in proto.graph.input] == ["x"]
    # Neither the weight itself nor what lies between is left.
    assert [value.name for value in proto.graph.initializer] == ["both"]
    (after,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_array_equal(after, before)


def test_weights_of_an_inner_graph_stay():
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    def branch(name, op):
        y = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["w"], [name])], name, [], [y])

    nodes = [
        helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("a", "Neg"), else_branch=branch("b", "Abs")
        )
    ]
    proto = model(nodes, ["c", "w"], ["y"])
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.BOOL
    weight = np.array([1, -2, 3], "float32")
    fill_in(proto, {"w": weight})
    (y,) = ReferenceEvaluator(proto).run(None, {"c": np.array(True)})
    np.testing.assert_array_equal(y, -weight)
