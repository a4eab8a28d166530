"""The formats that `export` writes: how each is written and run, and what it needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.serving import converted, saved_model


@dataclass(frozen=True)
class Format:
    """How a format is written and run.

    Attributes:
        suffix: Suffix of the path; "" for a folder.
        needs: Modules needed besides TensorFlow.
        convert: Converts a network to a function that writes it to a path; with `quantises` also
            takes images to quantise by.
        run: Runs the file at a path on images.
        quantises: Additional modules for int8, or `None` if it is not supported.
    """

    suffix: str
    needs: tuple[str, ...]
    convert: Callable[..., Callable[[Path], None]]
    run: Callable[[Path, np.ndarray], Any]
    quantises: tuple[str, ...] | None = None


INPUT_TYPES = ("float32", "uint8")
ONNX = ("tf2onnx", "onnx", "onnxruntime")
FORMATS = {
    "tf_saved_model": Format("", (), saved_model.convert, saved_model.run),
    "onnx": Format(".onnx", ONNX, converted.convert_to_onnx, converted.run_onnx, ()),
    "openvino": Format(
        ".xml", ("openvino",), converted.convert_to_openvino, converted.run_openvino, ("nncf",)
    ),
    "litert": Format(".tflite", (), converted.convert_to_litert, converted.run_litert, ()),
}


def check_path(path: Any, chosen: Format, serving: bool, folder: bool) -> Path:
    """Return the path to write, with `serving` a version's; raise a `ValueError` if it exists."""
    if not isinstance(path, str | Path) or not str(path):
        raise ValueError(f"`path` must be a path. Received: path={path!r}")
    path = Path(path)
    if serving:
        if not folder:
            raise ValueError("`serving` is only supported with format='tf_saved_model'")
        if path.exists() and not path.is_dir():
            raise ValueError(f"`path` must be a folder with serving=True. Received: {path}")
        names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
        path /= str(1 + max((int(name) for name in names if name.isdecimal()), default=0))
    if chosen.suffix and path.suffix != chosen.suffix:
        raise ValueError(f"`path` must end in {chosen.suffix}. Received: {path}")
    for part in parts(path):
        if part.exists() or part.is_symlink():
            raise ValueError(f"`path` must not exist yet. Received: {part}")
    return path


def parts(path: Path) -> list[Path]:
    """The files of an export; OpenVINO has two."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def check_modules(chosen: Format, serving: bool, representative: Any) -> None:
    """Raise a `ValueError` unless all that the format needs is installed."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "export needs Keras' TensorFlow backend (KERAS_BACKEND=tensorflow). "
            f"Received: {keras.backend.backend()!r}"
        )
    if representative is not None and chosen.quantises is None:
        raise ValueError(
            "`representative` is only supported with format 'onnx', 'openvino' or 'litert'"
        )
    needed = chosen.needs + ((chosen.quantises or ()) if representative is not None else ())
    needed += ("tensorflow_serving",) if serving else ()
    for name in needed:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"this export needs the module {name}: pip install 'keras-se[export]'")
