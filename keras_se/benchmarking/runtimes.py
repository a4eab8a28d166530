"""Runtimes that run a network repeatedly on one batch of pictures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.benchmarking.inputs import Shape, interpreter_of, partial, signature, sizes
from keras_se.resolve import load_keras
from keras_se.serving.description import network_of

# OpenVINO's name of each precision, and the CPU capability that it needs. In a file of 8-bit
# integers it is the precision of the remaining operations.
PRECISIONS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "int8": ("f32", "INT8")}
# Precision of a given file in a runtime that cannot change it.
OWN = "own"

Answer = Callable[[], Any]


@dataclass(frozen=True)
class Runtime:
    """How to run a file of a format.

    Attributes:
        suffix: Suffix of the file; "" for a folder.
        package: The required package, whose version is reported with the figures.
        precisions: The precisions that it supports.
        load: Takes the file, a batch of pictures, float32 in 0..255, the number of threads and the
            precision; returns a function that runs the file on the batch.
    """

    suffix: str
    package: str
    precisions: tuple[str, ...]
    load: Callable[[Path, np.ndarray, int, str], Answer]


def _check_shape(shape: Shape, images: np.ndarray) -> None:
    """Raise a `ValueError` unless the pictures have the shape.

    Some runtimes do not check it and compute something from pictures of any size.
    """
    if any(own not in (None, given) for own, given in zip(shape, images.shape, strict=True)):
        raise ValueError(f"it takes {'x'.join(str(size or 'any') for size in shape)}")


def _saved_model(path: Path, images: np.ndarray, threads: int, precision: str) -> Answer:
    import tensorflow as tf

    name, argument, shape = signature(path)
    _check_shape(shape, images)
    loaded = tf.saved_model.load(str(path))
    served, arguments = loaded.signatures[name], {argument: tf.constant(images)}

    def answer() -> np.ndarray:
        # Keeps the loaded object alive, which owns the functions.
        assert loaded is not None
        outputs = [value.numpy() for value in served(**arguments).values()]
        return max(outputs, key=lambda value: value.dtype.kind == "f" and value.size)

    return answer


def _onnx(path: Path, images: np.ndarray, threads: int, precision: str) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Otherwise its threads spin while other runtimes are timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    feed = {taken.name: images.astype("uint8" if "uint8" in taken.type else "float32")}
    return lambda: session.run(None, feed)[0]


def _openvino(path: Path, images: np.ndarray, threads: int, precision: str) -> Answer:
    import openvino

    core = openvino.Core()
    network = core.read_model(path)
    _check_shape(partial(network.inputs[0].partial_shape), images)
    network.reshape(list(images.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        # Some CPUs default to half precision.
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision][0],
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(network, "CPU", settings)
    given = images.astype(network.inputs[0].element_type.to_dtype())
    return lambda: compiled(given)[0]


def _litert(path: Path, images: np.ndarray, threads: int, precision: str) -> Answer:
    interpreter = interpreter_of(path, threads)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    _check_shape(sizes(taken["shape_signature"].tolist()), images)
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    batch = images.astype(taken["dtype"])

    def answer() -> np.ndarray:
        interpreter.set_tensor(taken["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return answer


def _keras(path: Path, images: np.ndarray, threads: int, precision: str) -> Answer:
    network = network_of(load_keras(path))
    return graph(lambda x: list(network.answers(x).values()), images)


def graph(function: Callable[[Any], Any], images: np.ndarray) -> Answer:
    """A function that runs a Keras model on images as one TensorFlow graph."""
    import tensorflow as tf

    compiled, pictures = tf.function(function, autograph=False), tf.constant(images)
    return lambda: [y.numpy() for y in compiled(pictures)]


# By format of `keras_se.export`.
RUNTIMES = {
    "tf_saved_model": Runtime("", "tensorflow", ("float32",), _saved_model),
    "openvino": Runtime(".xml", "openvino", ("float32", "bfloat16", "int8"), _openvino),
    "onnx": Runtime(".onnx", "onnxruntime", ("float32", "int8"), _onnx),
    "litert": Runtime(".tflite", "tensorflow", ("float32", "int8"), _litert),
}
# The model itself as a TensorFlow graph, not exported.
KERAS = "keras"
ALL = {KERAS: Runtime(".keras", "tensorflow", ("float32",), _keras), **RUNTIMES}


def check_runtime(name: str, precision: str, modules: Sequence[str] = ()) -> None:
    """Raise a `ValueError` unless the runtime and modules are installed for the precision."""
    for module in dict.fromkeys((ALL[name].package, *modules)):
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"runtime {name!r} needs {module}: pip install 'keras-se[export]'")
    if precision != OWN and precision not in precisions(name):
        raise ValueError(f"`precision` must be one that this CPU supports. Received: {precision!r}")


def precisions(name: str) -> list[str]:
    """The precisions that a runtime supports on this CPU."""
    supported = ALL[name].precisions
    if name != "openvino":
        return [*supported]
    import openvino

    found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for precision in supported if PRECISIONS[precision][1] in found]


def runtime_of(path: Path) -> str | None:
    """The runtime of an exported file; `None` for anything else."""
    if (path / "saved_model.pb").is_file():
        return "tf_saved_model"
    suffixes = {runtime.suffix: name for name, runtime in RUNTIMES.items() if runtime.suffix}
    return suffixes.get(path.suffix) if path.is_file() else None
