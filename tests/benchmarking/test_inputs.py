"""Exported files of any origin are timed on pictures of the shape that they declare."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import Run, assert_mistake
from keras import layers

from keras_se.benchmarking.inputs import of_file


def peer(path: Path, *shape: int | None) -> Path:
    """A SavedModel of another package that takes batches of this shape."""
    inputs = keras.Input(shape)
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).export(path, verbose=False)
    return path


def onnx_file(path: Path, *shape: int | str | None) -> Path:
    """An ONNX file of another package that takes batches of this shape."""
    onnx = pytest.importorskip("onnx")
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        "peer",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info("y", kind, [None] * len(shape))],
    )
    opset = onnx.helper.make_opsetid("", 13)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def pictures_of(run: Run, path: Path, *arguments: object) -> list[int]:
    code, out, err = run("benchmark", path, "--rounds", 1, *arguments, "--json")
    assert code == 0, err
    (line,) = json.loads(out)["lines"]
    assert line["precision"] in ("own", "float32")
    return line["pictures"]


@pytest.mark.parametrize(("shape", "options", "expected"), [
    ((3, 33, 31), (), [1, 3, 33, 31]),
    ((3, 33, 31), ("--size", "33x31", "--batch", 2), [2, 3, 33, 31]),
    ((33, 31, 1), (), [1, 33, 31, 1]),
    ((3, None, 40), ("--size", "48x40"), [1, 3, 48, 40]),
    ((None, None, 3), (), [1, 224, 224, 3]),
])  # fmt: skip
def test_layout_and_size_are_those_of_the_file(
    run: Run, tmp_path: Path, shape: tuple[int | None, ...], options: tuple[object, ...],
    expected: list[int],
) -> None:  # fmt: skip
    assert pictures_of(run, peer(tmp_path / "peer", *shape), *options) == expected


@pytest.mark.parametrize("shape", [(3, 33, 3), (33, 31, 5), (1, 28, 1)])
def test_a_layout_that_is_not_clear(run: Run, tmp_path: Path, shape: tuple[int, ...]) -> None:
    result = run("benchmark", peer(tmp_path / "peer", *shape))
    assert_mistake(result, "either axis 1 or axis 3", f"(any, {', '.join(map(str, shape))})")


@pytest.mark.parametrize(("options", "words"), [
    (("--size", "31x33"), ["`size` must be that of", "33x31", "size=31x33"]),
    (("--precision", "bfloat16"), ["'bfloat16'"]),
    (("--plain",), ["`plain`", "builders"]),
])  # fmt: skip
def test_mistakes(run: Run, tmp_path: Path, options: tuple[str, ...], words: list[str]) -> None:
    assert_mistake(run("benchmark", peer(tmp_path / "peer", 3, 33, 31), *options), *words)


def test_a_file_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"nothing")
    result = run("benchmark", tmp_path / "net.tflite")
    assert_mistake(result, "runtime 'litert' cannot read", "net.tflite")


@pytest.mark.export
@pytest.mark.parametrize(("shape", "options", "expected"), [
    (("n", 3, "?", "?"), ("--size", "48x192", "--batch", 2), [2, 3, 48, 192]),
    ((None, 1, 20, 30), (), [1, 1, 20, 30]),
    ((1, 3, "h", "w"), (), [1, 3, 224, 224]),
])  # fmt: skip
def test_onnx_and_openvino(
    run: Run, tmp_path: Path, shape: tuple[int | str, ...], options: tuple[object, ...],
    expected: list[int],
) -> None:  # fmt: skip
    openvino = pytest.importorskip("openvino")
    path = onnx_file(tmp_path / "peer.onnx", *shape)
    assert pictures_of(run, path, *options) == expected
    openvino.save_model(openvino.Core().read_model(path), tmp_path / "peer.xml")
    assert pictures_of(run, tmp_path / "peer.xml", *options) == expected


@pytest.mark.export
def test_a_batch_that_the_file_fixes(run: Run, tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "peer.onnx", 8, 3, 20, 30)
    assert_mistake(run("benchmark", path), "`batch` must be that of", "8. Received: batch=1")


@pytest.mark.export
def test_only_pictures(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "peer.onnx", None, 3, 20)
    with pytest.raises(ValueError, match=r"shape \(any, 3, 20\)"):
        of_file(str(path), "onnx")


def test_channels_first_answers(tmp_path: Path) -> None:
    from keras_se.benchmarking.benchmark import subject
    from keras_se.benchmarking.plan import noise

    path = peer(tmp_path / "peer", 3, 33, 31)
    answer = subject("peer", "tf_saved_model", path, noise((2, 3, 33, 31)), 1, "own").answer()
    assert np.asarray(answer).shape == (2, 2)
