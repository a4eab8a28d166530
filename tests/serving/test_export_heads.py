"""Exported files answer what the model answers, whatever it ends in."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from PIL import Image

import keras_se
from keras_se.serving import exporting
from keras_se.serving.network import in_float32, with_constant_gates
from keras_se.serving.representative import representative_images

# Sums in another order, of outputs of the order of one.
TOLERANCE = 1e-4
SUFFIXES = {"tf_saved_model": "", "onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}


@keras.saving.register_keras_serializable(package="tests")
class Halved(layers.Layer):
    """A layer of a user's own."""

    def call(self, x: Any) -> Any:
        return x / 2


def norm(x: Any) -> Any:
    layer = layers.BatchNormalization()
    y = layer(x)
    random = np.random.default_rng(2)
    for variable in layer.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return y


def dense(x: Any, units: int = 5, activation: Any = None) -> Any:
    return layers.Dense(units, activation)(x)


def upsampled(x: Any, activation: Any = None) -> Any:
    return layers.Conv2D(2, 1, activation=activation)(layers.UpSampling2D(4)(x))


# From the vector behind the pooling.
HEADS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: dense(x, 5, "softmax"),
    "sigmoid": lambda x: dense(x, 5, "sigmoid"),
    "logits": dense,
    "one unit": lambda x: dense(x, 1),
    "one sigmoid": lambda x: dense(x, 1, "sigmoid"),
    "one softplus": lambda x: dense(x, 1, "softplus"),
    "tanh": lambda x: dense(x, 3, "tanh"),
    "relu": lambda x: dense(x, 3, "relu"),
    "features": lambda x: x,
    "embedding": lambda x: dense(x, 16),
    "normalised embedding": lambda x: layers.UnitNormalization()(dense(x, 16)),
    "BatchNorm": lambda x: norm(dense(x, 16)),
    "BatchNorm of features": norm,
    "LayerNorm": lambda x: layers.LayerNormalization()(dense(x, 16)),
    "Dropout": lambda x: layers.Dropout(0.5)(dense(x)),
    "Dropout before": lambda x: dense(layers.Dropout(0.5)(x)),
    "Rescaling": lambda x: layers.Rescaling(1 / 1.7)(dense(x)),
    "temperature, softmax": lambda x: layers.Softmax()(layers.Rescaling(0.5)(dense(x))),
    "Activation": lambda x: layers.Activation("softmax")(dense(x)),
    "linear Activation": lambda x: layers.Activation("linear")(dense(x)),
    "two layers": lambda x: dense(dense(x, 8, "relu"), 3),
    "softmax of an operation": lambda x: ops.softmax(dense(x)),
    "own layer": lambda x: Halved()(dense(x)),
    "reshaped": lambda x: layers.Reshape((2, 3))(dense(x, 6)),
    "two outputs": lambda x: [dense(x, 3, "softmax"), dense(x, 1)],
    "three outputs": lambda x: [dense(x, 3, "softmax"), dense(x, 1), x],
    "outputs by name": lambda x: {"kind": dense(x, 3, "softmax"), "age": dense(x, 1)},
    "known logits": lambda x: keras_se.layers.Dense(4, scores="softmax", labels=[*"abcd"])(x),
    "known sigmoids": lambda x: keras_se.layers.Dense(4, scores="sigmoid")(x),
}
# From the feature maps.
MAPS: dict[str, Callable[[Any], Any]] = {
    "maps": lambda x: x,
    "dense maps": upsampled,
    "softmax maps": lambda x: upsampled(x, "softmax"),
    "maps and classes": lambda x: [
        upsampled(x), dense(layers.GlobalAveragePooling2D()(x), 3, "softmax")
    ],
}  # fmt: skip
# What is applied to outputs that are known to be logits.
SCORES = {"known logits": ops.softmax, "known sigmoids": ops.sigmoid}
# In the default suite.
QUICK = ("one unit", "outputs by name")


@pytest.fixture(scope="module")
def bases() -> dict[str, keras.Model]:
    return {
        pooling: keras_se.SEResNet20(
            weights="fashion_mnist", include_top=False, pooling=pooling or None,
            input_shape=(28, 28, 1),
        )
        for pooling in ("avg", "")
    }  # fmt: skip


def headed(name: str, bases: dict[str, keras.Model]) -> keras.Model:
    keras.utils.set_random_seed(0)
    base, head = (bases["avg"], HEADS[name]) if name in HEADS else (bases[""], MAPS[name])
    return keras.Model(base.input, head(base.output))


def check(model: keras.Model, name: str, format: str, fuse: bool, folder: Path) -> None:
    path = folder / f"net{SUFFIXES[format]}"
    written = keras_se.export(model, path, format, fuse=fuse)
    for seed, rows in ((1, 2), (2, 3)):
        x = np.random.default_rng(seed).integers(0, 256, (rows, 28, 28, 1)).astype("float32")
        outputs = keras.tree.flatten(in_float32(model).predict(x, verbose=0))
        expected = [np.asarray(SCORES.get(name, lambda y: y)(y)) for y in outputs]
        answers = exporting.FORMATS[format].run(path, x)
        if isinstance(answers, dict):
            assert bool(written.labels) == ("probabilities" in answers)
            names = ["outputs"]
            if isinstance(getattr(model, "output", None), dict):
                names = sorted(model.output)
            elif len(outputs) > 1:
                names = model.output_names
            names = ["probabilities"] if written.labels else names
            answers = [answers[name] for name in names]
        for received, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(received, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", QUICK)
def test_saved_model(name: str, bases: dict[str, keras.Model], tmp_path: Path) -> None:
    check(headed(name, bases), name, "tf_saved_model", True, tmp_path)


@pytest.mark.export
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize("name", [*HEADS, *MAPS])
def test_every_format(
    name: str, format: str, fuse: bool, bases: dict[str, keras.Model], tmp_path: Path
) -> None:
    check(headed(name, bases), name, format, fuse, tmp_path)


@pytest.mark.export
@pytest.mark.parametrize("format", SUFFIXES)
def test_a_nested_network(format: str, bases: dict[str, keras.Model], tmp_path: Path) -> None:
    """A Sequential model keeps its embedding, too."""
    model = keras.Sequential([keras.Input((28, 28, 1)), bases["avg"], layers.Dense(16)])
    check(model, "embedding", format, True, tmp_path)


def test_two_labels_of_one_sigmoid(bases: dict[str, keras.Model], tmp_path: Path) -> None:
    model = headed("one sigmoid", bases)
    keras_se.export(model, tmp_path / "net", labels=["no", "yes"])
    x = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype("float32")
    answers = exporting.FORMATS["tf_saved_model"].run(tmp_path / "net", x)
    p = model.predict(x, verbose=0)
    np.testing.assert_allclose(answers["probabilities"], np.hstack([1 - p, p]), atol=TOLERANCE)
    best = np.where(p[:, 0] > 0.5, b"yes", b"no")
    np.testing.assert_array_equal(answers["labels"][:, 0], best)


def test_a_network_that_amplifies_rounding(
    bases: dict[str, keras.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the network does to rounding is measured, allowed for, and said."""
    monkeypatch.setattr(exporting, "TOLERANCE", 1e-9)
    with pytest.warns(UserWarning, match="amplifies rounding"):
        written = keras_se.export(headed("logits", bases), tmp_path / "net")
    assert written.amplification is not None
    assert 1e-9 < written.amplification < 1e-3


@pytest.mark.networks
def test_a_deep_network_that_was_never_trained(tmp_path: Path) -> None:
    """Its gates saturate, and it changes what rounding leaves by a thousandfold and more."""
    model = keras_se.SEResNet101(weights=None, input_shape=(64, 64, 3), classifier_activation=None)
    with pytest.warns(UserWarning, match="amplifies rounding"):
        written = keras_se.export(model, tmp_path / "net")
    assert written.amplification is not None
    assert written.amplification > 1e-3


def test_a_dataset_of_representative_pictures() -> None:
    """Batches with labels, single pictures, a generator."""
    import tensorflow as tf

    from keras_se.serving.description import transform_of

    model = keras_se.SEResNet20(weights="fashion_mnist")
    x = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1)).astype("uint8")
    numbers = np.arange(40) % 10
    streams = (
        (tf.data.Dataset.from_tensor_slices((x, numbers)).batch(16), numbers),
        (((x[n], numbers[n]) for n in range(40)), numbers),
        (tf.data.Dataset.from_tensor_slices((x, np.eye(10)[numbers])).batch(16), numbers),
        (tf.data.Dataset.from_tensor_slices((x, np.arange(40))), None),
        (tf.data.Dataset.from_tensor_slices((x, numbers / 2)), None),
        (tf.data.Dataset.from_tensor_slices((x, x)), None),
        (((x[n], {"label": n}) for n in range(40)), None),
        (tf.data.Dataset.from_tensor_slices(x), None),
        ((picture for picture in x), None),
    )
    for stream, labels in streams:
        found = representative_images(stream, transform_of(model), (28, 28, 1), 10)
        np.testing.assert_array_equal(found.images, x.astype("float32"))
        assert (found.labels is None) == (labels is None)
        assert labels is None or np.array_equal(found.labels, labels)


def test_a_folder_of_representative_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only regular, visible files count: reading a pipe would never end."""
    from keras_se.serving import description, representative

    def decode(files: list[bytes], _: Any) -> Any:
        images = [np.asarray(Image.open(io.BytesIO(data)))[..., None] for data in files]
        return np.stack(images), None, tf.constant([b""] * len(files))

    # Building the graph takes seconds.
    monkeypatch.setattr(representative, "decode", decode)
    transform = description.transform_of(keras_se.SEResNet20(weights="fashion_mnist"))
    for name in ("a/0.png", "b/1.png", ".hidden/2.png", "a/._3.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (28, 28), len(name)).save(path, "PNG")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "folder.png").mkdir()
    (tmp_path / "a" / "link.png").symlink_to("absent")
    found = representative_images(tmp_path, transform, (28, 28, 1), 10)
    np.testing.assert_array_equal(found.images, np.full((2, 28, 28, 1), 7))
    with pytest.raises(ValueError, match="`representative` must be images"):
        representative_images("", transform, (28, 28, 1), 10)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1)).astype("float32")


def test_dead_blocks_become_constants() -> None:
    """Two blocks of the bundled network have a hidden unit that is never on."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    x = noise(40)
    changed, names = with_constant_gates(model, x)
    assert names == ("stage2_block2_se", "stage3_block1_se")
    np.testing.assert_allclose(
        changed.predict(x, verbose=0), model.predict(x, verbose=0), atol=TOLERANCE
    )
    assert isinstance(model.get_layer(names[0]), keras_se.SqueezeExcite)


def test_living_blocks_stay() -> None:
    model = keras_se.SEResNet20(weights=None, input_shape=(28, 28, 1))
    for layer in model.layers:
        if isinstance(layer, keras_se.SqueezeExcite):
            layer.reduce_bias.assign(np.full(layer.reduce_bias.shape, 5.0))
    assert with_constant_gates(model, noise(4)) == (model, ())


def test_representative_pictures_that_are_no_numbers(tmp_path: Path) -> None:
    """Ranges would be none."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    for value in (np.nan, np.inf):
        images = noise(8)
        images[3, 0, 0] = value
        with pytest.raises(ValueError, match="`representative` must be finite numbers"):
            keras_se.export(model, tmp_path / "q.tflite", "litert", representative=images)
    assert not list(tmp_path.iterdir())


@pytest.mark.export
def test_representative_pictures_in_the_wrong_range(tmp_path: Path) -> None:
    model = keras_se.SEResNet20(weights="fashion_mnist")
    with pytest.warns(UserWarning, match="do not divide by 255"):
        keras_se.export(model, tmp_path / "q.tflite", "litert", representative=noise(64) / 255)


@pytest.mark.export
@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
def test_eight_bits_of_a_network_with_dead_blocks(format: str, tmp_path: Path) -> None:
    """The best classes are those of float32, except where two are nearly equal."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    path = tmp_path / f"net{SUFFIXES[format]}"
    written = keras_se.export(model, path, format, representative=noise(64))
    assert len(written.constant_gates) == 2
    (answers,) = exporting.FORMATS[format].run(path, noise(16))
    expected = model.predict(noise(16), verbose=0)
    second, best = np.sort(expected, axis=1)[:, -2:].T
    clear = best - second > 0.2
    assert clear.sum() >= 8
    np.testing.assert_array_equal(answers.argmax(1)[clear], expected.argmax(1)[clear])
