"""Exported files in the runtimes that people deploy to, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import exported
import fashion_mnist_files
import keras
import numpy as np
import pytest
import tensorflow as tf
import training_runs
from command_line import Run, assert_mistake
from exported import NAMES, TOLERANCE, fashion, noise, small_network
from places import EXAMPLES
from processes import alone

import keras_se
from keras_se.serving import exporting
from keras_se.training import run as training

pytestmark = pytest.mark.export

# Its number in the schema of LiteRT.
CONV_2D = 3
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return keras_se.SEResNet20(weights="fashion_mnist")


@pytest.fixture(scope="module")
def base(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What TensorFlow Serving is given."""
    folder = tmp_path_factory.mktemp("serving") / "shoes"
    report = keras_se.export(model, folder, serving=True)
    assert report.path == folder / "1"
    return folder


@pytest.fixture(scope="module")
def expected(model: keras.Model) -> np.ndarray:
    return np.asarray(model(fashion()))


TENSORFLOW = """
import json, sys
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
files = [open(path, "rb").read() for path in sys.argv[2:]]
answer = served(image_bytes=tf.constant(files))
assert "keras_se" not in sys.modules
print(json.dumps([answer["probabilities"].numpy().tolist(),
                  [row[0].decode() for row in answer["labels"].numpy()]]))
"""


# What TensorFlow Serving does to its process unless started with --xla_cpu_compilation_enabled.
WITHOUT_XLA = """
import ctypes, pathlib, sys
import tensorflow as tf
library = ctypes.CDLL(str(pathlib.Path(tf.__file__).parent / "libtensorflow_cc.so.2"))
library._ZN10tensorflow21DisableXlaCompilationEv()
for path in sys.argv[1:]:
    loaded, refused = tf.saved_model.load(path), []
    for name, signature in sorted(loaded.signatures.items()):
        (spec,) = signature.structured_input_signature[1].values()
        if spec.dtype == tf.string:
            value = tf.constant([tf.io.encode_png(tf.zeros((30, 30, 3), tf.uint8)).numpy()])
        else:
            value = tf.zeros([size or 30 for size in spec.shape], spec.dtype)
        try:
            signature(**{spec.name: value})
        except tf.errors.OpError as error:
            assert "XLA compilation disabled" in str(error)
            refused.append(name)
    print(*refused)
"""


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_without_xla(grouped: tuple[Any, Path], tmp_path: Path, onednn: str) -> None:
    network, folder = grouped
    keras_se.export(network, tmp_path / "net", compile=True)
    printed = alone(WITHOUT_XLA, folder / "net", tmp_path / "net", TF_ENABLE_ONEDNN_OPTS=onednn)
    every = "features serve_images serve_images_uint8 serving_default"
    assert printed.split("\n")[:2] == ["", every]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    for number, data in enumerate(exported.files()):
        (folder / f"{number}.bin").write_bytes(data)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_tensorflow_alone(base: Path, paths: list[Path], expected: np.ndarray, onednn: str) -> None:
    scores, labels = json.loads(alone(TENSORFLOW, base / "1", *paths, TF_ENABLE_ONEDNN_OPTS=onednn))
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE)
    assert labels == NAMES


def test_tensorflow_s_c_library(
    base: Path, paths: list[Path], expected: np.ndarray, tmp_path: Path
) -> None:
    library = Path(tf.__file__).parent
    program = tmp_path / "client"
    subprocess.run(
        ["gcc", EXAMPLES / "saved_model_client.c", "-o", program,
         f"-I{library / 'include'}", f"-L{library}", "-l:libtensorflow_cc.so.2",
         "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{library}"],
        check=True,
    )  # fmt: skip
    names = signature_tensors(base / "1")
    for number, path in list(enumerate(paths))[::4]:
        done = subprocess.run(
            [program, base / "1", path, names["image_bytes"][0],
             *names["scores"], *names["labels"]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = [line.split(" ", 1) for line in done.stdout.splitlines()]
        order = np.argsort(-expected[number], kind="stable")[:5]
        assert rows[0][1] == NAMES[number]
        scores = [float(score) for score, _ in rows]
        np.testing.assert_allclose(scores, expected[number][order], atol=TOLERANCE)


def signature_tensors(folder: Path) -> dict[str, list[str]]:
    """Operation and index of each tensor of `serving_default`."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = proto.meta_graphs[0].signature_def["serving_default"]
    tensors = {**signature.inputs, **signature.outputs}
    return {name: tensor.name.split(":") for name, tensor in tensors.items()}


def test_saved_model_cli(base: Path, expected: np.ndarray, tmp_path: Path) -> None:
    cli = Path(sys.executable).with_name("saved_model_cli")
    shown = subprocess.run(
        [cli, "show", "--dir", base / "1", "--all"], capture_output=True, text=True, check=True
    ).stdout
    for name in ("serving_default", "serve_images", "serve_images_uint8", "features"):
        assert f"signature_def['{name}']" in shown
    np.save(tmp_path / "images.npy", fashion().astype("float32"))
    subprocess.run(
        [cli, "run", "--dir", base / "1", "--tag_set", "serve", "--signature_def", "serve_images",
         "--inputs", f"images={tmp_path}/images.npy", "--outdir", tmp_path],
        capture_output=True, check=True,
    )  # fmt: skip
    received = np.load(tmp_path / "probabilities.npy")
    np.testing.assert_allclose(received, expected, atol=TOLERANCE)


def test_warm_up_requests_are_answered(base: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    loaded = tf.saved_model.load(str(base / "1"))
    file = base / "1" / "assets.extra" / "tf_serving_warmup_requests"
    answered = set()
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(x)) for key, x in request.inputs.items()}
        answer = loaded.signatures[name](**inputs)
        assert {part.shape[0] for part in answer.values()} == {1}
        assert not any(answer.get("error", tf.constant([b""])).numpy())
        answered.add(name)
    assert answered == set(loaded.signatures)


def test_versions(base: Path, run: Run) -> None:
    for name in ("3", "latest"):
        (base / name).mkdir()
    code, out, _ = run("export", exported.WEIGHTS, "--serving-dir", base, "--json")
    assert code == 0
    assert json.loads(out)["path"] == str(base / "4")
    assert sorted(path.name for path in base.iterdir()) == ["1", "3", "4", "latest"]
    assert_mistake(
        run("export", exported.WEIGHTS, "--serving-dir", base, "--format", "onnx"), "serving"
    )


@pytest.fixture(scope="module")
def written(
    model: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, exporting.Export]:
    folder = tmp_path_factory.mktemp("formats")
    return {
        name: keras_se.export(model, folder / f"net{suffix}", name)
        for name, suffix in SUFFIXES.items()
    }


@pytest.mark.parametrize("name", SUFFIXES)
def test_formats(written: dict[str, exporting.Export], name: str, expected: np.ndarray) -> None:
    report = written[name]
    assert report.difference < TOLERANCE
    (received,) = exporting.FORMATS[name].run(report.path, fashion().astype("float32"))
    np.testing.assert_allclose(received, expected, atol=TOLERANCE)


def test_class_names_are_in_the_files(written: dict[str, exporting.Export]) -> None:
    import onnx
    import openvino

    properties = {p.key: p.value for p in onnx.load(written["onnx"].path).metadata_props}
    assert json.loads(properties["labels"]) == NAMES
    labels = openvino.Core().read_model(written["openvino"].path).get_rt_info("labels")
    assert json.loads(labels.astype(str)) == NAMES
    with zipfile.ZipFile(written["litert"].path) as file:
        assert file.read("labels.txt").decode().split("\n") == NAMES


ONNX = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
numpy.save(sys.argv[3], session.run(["predictions"], {"images": numpy.load(sys.argv[2])})[0])
assert "tensorflow" not in sys.modules
"""
OPENVINO = """
import sys
import numpy, openvino
model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
numpy.save(sys.argv[3], model({"images": numpy.load(sys.argv[2])})["predictions"])
assert "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize(("name", "code"), [("onnx", ONNX), ("openvino", OPENVINO)])
def test_runtimes_without_tensorflow(
    written: dict[str, exporting.Export], name: str, code: str, expected: np.ndarray,
    tmp_path: Path,
) -> None:  # fmt: skip
    np.save(tmp_path / "images.npy", fashion().astype("float32"))
    alone(code, written[name].path, tmp_path / "images.npy", tmp_path / "answer.npy")
    received = np.load(tmp_path / "answer.npy")
    np.testing.assert_allclose(received, expected, atol=TOLERANCE)


@pytest.fixture(scope="module", params=[False, True], ids=["as built", "fused"])
def grouped(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A network with four grouped convolutions, exported to every format."""
    network, folder = small_network((None, None, 3)), tmp_path_factory.mktemp("grouped")
    for name in exporting.FORMATS:
        path = folder / f"net{SUFFIXES.get(name, '')}"
        report = keras_se.export(network, path, name, fuse=request.param)
        assert report.difference < TOLERANCE
    return network, folder


def test_grouped_convolutions_of_onnx(grouped: tuple[Any, Path]) -> None:
    import onnx

    nodes = onnx.load(grouped[1] / "net.onnx").graph.node
    groups = Counter(
        attribute.i
        for node in nodes
        for attribute in node.attribute
        if node.op_type == "Conv" and attribute.name == "group"
    )
    assert groups[4] == 4
    assert Counter(node.op_type for node in nodes)["Conv"] == 5


def test_grouped_convolutions_of_openvino(grouped: tuple[Any, Path]) -> None:
    import openvino

    model = openvino.Core().read_model(grouped[1] / "net.xml")
    kinds = Counter(node.get_type_name() for node in model.get_ops())
    assert (kinds["GroupConvolution"], kinds["Convolution"]) == (4, 1)


def test_grouped_convolutions_of_litert(grouped: tuple[Any, Path]) -> None:
    from tensorflow.lite.tools import flatbuffer_utils

    data = (grouped[1] / "net.tflite").read_bytes()
    model = flatbuffer_utils.convert_bytearray_to_object(data)
    (graph,) = model.subgraphs
    codes = [model.operatorCodes[node.opcodeIndex].builtinCode for node in graph.operators]
    assert codes.count(CONV_2D) == 5


SIZES = """
import sys
import numpy, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serve_images"]
for images, answer in zip(sys.argv[2::2], sys.argv[3::2]):
    numpy.save(answer, served(images=tf.constant(numpy.load(images)))["probabilities"])
"""


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_grouped_convolutions_on_every_build(
    grouped: tuple[Any, Path], onednn: str, tmp_path: Path
) -> None:
    network, folder = grouped
    batches = [noise(2, 33, 31, 3), noise(5, 48, 17, 3), noise(1, 7, 9, 3)]
    arguments = []
    for number, images in enumerate(batches):
        np.save(tmp_path / f"{number}.npy", images)
        arguments += [tmp_path / f"{number}.npy", tmp_path / f"answer{number}.npy"]
    alone(SIZES, folder / "net", *arguments, TF_ENABLE_ONEDNN_OPTS=onednn)
    for number, images in enumerate(batches):
        received = np.load(tmp_path / f"answer{number}.npy")
        np.testing.assert_allclose(received, np.asarray(network(images)), atol=TOLERANCE)


@pytest.mark.parametrize("name", SUFFIXES)
def test_other_sizes_and_batches(grouped: tuple[Any, Path], name: str) -> None:
    network, folder = grouped
    for images in (noise(3, 48, 17, 3), noise(1, 21, 22, 3)):
        (received,) = exporting.FORMATS[name].run(folder / f"net{SUFFIXES[name]}", images)
        np.testing.assert_allclose(received, np.asarray(network(images)), atol=TOLERANCE)


def test_half_precision_is_converted_in_float32(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = small_network()
    finally:
        keras.config.set_dtype_policy("float32")
    path = tmp_path / "net.onnx"
    keras_se.export(half, path, "onnx")
    images = noise(2, 33, 31, 3)
    (received,) = exporting.FORMATS["onnx"].run(path, images)
    np.testing.assert_allclose(received, np.asarray(small_network()(images)), atol=TOLERANCE)


@pytest.mark.parametrize("name", exporting.FORMATS)
def test_channels_first(name: str, tmp_path: Path) -> None:
    """The files take channels last all the same."""
    keras.config.set_image_data_format("channels_first")
    try:
        network = keras_se.SEResNet20(weights=None, input_shape=(3, 32, 32), classes=7)
    finally:
        keras.config.set_image_data_format("channels_last")
    exported.trained_like(network)
    path = tmp_path / f"net{SUFFIXES.get(name, '')}"
    keras_se.export(network, path, name)
    images = noise(2, 32, 32, 3)
    expected = np.asarray(network(images.transpose(0, 3, 1, 2)))
    answers = exporting.FORMATS[name].run(path, images)
    received = answers["probabilities"] if isinstance(answers, dict) else answers[0]
    np.testing.assert_allclose(received, expected, atol=TOLERANCE)


def test_run_of_a_recipe(run: Run, tmp_path: Path) -> None:
    """The last network of a run: its names, its logits through a softmax."""
    recipe = training_runs.recipe(fashion_mnist_files.write(tmp_path / "data"), "epochs=2")
    folder = tmp_path / "run"
    training.Run(recipe, folder).train()
    code, out, _ = run("export", folder, tmp_path / "net", "--json")
    assert code == 0
    assert json.loads(out)["classes"] == 10
    serve = tf.saved_model.load(str(tmp_path / "net")).signatures["serving_default"]
    answer = serve(image_bytes=tf.constant(exported.files()))
    logits = keras.saving.load_model(folder / "last.keras", compile=False)(fashion())
    np.testing.assert_allclose(
        answer["probabilities"], np.asarray(keras.ops.softmax(logits)), atol=TOLERANCE
    )
    assert set(answer["labels"].numpy().flat) <= {name.encode() for name in NAMES}


def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for options in ({"format": "onnx"}, {"format": "openvino"}, {"serving": True}):
        path = tmp_path / f"net{SUFFIXES.get(str(options.get('format')), '')}"
        with pytest.raises(ValueError, match=r"pip install 'keras-se\[export\]'"):
            keras_se.export(small_network(), path, **options)
    assert list(tmp_path.iterdir()) == []
