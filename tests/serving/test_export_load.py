"""One exported SavedModel behind eight threads; 8-bit networks on the whole test set."""

from __future__ import annotations

import gc
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
import tensorflow as tf
from command_line import Run, assert_mistake
from exported import NAMES, fashion
from picture_files import encoded
from PIL import Image
from processes import alone, resident

import keras_se
from keras_se.data.datasets import load_pictures
from keras_se.serving import exporting, sources
from keras_se.serving.formats import INPUT_TYPES

pytestmark = pytest.mark.export

REQUESTS, THREADS = 2000, 8
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}
# Top-1 accuracy of the float32 networks on the test set.
TOP1 = {"se_resnet20.fashion_mnist": 0.9468, "se_mobilenet_0_25.fashion_mnist": 0.9205}
# Of 8-bit networks: points of top-1 on the test set, pictures with the same class, and the share of
# the float32 file; ONNX keeps biases, scales and the names of many small operations.
LOSS, AGREEMENT = 0.005, 0.96
SHARE = {
    "se_resnet20.fashion_mnist": {"litert": 0.3, "openvino": 0.3, "onnx": 0.56},
    "se_mobilenet_0_25.fashion_mnist": {"litert": 0.4, "openvino": 0.3, "onnx": 0.56},
}


def test_under_load(tmp_path: Path) -> None:
    """2,000 requests, good and bad pictures mixed: every answer right, memory flat."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    path = keras_se.export(model, tmp_path / "shoes").path
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    good, bad = exported.files(), exported.bad_files()
    errors = {
        data: serve(image_bytes=tf.constant([data]))["error"].numpy()[0] for data in bad.values()
    }
    assert all(errors.values())
    known = [*((data, label) for data, label in zip(good, NAMES, strict=True))]
    known += [(data, None) for data in bad.values()]

    def request(seed: int) -> None:
        chosen = random.Random(seed).choices(known, k=seed % 5)
        answer = serve(image_bytes=tf.constant([data for data, _ in chosen], tf.string))
        for (data, label), names, error in zip(
            chosen, answer["labels"].numpy(), answer["error"].numpy(), strict=True
        ):
            assert error == errors.get(data, b"")
            assert names[0].decode() == (label or "")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(request, range(REQUESTS // 4)))
        gc.collect()
        before = resident()
        list(pool.map(request, range(REQUESTS // 4, REQUESTS)))
        gc.collect()
    assert resident() - before < 30 * 2**20


@pytest.fixture(scope="module")
def fashion_test() -> tuple[np.ndarray, np.ndarray]:
    data: Any = load_pictures("fashion_mnist")
    return data["test"].pictures.astype("float32"), data["test"].labels


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("weights", TOP1)
@pytest.mark.parametrize("name", SUFFIXES)
def test_8_bits(
    name: str,
    weights: str,
    input_type: str,
    fashion_test: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    model, suffix, (pictures, labels) = keras_se.get_model(weights), SUFFIXES[name], fashion_test
    (calibration,) = sources.pictures("fashion_mnist")
    assert calibration[0].shape == (300, 28, 28, 1)
    floats = keras_se.export(model, tmp_path / f"net{suffix}", name)
    small = keras_se.export(
        model, tmp_path / f"net8{suffix}", name, input_type=input_type,
        representative=iter([calibration]),
    )  # fmt: skip
    run = exporting.FORMATS[name].run
    top1 = [
        float(np.mean(run(report.path, pictures.astype(kind), 500)[0].argmax(1) == labels))
        for report, kind in ((floats, "float32"), (small, input_type))
    ]
    print(name, weights, input_type, *top1, small.bytes / floats.bytes, small.agreement)
    assert top1[0] == pytest.approx(TOP1[weights], abs=0.0005)
    assert top1[1] > top1[0] - LOSS
    # OpenVINO's description of the graph is text, as large as the weights of so small a network.
    weights_of = [report.path.with_suffix(".bin") for report in (floats, small)]
    sizes = [file.stat().st_size for file in weights_of] if name == "openvino" else []
    sizes = sizes or [floats.bytes, small.bytes]
    assert sizes[1] <= SHARE[weights][name] * sizes[0]
    # The report, from the calibration pictures and their labels.
    train: Any = load_pictures("fashion_mnist")["train"][:300]
    (scores,) = run(small.path, train.pictures.astype(input_type), 300)
    expected = model.predict(train.pictures.astype("float32"), verbose=0)
    assert small.agreement == np.mean(scores.argmax(1) == expected.argmax(1))
    assert small.agreement > AGREEMENT
    assert small.accuracy == tuple(np.mean(y.argmax(1) == train.labels) for y in (expected, scores))
    assert (floats.agreement, floats.accuracy) == (None, None)


def test_integers_only(tmp_path: Path) -> None:
    """A LiteRT file for accelerators: pixels go in as they are, and nothing computes in floats."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    path = tmp_path / "net.tflite"
    keras_se.export(
        model, path, "litert", input_type="uint8", representative=sources.pictures("fashion_mnist")
    )
    interpreter = tf.lite.Interpreter(
        str(path),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"], taken["quantization"]) == (np.uint8, (pytest.approx(1), 0))
    assert (given["dtype"], given["quantization"]) == (np.uint8, (pytest.approx(1 / 256), 0))
    kinds = {np.dtype(tensor["dtype"]).kind for tensor in interpreter.get_tensor_details()}
    assert kinds <= {"i", "u"}


@pytest.mark.parametrize("name", SUFFIXES)
def test_integer_pictures(name: str, tmp_path: Path) -> None:
    """In floats the same answers."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    path = tmp_path / f"net{SUFFIXES[name]}"
    keras_se.export(model, path, name, input_type="uint8", batch_size=5)
    (answers,) = exporting.FORMATS[name].run(path, fashion()[:5])
    expected = model.predict(fashion()[:5].astype("float32"), verbose=0)
    np.testing.assert_allclose(answers, expected, atol=1e-4)


def test_8_bits_on_the_command_line(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(fashion()):
        Image.fromarray(picture[..., 0]).save(folder / f"{number}.png")
    target = tmp_path / "net.tflite"
    arguments = ("export", exported.WEIGHTS, target, "--format", "litert", "--int8", folder)
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    assert json.loads(out)["path"] == str(target)
    (received,) = exporting.FORMATS["litert"].run(target, fashion().astype("float32"))
    assert [NAMES[n] for n in received.argmax(1)] == NAMES
    target.unlink()
    (folder / "cut.png").write_bytes(encoded(Image.new("L", (28, 28)), "PNG")[:40])
    assert_mistake(run(*arguments), folder / "cut.png")
    assert_mistake(run(*arguments[:-1], tmp_path / "nothing"), "representative")
    assert not target.exists()


MEMORY = """
import resource, sys
import keras_se
model = keras_se.SEResNet50(weights=None)
weights = sum(variable.numpy().nbytes for variable in model.variables)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
keras_se.export(model, sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / weights)
"""


def test_memory(tmp_path: Path) -> None:
    """`export` takes less than 25 times the memory of the weights; the check takes half of that."""
    assert float(alone(MEMORY, tmp_path / "net")) < 25
