"""The pictures that a network or an exported file takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.serving.description import SIZE, network_of

# Signatures that take pictures: that of `keras_se.export`, that of Keras and other packages.
SIGNATURES = ("serve_images", "serving_default")
# `None` is any number.
Shape = tuple[int | None, ...]
# Numbers of channels by which a file's layout is recognised.
CHANNELS = (1, 3)


@dataclass(frozen=True)
class Input:
    """The declared shape of the pictures; `None` is any number."""

    batch: int | None
    height: int | None
    width: int | None
    channels: int
    channels_first: bool

    def shape(self, what: str, batch: int, size: tuple[int, int] | None) -> tuple[int, ...]:
        """Shape of a batch; a batch or size that is not declared raises a `ValueError`."""
        if self.batch not in (None, batch):
            raise ValueError(
                f"`batch` must be that of {what}, {self.batch}. Received: batch={batch}"
            )
        height, width = size or (SIZE, SIZE)
        sides = self.height or height, self.width or width
        if size not in (None, sides):
            raise ValueError(
                f"`size` must be that of {what}, {'x'.join(map(str, sides))}. "
                f"Received: size={height}x{width}"
            )
        return (
            (batch, self.channels, *sides)
            if self.channels_first
            else (*(batch, *sides), self.channels)
        )


def of_model(what: str, model: keras.Model) -> Input:
    """The input of a network's files, which have the channels last."""
    *own, channels = network_of(model).shape
    if len(own) != 2 or channels is None:
        raise ValueError(f"{what}: expected a model of pictures. Received: input of shape {own}")
    return Input(None, own[0], own[1], channels, False)


def of_file(what: str, runtime: str) -> Input:
    """The declared input of an exported file; a `ValueError` if its layout is not clear."""
    try:
        shape = DECLARED[runtime](Path(what))
    except Exception as error:  # Any runtime may raise anything.
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"runtime {runtime!r} cannot read {what} ({reason})") from error
    first = len(shape) == 4 and shape[1] in CHANNELS
    last = len(shape) == 4 and shape[3] in CHANNELS
    if first == last:
        shown = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{what}: expected pictures with 1 or 3 channels in either axis 1 or axis 3 of four. "
            f"Received: an input of shape ({shown})"
        )
    batch, *rest = shape
    channels, height, width = rest if first else (rest[2], rest[0], rest[1])
    assert channels is not None
    return Input(batch, height, width, channels, first)


def _only(inputs: Sequence[Any]) -> Any:
    """The only input."""
    if len(inputs) != 1:
        raise ValueError(f"expected one input. Received: {len(inputs)}")
    return inputs[0]


def sizes(shape: Sequence[Any]) -> Shape:
    """A shape with `None` for what is not a size: -1, a name, a question mark."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)


def signature(path: Path) -> tuple[str, str, Shape]:
    """The signature of pictures in a SavedModel, its argument, and the argument's shape."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    found = proto.meta_graphs[0].signature_def
    name = next((name for name in SIGNATURES if name in found), None)
    if name is None:
        raise ValueError(f"{path}: expected one of the signatures {', '.join(SIGNATURES)}")
    inputs = found[name].inputs
    if [spec.dtype for spec in inputs.values()] != [types_pb2.DT_FLOAT]:
        raise ValueError(f"{path}: signature {name!r} must take float32 pictures and nothing else")
    ((argument, spec),) = inputs.items()
    return name, argument, sizes([size.size for size in spec.tensor_shape.dim])


def _onnx_shape(path: Path) -> Shape:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return sizes(_only(session.get_inputs()).shape)


def _openvino_shape(path: Path) -> Shape:
    import openvino

    return partial(_only(openvino.Core().read_model(path).inputs).partial_shape)


def partial(shape: Any) -> Shape:
    """OpenVINO's shape; nothing if even the number of axes is not known."""
    if shape.rank.is_dynamic:
        return ()
    return tuple(size.get_length() if size.is_static else None for size in shape)


def interpreter_of(path: Path, threads: int | None = None) -> Any:
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow warns that the interpreter moves to a package of its own.
        warnings.simplefilter("ignore")
        return tf.lite.Interpreter(str(path), num_threads=threads)


def _litert_shape(path: Path) -> Shape:
    taken = _only(interpreter_of(path).get_input_details())
    return sizes(taken["shape_signature"].tolist())


# Reads the shape of a file's only input; by format of `keras_se.export`.
DECLARED: dict[str, Callable[[Path], Shape]] = {
    "tf_saved_model": lambda path: signature(path)[2],
    "openvino": _openvino_shape,
    "onnx": _onnx_shape,
    "litert": _litert_shape,
}
