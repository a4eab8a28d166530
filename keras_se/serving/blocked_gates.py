"""Gates in an ONNX file, in a form that stays in onnxruntime's blocked layout.

onnxruntime runs convolutions on blocks of channels. It keeps a multiplication in that layout only
if both sides are in it and have equal shapes, so gates, one number a channel, take the feature maps
out of it and back. Here 1x1 convolutions compute the gates, which are then enlarged to the size of
the maps; in the blocked layout that costs little. A depthwise convolution of ones before an
addition lets onnxruntime fuse it and the ReLU behind it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    # A node with the `kernel` and `bias` of a dense layer, if it is one.
    Layer = tuple[NodeProto, dict[str, np.ndarray]]

# Channels of a block with AVX-512; fewer elsewhere divide it.
BLOCK = 16
TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
ACTIVATIONS = ("Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip", "Tanh", "Elu", "LeakyRelu")


def with_blocked_gates(model: ModelProto) -> int:
    """Rewrite, in place, the gates of images' feature maps of known size; returns how many.

    Only gates that dense layers and activations compute from averages over all positions.
    """
    graph = _Graph(model)
    count = sum(graph.rewritten(node) for node in [*graph.nodes] if node.op_type == "Mul")
    graph.clean()
    return count


class _Graph:
    """The nodes of an ONNX file, what produces and what takes each tensor, and the constants."""

    def __init__(self, model: ModelProto) -> None:
        import onnx

        self.onnx, self.proto, self.nodes = onnx, model.graph, list(model.graph.node)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self.shapes = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        self.constants = {x.name: onnx.numpy_helper.to_array(x) for x in self.proto.initializer}
        self.results = {value.name for value in self.proto.output}
        self.index()

    def index(self) -> None:
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.takers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.takers[name].append(node)

    def constant(self, name: str, value: np.ndarray) -> str:
        """A new constant; its name."""
        self.constants[name] = value
        self.proto.initializer.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def attribute(self, node: NodeProto, name: str, default: Any) -> Any:
        found = [a for a in node.attribute if a.name == name]
        return self.onnx.helper.get_attribute_value(found[0]) if found else default

    def rewritten(self, product: NodeProto) -> bool:
        """Whether a product is one of maps and gates, which is then rewritten."""
        for maps, gates in (product.input, reversed(product.input)):
            shape = self.shapes.get(maps, [])
            layers = self.layers(gates, shape[-1]) if len(shape) == 4 and all(shape[1:]) else None
            if layers is not None:
                self.rewrite(product, maps, shape, layers)
                return True
        return False

    def layers(self, gates: str, channels: int) -> tuple[str, list[Layer]] | None:
        """Find the averaged maps, channels last, and the layers of gates `(N, 1, 1, channels)`.

        `None` unless each layer is a dense one, its bias or an activation.
        """
        if self.shapes.get(gates, [])[1:] != [1, 1, channels]:
            return None
        found: list[Layer] = []
        node = self.producer.get(gates)
        while node is not None and node.op_type in ("Reshape", "Unsqueeze"):
            gates = node.input[0]
            node = self.producer.get(gates)
        if self.shapes.get(gates, [])[1:] != [channels]:
            return None
        while node is not None and node.op_type != "ReduceMean":
            values = self.values(node)
            if node.op_type not in ACTIVATIONS and not values:
                return None
            found.append((node, values))
            node = self.producer.get(node.input[0])
        if node is None or self.attribute(node, "keepdims", 1):
            return None
        axes = self.constants.get(node.input[1], np.zeros(0)).tolist() if node.input[1:] else []
        shape = self.shapes.get(node.input[0], [])
        known = axes == [1, 2] and len(shape) == 4 and shape[-1]
        return (node.input[0], found[::-1]) if known else None

    def values(self, node: NodeProto) -> dict[str, np.ndarray]:
        """The `kernel` and the `bias` of a dense layer, or of a part of one; none if it is none."""
        names = [*node.input[1:]]
        if not names or not {*names} <= {*self.constants}:
            return {}
        first, *more = (self.constants[name] for name in names)
        if node.op_type == "MatMul" and first.ndim == 2:
            return {"kernel": first}
        if node.op_type == "Add" and first.ndim == 1:
            return {"bias": first}
        usual = {"alpha": 1, "beta": 1, "transA": 0}
        if node.op_type != "Gemm" or any(
            self.attribute(node, name, value) != value for name, value in usual.items()
        ):
            return {}
        found = {"kernel": first.T if self.attribute(node, "transB", 0) else first}
        if more:
            found["bias"] = np.broadcast_to(more[0].reshape(-1), found["kernel"].shape[1:])
        return found

    def rewrite(
        self, product: NodeProto, maps: str, shape: list[int], layers: tuple[str, list[Layer]]
    ) -> None:
        """Replace a product of maps of a shape, channels last, and gates."""
        make, name = self.onnx.helper.make_node, f"{product.output[0]}/gates"
        new: list[NodeProto] = []

        def add(kind: str, inputs: list[str], **attributes: Any) -> str:
            output = f"{name}/{len(new)}"
            new.append(make(kind, inputs, [output], output, **attributes))
            return output

        before, steps = layers
        x = add("GlobalAveragePool", [add("Transpose", [before], perm=TO_FIRST)])
        last = max((n for n, (_, values) in enumerate(steps) if "kernel" in values), default=None)
        known = self.shapes[before][-1]
        for number, (node, values) in enumerate(steps):
            if "kernel" in values:
                # Zeros that change nothing fill the last block of hidden channels.
                kernel = values["kernel"]
                more = 0 if number == last else -kernel.shape[1] % BLOCK
                kernel = np.pad(kernel, ((0, known - len(kernel)), (0, more)))
                known = kernel.shape[1]
                kernel = kernel.T[..., None, None].copy()
                weights = self.constant(f"{name}/{number}/kernel", kernel)
                x = add("Conv", [x, weights], kernel_shape=[1, 1])
            if "bias" in values:
                bias = np.pad(values["bias"], (0, known - len(values["bias"])))
                bias = bias.reshape(-1, 1, 1)
                x = add("Add", [x, self.constant(f"{name}/{number}/bias", bias)])
            if not values:
                x = add(node.op_type, [x, *node.input[1:]])
                new[-1].attribute.extend(node.attribute)
        batch, height, width, channels = shape
        if batch:
            sizes = self.constant(f"{name}/sizes", np.array([1, 1, height, width], "float32"))
            x = add(
                "Resize", [x, "", sizes], mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
        else:
            # Only a pool is known to keep a batch of any size. Every window holds the one gate of
            # its channel and nothing else.
            for size in ((1, width), (height, 1)):
                pads = [side - 1 for side in size] * 2
                x = add("AveragePool", [x], kernel_shape=size, pads=pads, count_include_pad=0)
        x = add("Mul", [add("Transpose", [maps], perm=TO_FIRST), x])
        if self.is_added(product.output[0]) and channels % BLOCK == 0:
            ones = self.constant(f"{name}/ones", np.ones((channels, 1, 1, 1), "float32"))
            x = add("Conv", [x, ones], kernel_shape=[1, 1], group=channels)
        new.append(make("Transpose", [x], [product.output[0]], perm=TO_LAST))
        place = next(n for n, node in enumerate(self.nodes) if node is product)
        self.nodes[place : place + 1] = new
        self.index()

    def only_taker(self, name: str) -> NodeProto | None:
        """The one node that takes a tensor, transposed or not."""
        while len(self.takers[name]) == 1 and name not in self.results:
            (node,) = self.takers[name]
            if node.op_type != "Transpose":
                return node
            name = node.output[0]
        return None

    def source(self, name: str) -> NodeProto | None:
        """The node that computes a tensor, transposed or not."""
        node = self.producer.get(name)
        while node is not None and node.op_type == "Transpose":
            node = self.producer.get(node.input[0])
        return node

    def is_added(self, name: str) -> bool:
        """Whether a tensor is only added to one that no convolution can take the addition for."""
        node = self.only_taker(name)
        if node is None or node.op_type != "Add" or {*node.input} & {*self.constants}:
            return False
        sources = [self.source(x) for x in node.input]
        return not any(
            s is not None and s.op_type == "Conv" and self.only_taker(s.output[0]) is node
            for s in sources
        )

    def clean(self) -> None:
        """Drop pairs of opposite transpositions and what nothing takes; write the nodes back."""
        same: dict[str, str] = {}
        for node in self.nodes:
            for place, name in enumerate(node.input):
                node.input[place] = same.get(name, name)
            before = self.producer.get(node.input[0]) if node.op_type == "Transpose" else None
            if before is None or before.op_type != "Transpose" or {*node.output} & self.results:
                continue
            first, second = (self.attribute(n, "perm", None) for n in (before, node))
            if [first[axis] for axis in second] == sorted(first):
                same[node.output[0]] = before.input[0]
        needed = set(self.results)
        kept: list[NodeProto] = []
        for node in reversed(self.nodes):
            if needed & {*node.output}:
                needed |= {*node.input}
                kept.append(node)
        tensors = [x for x in self.proto.initializer if x.name in needed]
        for field, values in (("node", kept[::-1]), ("initializer", tensors)):
            self.proto.ClearField(field)
            getattr(self.proto, field).extend(values)
        self.proto.ClearField("value_info")
