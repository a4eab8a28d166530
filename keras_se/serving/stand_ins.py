"""Constants of a SavedModel that stand for weights until the file is finished.

TensorFlow copies the graphs of functions dozens of times before it writes them, and a dozen times
when it loads them: constants of one number cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

# Prefix of the names of constants that stand for weights.
WEIGHT = "keras_se_weight_"


def stand_in(number: int, variable: Any) -> tf.Tensor:
    """A constant in place of a variable's value, of which the graph stores only one number."""
    import tensorflow as tf

    return tf.constant(0, variable.dtype, variable.shape, f"{WEIGHT}{number}")


def fill_in(folder: Path, variables: Sequence[Any]) -> None:
    """Replace the stand-ins in a SavedModel by the values of the variables."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model import fingerprinting_utils

    file = folder / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for _, node in _weights(proto):
        variable = variables[int(node.name.removeprefix(WEIGHT))]
        value = tf.make_tensor_proto(keras.ops.convert_to_numpy(variable))
        node.attr["value"].tensor.CopyFrom(value)
    file.write_bytes(proto.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))


def as_variables(saved: Any) -> dict[str, np.ndarray]:
    """Make a SavedModel read its weights from variables; gives its constants by name.

    Each `Const` becomes an `Identity` of the variable that is shared under its name.
    """
    import tensorflow as tf

    values = {}
    for function, node in list(_weights(saved)):
        tensor, kind = node.attr["value"].tensor, node.attr["dtype"]
        values[node.name] = tf.make_ndarray(tensor)
        handle = function.node_def.add(name=f"{node.name}_handle", op="VarHandleOp")
        handle.attr["dtype"].CopyFrom(kind)
        handle.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        handle.attr["shared_name"].s = node.name.encode()
        read = function.node_def.add(name=f"{node.name}_read", op="ReadVariableOp")
        read.input.append(f"{handle.name}:resource:0")
        read.attr["dtype"].CopyFrom(kind)
        node.op = "Identity"
        node.input.append(f"{read.name}:value:0")
        node.attr["T"].CopyFrom(kind)
        del node.attr["value"], node.attr["dtype"]
    return values


def _weights(saved: Any) -> Iterator[tuple[Any, Any]]:
    """The functions of a SavedModel with their constants that are weights."""
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in list(function.node_def):
            if node.op == "Const" and node.name.startswith(WEIGHT):
                yield function, node
