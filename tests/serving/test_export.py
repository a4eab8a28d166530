"""Exported SavedModels: what they answer, and that nothing is half-written."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import exported
import keras
import numpy as np
import pytest
import tensorflow as tf
from command_line import Run, assert_mistake
from disks import small_disk
from exported import NAMES, TOLERANCE, fashion, noise, small_network
from keras import layers
from picture_files import CONVERTIBLE, encoded, png
from PIL import Image

import keras_se
from keras_se.serving import exporting, saved_model, stand_ins
from keras_se.serving.description import network_of, transform_of
from keras_se.weights.entries import Preprocessing


@pytest.fixture(scope="module")
def shoes(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Any, exporting.Export]:
    model = keras_se.SEResNet20(weights="fashion_mnist")
    before = [np.array(value) for value in model.get_weights()]
    report = keras_se.export(model, tmp_path_factory.mktemp("export") / "shoes")
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    return model, tf.saved_model.load(str(report.path)), report


def test_report(shoes: Any) -> None:
    _, _, report = shoes
    files = [file for file in report.path.rglob("*") if file.is_file()]
    assert report.bytes == sum(file.stat().st_size for file in files)
    assert report.difference < TOLERANCE
    assert report.labels == tuple(NAMES)
    assert (report.transform.shape, report.transform.crop) == ((28, 28, 1), 1.0)
    assert [path.name for path in report.path.parent.iterdir()] == ["shoes"]


def test_files_to_names(shoes: Any) -> None:
    model, loaded, _ = shoes
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant(exported.files()))
    expected = np.asarray(model(fashion()))
    types = {
        "scores": ("float32", (10, 5)), "class_ids": ("int64", (10, 5)),
        "labels": ("string", (10, 5)), "probabilities": ("float32", (10, 10)),
        "error": ("string", (10,)),
    }  # fmt: skip
    assert {k: (v.dtype.name, tuple(v.shape)) for k, v in answer.items()} == types
    np.testing.assert_allclose(answer["probabilities"], expected, atol=TOLERANCE)
    best = np.argsort(-expected, 1, kind="stable")[:, :5]
    np.testing.assert_array_equal(answer["class_ids"], best)
    np.testing.assert_array_equal(
        answer["scores"], np.take_along_axis(answer["probabilities"].numpy(), best, 1)
    )
    np.testing.assert_array_equal(answer["labels"], np.array(NAMES)[best].astype(bytes))
    assert [label.decode() for label in answer["labels"].numpy()[:, 0]] == NAMES
    assert set(answer["error"].numpy()) == {b""}


@pytest.mark.parametrize(("size", "kind"), [((61, 45), "JPEG"), ((17, 90), "PNG"), ((5, 4), "BMP")])
def test_own_resize_and_crop(shoes: Any, size: tuple[int, int], kind: str) -> None:
    model, loaded, _ = shoes
    picture = Image.fromarray(fashion()[9, ..., 0]).resize(size, Image.Resampling.BICUBIC)
    data = encoded(picture, kind)
    expected = np.asarray(model(keras_se.load_image(data, exported.WEIGHTS)))
    received = loaded.signatures["serving_default"](image_bytes=tf.constant([data]))
    # A few pixels are one step off.
    np.testing.assert_allclose(received["probabilities"], expected, atol=0.02)


def test_bad_files_among_good_ones(shoes: Any) -> None:
    _, loaded, _ = shoes
    serve = loaded.signatures["serving_default"]
    good, bad = exported.files(), list(exported.bad_files().values())
    mixed = [data for pair in zip(good, bad, strict=True) for data in pair]
    answer = {name: value.numpy() for name, value in serve(image_bytes=tf.constant(mixed)).items()}
    alone = serve(image_bytes=tf.constant(good))
    for name, values in alone.items():
        if name in ("scores", "probabilities"):
            np.testing.assert_allclose(answer[name][::2], values, atol=1e-6)
        else:
            np.testing.assert_array_equal(answer[name][::2], values)
    assert all(error.startswith(b"expected ") for error in answer["error"][1::2])
    assert not answer["scores"][1::2].any()
    assert not answer["probabilities"][1::2].any()
    assert set(answer["class_ids"][1::2].flat) == {-1}
    assert set(answer["labels"][1::2].flat) == {b""}
    for data, error in zip(bad, answer["error"][1::2], strict=True):
        (single,) = serve(image_bytes=tf.constant([data]))["error"].numpy()
        assert single == error


def test_no_rows(shoes: Any) -> None:
    _, loaded, _ = shoes
    for name, value in {
        "serving_default": tf.zeros((0,), tf.string),
        "serve_images": tf.zeros((0, 28, 28, 1)),
        "serve_images_uint8": tf.zeros((0, 28, 28, 1), tf.uint8),
        "features": tf.zeros((0, 28, 28, 1)),
    }.items():
        key = "image_bytes" if name == "serving_default" else "images"
        answer = loaded.signatures[name](**{key: value})
        assert {part.shape[0] for part in answer.values()} == {0}
        assert all(part.shape[1:].as_list() != [None] for part in answer.values())


def test_pictures_of_both_types(shoes: Any) -> None:
    model, loaded, _ = shoes
    expected = np.asarray(model(fashion()))
    floats = loaded.signatures["serve_images"](images=tf.constant(fashion(), tf.float32))
    integers = loaded.signatures["serve_images_uint8"](images=tf.constant(fashion()))
    assert floats.keys() == {"scores", "class_ids", "labels", "probabilities"}
    for answer in (floats, integers, loaded.serve_images(tf.constant(fashion()))):
        np.testing.assert_allclose(answer["probabilities"], expected, atol=TOLERANCE)


def test_pictures_of_any_size(shoes: Any) -> None:
    _, loaded, _ = shoes
    free = keras_se.SEResNet20(weights="fashion_mnist", input_shape=(None, None, 1))
    for size in ((28, 28), (45, 31), (64, 96)):
        images = noise(3, *size, 1)
        received = loaded.signatures["serve_images"](images=images)["probabilities"]
        np.testing.assert_allclose(received, np.asarray(free(images)), atol=TOLERANCE)


def test_features(shoes: Any) -> None:
    model, loaded, _ = shoes
    images = fashion().astype("float32")
    expected = keras.Model(model.input, model.get_layer("avg_pool").output)(images)
    received = loaded.signatures["features"](images=images)
    assert received.keys() == {"features"}
    np.testing.assert_allclose(received["features"], np.asarray(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("signature", "name", "value"),
    [
        ("serving_default", "image_bytes", tf.constant(b"one, not a batch")),
        ("serving_default", "image_bytes", tf.constant([1, 2])),
        ("serve_images", "images", tf.zeros((28, 28, 1))),
        ("serve_images", "images", tf.zeros((1, 28, 28, 3))),
        ("serve_images", "images", tf.zeros((1, 28, 28, 1), tf.int64)),
        ("serve_images_uint8", "images", tf.zeros((1, 28, 28, 1))),
    ],
)
def test_wrong_rank_or_type(shoes: Any, signature: str, name: str, value: tf.Tensor) -> None:
    _, loaded, _ = shoes
    # Of three channels for one the convolution says so, by another error.
    errors = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)
    with pytest.raises((ValueError, TypeError, *errors)):
        loaded.signatures[signature](**{name: value})
    test_files_to_names(shoes)


def load(model: keras.Model, path: Path | str, **options: Any) -> Any:
    return tf.saved_model.load(str(keras_se.export(model, path, **options).path)).signatures


@pytest.mark.parametrize("scores", ["softmax", "sigmoid", None])
def test_logits_become_probabilities_if_asked(tmp_path: Path, scores: str | None) -> None:
    model = small_network(activation=None)
    served = load(model, tmp_path / "net", labels=list("abcdefg"), top_k=9, scores=scores)
    images = noise(2, 33, 31, 3)
    answer = served["serve_images"](images=images)
    expected = np.asarray(model(images))
    if scores is not None:
        expected = np.asarray(getattr(keras.ops, scores)(expected))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=TOLERANCE)
    assert answer["labels"].shape == (2, 7)
    assert "".join(sorted(label.decode() for label in answer["labels"][0].numpy())) == "abcdefg"


@pytest.mark.export
def test_half_precision_answers_float32(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_network((None, None, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    served = load(model, tmp_path / "net")
    images = noise(2, 33, 31, 3)
    answer = served["serve_images"](images=images)
    assert {answer[name].dtype for name in ("scores", "probabilities")} == {tf.float32}
    assert served["features"](images=images)["features"].dtype == tf.float32
    # Eight bits of precision.
    np.testing.assert_allclose(
        answer["probabilities"], np.asarray(model(images), "float32"), atol=0.05
    )


def must_compile(path: Path) -> list[str]:
    """The functions of a SavedModel that run only where XLA compiles them."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = proto.meta_graphs[0].graph_def.library.function
    return [f.signature.name for f in functions if f.attr["_XlaMustCompile"].b]


@pytest.mark.parametrize("fuse", [True, False])
def test_nothing_needs_xla(fuse: bool, tmp_path: Path) -> None:
    """TensorFlow Serving refuses what does, unless told otherwise."""
    report = keras_se.export(small_network(), tmp_path / "net", fuse=fuse)
    assert must_compile(report.path) == []


def holds_variables(path: Path) -> bool:
    files = (path / "variables").glob("*.data-*")
    return sum(file.stat().st_size for file in files) > 4 * small_network().count_params()


def test_weights_are_constants_or_variables(tmp_path: Path) -> None:
    model = small_network()
    x = tf.constant(noise(2, 33, 31, 3))
    answers = []
    for constants in (True, False):
        path = tmp_path / str(constants)
        keras_se.export(model, path, constants=constants, image_bytes=False)
        loaded = tf.saved_model.load(str(path))
        assert holds_variables(path) is not constants
        answers.append(loaded.signatures["serve_images"](images=x)["probabilities"].numpy())
    # The same numbers, summed in the order of another layout of the weights.
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-6)


def test_large_weights_are_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_network()
    monkeypatch.setattr(exporting, "SMALL", 1000)
    keras_se.export(model, tmp_path / "net", image_bytes=False)
    assert holds_variables(tmp_path / "net")
    monkeypatch.setattr(exporting, "LARGEST_GRAPH", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        keras_se.export(model, tmp_path / "other", constants=True)
    assert not (tmp_path / "other").exists()


def test_compiled_if_asked(tmp_path: Path) -> None:
    model = small_network()
    report = keras_se.export(model, tmp_path / "net", compile=True)
    assert must_compile(report.path)
    assert report.difference < TOLERANCE


def test_network_of_one_size_only(tmp_path: Path) -> None:
    """A flattened feature map: the size is part of the network. No files, no names."""
    inputs = keras.Input((9, 8, 2))
    x = layers.Flatten()(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="sigmoid")(x))
    served = load(model, tmp_path / "net", image_bytes=False)
    spec = served["serving_default"].structured_input_signature[1]["images"]
    assert tuple(spec.shape) == (None, 9, 8, 2)
    images = noise(3, 9, 8, 2)
    answer = served["serving_default"](images=images)
    np.testing.assert_allclose(answer["probabilities"], np.asarray(model(images)), atol=TOLERANCE)
    assert set(answer["labels"].numpy().flat) == {b"0", b"1", b"2"}
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        served["serving_default"](images=noise(3, 10, 8, 2))


def test_transform_of_the_network_inside() -> None:
    """A network with a head of the user's own keeps the resize and crop, not the names."""
    base = keras_se.SEResNet20(include_top=False, weights="fashion_mnist", pooling="avg")
    inputs = keras.Input((40, 32, 1))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(base(inputs)))
    transform = transform_of(model)
    assert transform.covered == transform.shape[:2] == (40, 32)
    assert network_of(model).labels == tuple("0123456789")


@pytest.mark.parametrize(
    "shape", [(96, 128, 1), pytest.param((128, 128, 3), marks=pytest.mark.export)]
)
def test_whole_pictures_of_a_network_of_ones_own(shape: Any, tmp_path: Path) -> None:
    """Nothing is cut off a picture of the network's size: the answer is that of `predict`."""
    model = small_network(shape)
    picture = noise(*shape).astype("uint8")
    data = encoded(Image.fromarray(picture[..., 0] if shape[-1] == 1 else picture), "PNG")
    answer = load(model, tmp_path / "net")["serving_default"](image_bytes=tf.constant([data]))
    expected = model.predict(picture[None], verbose=0)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=TOLERANCE)
    np.testing.assert_array_equal(keras_se.load_image(data, model), picture[None])


@pytest.mark.parametrize(
    ("shape", "preprocessing", "expected"),
    [
        ((64, 48, 3), None, (64, 48, 3, 1.0, "bilinear")),
        ((224, 160, 3), None, (224, 160, 3, 1.0, "bilinear")),
        ((None, None, 3), None, (224, 224, 3, 1.0, "bilinear")),
        ((None, None, 3), "se_resnet20.fashion_mnist", (28, 28, 3, 1.0, "bilinear")),
        (
            (None, None, 3),
            Preprocessing(288, 0.95, "bicubic", (), ()),
            (288, 288, 3, 0.95, "bicubic"),
        ),
    ],
)
def test_transform(shape: Any, preprocessing: Any, expected: tuple[Any, ...]) -> None:
    transform = transform_of(small_network(shape), preprocessing, 10**6)
    height, width, channels, crop, interpolation = expected
    assert transform.shape == (height, width, channels)
    assert (transform.crop, transform.interpolation) == (crop, interpolation)


def no_functional_model() -> keras.Model:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    return Own()


def feature_maps() -> keras.Model:
    return keras_se.SEResNet20(include_top=False, weights=None)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "format": ({"format": "savedmodel"}, "tf_saved_model"),
    "suffix": ({"format": "onnx"}, "must end in .onnx"),
    "labels": ({"labels": ["a", "b"]}, "7 names"),
    "label types": ({"labels": range(7)}, "7 names"),
    "label of two lines": ({"labels": [*"abcdef", "g\nh"]}, "single-line"),
    "data set": ({"labels": "imagnet"}, "imagenet"),
    "top_k": ({"top_k": 0}, "top_k"),
    "fuse": ({"fuse": "yes"}, "fuse"),
    "compile": ({"compile": None}, "compile"),
    "constants": ({"constants": 1}, "constants"),
    "constants of a format": (
        {"constants": False, "format": "onnx"},
        "`constants` is only supported",
    ),
    "compile a format": ({"compile": True, "format": "onnx"}, "`compile` is only supported"),
    "image_bytes": ({"image_bytes": 1}, "image_bytes"),
    "preprocessing": ({"preprocessing": "se_resnet20"}, "weights"),
    "preprocessing type": ({"preprocessing": 3}, "preprocessing"),
    "max_pixels": ({"max_pixels": -1}, "max_pixels"),
    "max_pixels too few": ({"max_pixels": 33 * 31 - 1}, "`max_pixels` must be at least 1023"),
    "quantised": ({"representative": noise(2, 33, 31, 3)}, "representative"),
    "input_type": ({"input_type": "int8", "format": "onnx"}, "'float32', 'uint8'"),
    "input_type of a SavedModel": ({"input_type": "uint8"}, "only supported with format 'onnx'"),
    "batch_size of a SavedModel": ({"batch_size": 1}, "only supported with format 'onnx'"),
    "subclass": ({"model": no_functional_model}, "functional"),
    "scores": ({"scores": "relu"}, "scores"),
    "scores of probabilities": ({"scores": "softmax"}, "must be None"),
    "scores of maps": ({"model": feature_maps, "scores": "softmax"}, "(batch, classes)"),
    "labels of maps": ({"model": feature_maps, "labels": ["a"]}, "(batch, classes)"),
    "strict": ({"strict": "yes"}, "strict"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, tmp_path: Path) -> None:
    options, word = MISTAKES[name]
    model = options.get("model", small_network)()
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        keras_se.export(
            model, tmp_path / "net", **{k: v for k, v in options.items() if k != "model"}
        )
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_path_that_exists(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        with pytest.raises(ValueError, match="must not exist yet"):
            keras_se.export(small_network(), tmp_path / name)
    with pytest.raises(ValueError, match="folder with serving=True"):
        keras_se.export(small_network(), tmp_path / "file", serving=True)
    with pytest.raises(OSError, match="cannot be written") as caught:
        keras_se.export(small_network(), tmp_path / "file" / "net")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


def test_path_that_appears_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it of any harm what an export left that was killed."""
    path = tmp_path / "net.tflite"
    (tmp_path / f".net.tflite.{os.getpid()}.tmp").mkdir()
    chosen = exporting.FORMATS["litert"]

    def run(temporary: Path, images: np.ndarray) -> np.ndarray:
        path.write_text("mine")
        return chosen.run(temporary, images)

    monkeypatch.setitem(exporting.FORMATS, "litert", replace(chosen, run=run))
    with pytest.raises(OSError, match="written by another process"):
        keras_se.export(small_network(), path, "litert")
    assert path.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_names_of_any_language_and_place(tmp_path: Path) -> None:
    path = tmp_path / "so und ähnlich" / "net/"
    names = ["é", "猫", "two words", "", "x", "'", '"']
    served = load(small_network(), f"{path}/", labels=names, top_k=99)
    images = noise(256, 33, 31, 3)
    labels = served["serve_images"](images=images)["labels"].numpy()
    assert labels.shape == (256, 7)
    assert {label.decode() for label in labels[255]} == set(names)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot be written"):
        keras_se.export(small_network(), tmp_path / "net")


def test_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"):
        (tmp_path / "disk" / "filler").write_bytes(bytes(1000 * 1024))
        with pytest.raises(OSError, match="cannot be written") as caught:
            keras_se.export(small_network(), tmp_path / "disk" / "net")
        assert str(caught.value).endswith("net: cannot be written (No space left on device)")
        assert "\n" not in str(caught.value)
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["filler"]


def test_another_function_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
        answers = saved_model.run(path, x).items()
        return {name: y + 0.01 if y.dtype == np.float32 else y for name, y in answers}

    right = exporting.FORMATS["tf_saved_model"]
    wrong = exporting.FORMATS | {"tf_saved_model": replace(right, run=run)}
    monkeypatch.setattr(exporting, "FORMATS", wrong)
    with pytest.raises(ValueError, match="nothing was written"):
        keras_se.export(small_network(), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_command(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    small_network().save(path)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefg"))
    options = ("--labels", labels, "--top", 2, "--max-pixels", 1100, "--compile", "--json")
    code, out, _ = run("export", path, tmp_path / "net", *options)
    assert code == 0
    assert must_compile(tmp_path / "net")
    report = json.loads(out)
    assert report["path"] == str(tmp_path / "net")
    assert report["classes"] == 7
    assert report["largest_difference"] < TOLERANCE
    served = tf.saved_model.load(report["path"]).signatures
    assert served["serve_images"](images=noise(1, 33, 31, 3))["labels"].shape == (1, 2)
    large = encoded(Image.new("RGB", (34, 33)), "PNG")
    (error,) = served["serving_default"](image_bytes=tf.constant([large]))["error"].numpy()
    assert b"at most 1100 pixels" in error


def test_mistakes_on_the_command_line(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "net"
    assert_mistake(run("export", "se_resnet20.fashion", target), "Did you mean", exported.WEIGHTS)
    assert_mistake(run("export", exported.WEIGHTS), "PATH", "--serving-dir")
    assert_mistake(run("export", exported.WEIGHTS, target, "--format", "tflite"), "litert")
    assert_mistake(run("export", exported.WEIGHTS, target, "--preprocessing", "x"), "weights")
    damaged = tmp_path / "own.keras"
    damaged.write_bytes(b"no model")
    assert_mistake(run("export", damaged, target), damaged)
    assert [path.name for path in tmp_path.iterdir()] == ["own.keras"]


@pytest.mark.parametrize("name", ["rgb", "rgba", "16-bit grey", "cmyk", "transparent palette"])
def test_a_file_is_converted_as_load_image_converts_it(shoes: Any, name: str) -> None:
    model, loaded, _ = shoes
    data = png() if name == "rgb" else CONVERTIBLE[name][0]
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant([data]))
    assert answer["error"].numpy()[0] == b""
    expected = np.asarray(model(keras_se.load_image(data, exported.WEIGHTS)))
    # A few pixels are one step off.
    np.testing.assert_allclose(answer["probabilities"], expected, atol=0.02)


def test_weights_are_in_the_graph_once(tmp_path: Path) -> None:
    """Whole, under a fingerprint of the file as it is."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model import fingerprinting_utils

    model = small_network()
    path = keras_se.export(model, tmp_path / "net").path
    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = proto.meta_graphs[0].graph_def.library.function
    stored = [
        tf.make_ndarray(node.attr["value"].tensor)
        for function in functions
        for node in function.node_def
        if node.name.startswith(stand_ins.WEIGHT)
    ]
    fused = keras_se.fuse(model)
    expected = [np.asarray(variable) for variable in fused.variables]
    assert sorted(x.nbytes for x in stored) == sorted(x.nbytes for x in expected)
    assert sum(map(np.sum, stored)) == pytest.approx(sum(map(np.sum, expected)), rel=1e-5)
    kept = tf.saved_model.experimental.read_fingerprint(str(path)).saved_model_checksum
    fingerprinting_utils.write_fingerprint(str(path))
    assert tf.saved_model.experimental.read_fingerprint(str(path)).saved_model_checksum == kept
