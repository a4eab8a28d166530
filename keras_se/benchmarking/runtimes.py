"""Runtimes that run a network repeatedly on one batch of pictures."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.checks import one_of

# Signatures that take pictures: that of `keras_se.export`, that of Keras and other packages.
SIGNATURES = ("serve_images", "serving_default")
# OpenVINO's name of each precision, and the CPU capability that it needs.
PRECISIONS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16")}

Answer = Callable[[], Any]


@dataclass(frozen=True)
class Runtime:
    """How to run a file of a format.

    Attributes:
        suffix: Suffix of the file; "" for a folder.
        package: The required package, whose version is reported with the figures.
        load: Takes the file, a batch of pictures, float32 `(batch, H, W, C)` in 0..255, the number
            of threads and the precision; returns a function that runs the file on the batch.
    """

    suffix: str
    package: str
    load: Callable[[Path, np.ndarray, int, str], Answer]


def _check_shape(shape: Sequence[int], images: np.ndarray) -> None:
    """Raise a `ValueError` unless the pictures have the shape, where -1 is any size.

    Some runtimes do not check it and compute something from pictures of any size.
    """
    if any(own not in (-1, given) for own, given in zip(shape, images.shape, strict=True)):
        raise ValueError(f"it takes {'x'.join(map(str, shape))}, -1 being any number")


def _saved_model(path: Path, images: np.ndarray, threads: int, precision: str) -> Answer:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    name = next((name for name in SIGNATURES if name in loaded.signatures), None)
    if name is None:
        raise ValueError(f"{path}: expected one of the signatures {', '.join(SIGNATURES)}")
    served = loaded.signatures[name]
    inputs = served.structured_input_signature[1]
    if [spec.dtype for spec in inputs.values()] != [tf.float32]:
        raise ValueError(f"{path}: signature {name!r} must take float32 pictures and nothing else")
    _check_shape([size or -1 for size in next(iter(inputs.values())).shape], images)
    arguments = {next(iter(inputs)): tf.constant(images)}

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
    own = network.inputs[0].partial_shape
    _check_shape([size.get_length() if size.is_static else -1 for size in own], images)
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
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow warns that the interpreter moves to a package of its own.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(path), num_threads=threads)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    _check_shape(taken["shape_signature"], images)
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    batch = images.astype(taken["dtype"])

    def answer() -> np.ndarray:
        interpreter.set_tensor(taken["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return answer


# By format of `keras_se.export`.
RUNTIMES = {
    "tf_saved_model": Runtime("", "tensorflow", _saved_model),
    "openvino": Runtime(".xml", "openvino", _openvino),
    "onnx": Runtime(".onnx", "onnxruntime", _onnx),
    "litert": Runtime(".tflite", "tensorflow", _litert),
}
# The model itself as a TensorFlow graph, not exported.
KERAS = "keras"


def graph(function: Callable[[Any], Any], images: np.ndarray) -> Answer:
    """A function that runs a Keras model on images as one TensorFlow graph."""
    import tensorflow as tf

    compiled, pictures = tf.function(function, autograph=False), tf.constant(images)
    return lambda: [y.numpy() for y in compiled(pictures)]


def check_runtime(name: str, precision: str) -> None:
    """Raise a `ValueError` unless the runtime is known, installed and supports the precision."""
    one_of(KERAS, *RUNTIMES)("runtime", name)
    one_of(*PRECISIONS)("precision", precision)
    package = RUNTIMES[name].package if name in RUNTIMES else "tensorflow"
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"runtime {name!r} needs {package}: pip install 'keras-se[export]'")
    if precision != "float32" and name != "openvino":
        raise ValueError(
            f"`precision` must be 'float32' unless runtime='openvino'. Received: {precision!r} "
            f"with runtime {name!r}"
        )
    if precision not in precisions(name):
        raise ValueError(f"`precision` must be one that this CPU supports. Received: {precision!r}")


def precisions(name: str) -> list[str]:
    """The precisions that a runtime supports on this CPU."""
    if name != "openvino":
        return ["float32"]
    import openvino

    found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for precision, (_, needed) in PRECISIONS.items() if needed in found]


def runtime_of(path: Path) -> str | None:
    """The runtime of an exported file; `None` for anything else."""
    if (path / "saved_model.pb").is_file():
        return "tf_saved_model"
    suffixes = {runtime.suffix: name for name, runtime in RUNTIMES.items() if runtime.suffix}
    return suffixes.get(path.suffix) if path.is_file() else None
