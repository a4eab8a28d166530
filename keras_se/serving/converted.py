"""ONNX, OpenVINO and LiteRT, converted from one graph without variables."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_se.inspection import layers_of
from keras_se.serving.blocked_gates import with_blocked_gates
from keras_se.serving.network import ServedNetwork, called_with, variables_of, without_xla
from keras_se.serving.onnx_weights import fill_in

if TYPE_CHECKING:
    import tensorflow as tf

OPSET = 18
INPUT, OUTPUT = "images", "predictions"
# By the number of spatial axes.
DIMENSIONS = {
    1: ("batch", "length"),
    2: ("batch", "height", "width"),
    3: ("batch", "depth", "height", "width"),
}


# Larger weights are inputs of an ONNX graph until it is finished, in bytes.
SMALL = 2**14


def _frozen(network: ServedNetwork) -> Any:
    """The network as a TensorFlow function with constant weights."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    def predictions(images: tf.Tensor) -> list[tf.Tensor]:
        return _named(network, network.answers(tf.cast(images, tf.float32)))

    with without_xla():
        function = tf.function(predictions, autograph=False).get_concrete_function(_spec(network))
    return convert_variables_to_constants_v2(function)


def _open(network: ServedNetwork) -> tuple[Any, dict[str, np.ndarray]]:
    """The network as a TensorFlow function that takes its large weights after the images; those."""
    import tensorflow as tf

    model = network.model
    arrays = [keras.ops.convert_to_numpy(variable) for variable in variables_of(model)]
    numbered = {f"weight_{n}": array for n, array in enumerate(arrays)}
    large = {name: array for name, array in numbered.items() if array.nbytes > SMALL}

    def predictions(images: tf.Tensor, *weights: tf.Tensor) -> list[tf.Tensor]:
        given = dict(zip(large, weights, strict=True))
        values = [
            given[name] if name in given else tf.constant(array) for name, array in numbered.items()
        ]
        outputs = called_with(model, values, network.ordered(tf.cast(images, tf.float32)))
        return _named(network, network.scored(outputs))

    specs = [tf.TensorSpec(array.shape, array.dtype, name) for name, array in large.items()]
    with without_xla():
        function = tf.function(predictions, autograph=False)
        return function.get_concrete_function(_spec(network), *specs), large


def _spec(network: ServedNetwork) -> tf.TensorSpec:
    import tensorflow as tf

    return tf.TensorSpec((network.batch, *network.shape), network.input_type, INPUT)


def _named(network: ServedNetwork, answers: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    import tensorflow as tf

    return [tf.identity(y, name) for name, y in zip(names(network), answers.values(), strict=True)]


def names(network: ServedNetwork) -> list[str]:
    """Names of the outputs: `predictions` if there is one, else the model's own."""
    if len(network.outputs) == 1:
        return [OUTPUT]
    # Only characters that TensorFlow and the runtimes accept.
    return [re.sub(r"\W", "_", name) for name in network.outputs]


def _batches(images: np.ndarray, network: ServedNetwork) -> list[np.ndarray]:
    """Images as batches of the network's size, else of one; one is repeated to fill its batch."""
    return [np.repeat(image[None], network.batch or 1, axis=0) for image in images]


def _labels(network: ServedNetwork) -> tuple[str, ...]:
    return network.labels or ()


def convert_to_onnx(
    network: ServedNetwork, representative: np.ndarray | None = None
) -> Callable[[Path], None]:
    """Convert to ONNX, with the class names as JSON in the property `labels`; return the writer."""
    import onnx
    import tf2onnx

    function, weights = _open(network)
    with _without_copies():
        proto, _ = tf2onnx.convert.from_graph_def(
            function.graph.as_graph_def(),
            name=network.model.name,
            input_names=[f"{name}:0" for name in (INPUT, *weights)],
            output_names=[output.name for output in function.outputs],
            opset=OPSET,
            tensors_to_rename={f"{name}:0": name for name in (INPUT, *weights)}
            | {y.name: name for y, name in zip(function.outputs, names(network), strict=True)},
        )
    fill_in(proto, weights)
    dimensions = DIMENSIONS[len(network.shape) - 1]
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, dimensions, strict=False):
            if not dimension.HasField("dim_value"):
                dimension.dim_param = name
    if representative is None:
        with_blocked_gates(proto)
    else:
        proto = _in_eight_bits(proto, _batches(network.typed(representative), network))
    onnx.helper.set_model_props(proto, {"labels": json.dumps(_labels(network))})
    return lambda path: onnx.save(proto, path)


@contextmanager
def _without_copies() -> Iterator[None]:
    """Let tf2onnx optimise a graph in place.

    By default it copies the graph, weights included, before each of dozens of passes, so as to go
    on with the copy if a pass fails: 12 GB for SE-ResNet-50.
    """
    name = "TF2ONNX_CATCH_ERRORS"
    before = os.environ.get(name)
    os.environ[name] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _in_eight_bits(proto: Any, batches: list[np.ndarray]) -> Any:
    """The ONNX model between operations that quantise (QDQ), with ranges measured on batches."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.remaining = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            images = next(self.remaining, None)
            return None if images is None else {INPUT: images}

    disabled = logging.root.manager.disable
    # It advises, on the root logger, a preparation that changes neither speed nor accuracy.
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.onnx")
            # Seven bits of the weights: processors without VNNI saturate sums of eight.
            quantization.quantize_static(
                proto, path, Reader(), quantization.QuantFormat.QDQ, per_channel=True,
                reduce_range=True, activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )  # fmt: skip
            return onnx.load(path)
    finally:
        logging.disable(disabled)


def _answered(
    answer: Callable[[np.ndarray], list[np.ndarray]], images: np.ndarray, size: int | None
) -> list[np.ndarray]:
    """Answers to images in batches of a size, by default in one."""
    size = size or len(images)
    parts = [answer(images[n : n + size]) for n in range(0, len(images), size)]
    return [np.concatenate(several) for several in zip(*parts, strict=True)]


def run_onnx(path: Path, images: np.ndarray, size: int | None = None) -> list[np.ndarray]:
    """Run the file on images in batches of a size; answers are in the order of the outputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return _answered(lambda batch: list(session.run(None, {INPUT: batch})), images, size)


def convert_to_openvino(
    network: ServedNetwork, representative: np.ndarray | None = None
) -> Callable[[Path], None]:
    """Convert to OpenVINO, with the class names as JSON in its runtime information `labels`.

    Returns the writer of the file and of its weights beside it.
    """
    import openvino

    model = openvino.convert_model(_frozen(network).graph.as_graph_def())
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, names(network), strict=True):
        output.get_tensor().set_names({name})
    if representative is not None:
        import nncf

        pictures = _batches(network.typed(representative), network)
        # The fast correction costs a depthwise network more than a point of accuracy.
        model = nncf.quantize(
            model, nncf.Dataset(pictures), subset_size=len(pictures), fast_bias_correction=False
        )
    model.set_rt_info(json.dumps(_labels(network)), "labels")
    return lambda path: openvino.save_model(model, path, compress_to_fp16=False)


def run_openvino(path: Path, images: np.ndarray, size: int | None = None) -> list[np.ndarray]:
    """Run the file on images in batches of a size; answers are in the order of the outputs.

    It runs in float32 even if the processor prefers half precision.
    """
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answer(batch: np.ndarray) -> list[np.ndarray]:
        answers = model(batch)
        return [answers[output] for output in model.outputs]

    return _answered(answer, images, size)


def convert_to_litert(
    network: ServedNetwork, representative: np.ndarray | None = None
) -> Callable[[Path], None]:
    """Convert to LiteRT, a file that is also a ZIP archive with `labels.txt`; return the writer."""
    import tensorflow as tf

    pools = (keras.layers.AveragePooling3D, keras.layers.MaxPooling3D)
    pool = next((layer for layer in layers_of(network.model) if isinstance(layer, pools)), None)
    if pool is not None:
        raise ValueError(f"LiteRT has no pools of volumes, as in layer {pool.name!r}")
    integers = network.input_type == "uint8" and representative is not None
    # The converter itself gives a quantised file its integer input.
    function = _frozen(replace(network, input_type="float32") if integers else network)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if representative is not None:

        def pictures() -> Iterator[list[np.ndarray]]:
            images = network.typed(representative).astype("float32")
            if integers:
                # A range of exactly 0 to 255, so that pixels are the file's own integers.
                images[0].flat[[0, -1]] = 0, 255
            for batch in _batches(images, network):
                yield [batch]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = pictures
        if integers:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
    data = _without_names(converter.convert())

    def save(path: Path) -> None:
        path.write_bytes(data)
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(zipfile.ZipInfo("labels.txt"), "\n".join(_labels(network)))

    return save


def _without_names(data: bytes) -> bytes:
    """Strip the names of inner tensors, which can be a tenth of a small network's file."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(data)
    for graph in model.subgraphs:
        kept = {*graph.inputs, *graph.outputs}
        for number, tensor in enumerate(graph.tensors):
            if number not in kept:
                tensor.name = b""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def run_litert(path: Path, images: np.ndarray, size: int | None = None) -> list[np.ndarray]:
    """Run the file on images in batches of a size; answers are in the order of the outputs."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow warns that the interpreter moves to a package of its own.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(path))
    (taken,) = interpreter.get_input_details()

    def answer(batch: np.ndarray) -> list[np.ndarray]:
        interpreter.resize_tensor_input(taken["index"], batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], batch)
        interpreter.invoke()
        return [_real(interpreter, given) for given in interpreter.get_output_details()]

    return _answered(answer, images, size)


def _real(interpreter: Any, given: dict[str, Any]) -> np.ndarray:
    """An output as float32."""
    values = np.asarray(interpreter.get_tensor(given["index"]))
    scale, zero = given["quantization"]
    return (values.astype("float32") - zero) * np.float32(scale) if scale else values
