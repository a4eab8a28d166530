"""`export` of U-Nets and FPNs: every format gives the network's own masks."""

import itertools
import json

import keras
import numpy as np
import pytest

import keras_se
from keras_se.serving.exporting import FORMATS

# float32 sums in another order, in logits of the order of ten, whose probabilities are compared.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def networks():
    keras.utils.set_random_seed(0)
    made = {}
    for name, size, build in (
        ("unet", (40, 56), keras_se.UNet),
        ("fpn", (40, 56), keras_se.FPN),
        ("any size", (None, None), keras_se.UNet),
    ):
        backbone = keras_se.SEResNet18(
            include_top=False, weights=None, input_shape=(*size, 3),
            variant={"blocks": [1, 1, 1, 1], "widths": [16, 16, 32, 32]},
        )  # fmt: skip
        narrow = {"pyramid_filters": 16, "segmentation_filters": 8}
        if build is keras_se.UNet:
            narrow = {"decoder_filters": (16, 16, 8, 8, 8), "attention": "scse"}
        made[name] = build(backbone, 3, **narrow)
    for name, size in (("continued", (43, 56)), ("any size, continued", (None, None))):
        # Its pools leave out odd rows, whose answers continue.
        backbone = keras_se.SEVGG16(
            include_top=False, weights=None, input_shape=(*size, 3),
            variant={"blocks": (1, 1, 1, 1, 1), "widths": (8, 8, 16, 16, 16)},
        )  # fmt: skip
        made[name] = keras_se.FPN(backbone, 3, 16, 8)
    return made


CASES = [
    pytest.param(name, format, marks=() if n == 0 else pytest.mark.export)
    for n, (name, format) in enumerate(itertools.product(("unet", "fpn", "continued"), FORMATS))
]


@pytest.mark.parametrize(("name", "format"), CASES)
def test_formats(networks, format, name, tmp_path):
    model, path = networks[name], tmp_path / f"model{FORMATS[format].suffix}"
    exported = keras_se.export(model, path, format)
    assert exported.labels == ("0", "1", "2")
    x = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]))
    x = x.astype("float32")
    answer = FORMATS[format].run(path, x)
    answer = answer["outputs"] if isinstance(answer, dict) else answer[0]
    np.testing.assert_allclose(answer, model.predict(x, verbose=0), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "format", ["tf_saved_model", pytest.param("onnx", marks=pytest.mark.export)]
)
def test_names_of_the_classes(format, tmp_path, run):
    """Those that `describe` knows; in a SavedModel for each image, also one that is refused."""
    import tensorflow as tf

    inputs = keras.Input((8, 8, 3))
    last = keras_se.layers.Dense(2, activation="softmax", labels=["sky", "sea"])
    keras.Model(inputs, last(inputs)).save(tmp_path / "m.keras")
    path = tmp_path / f"served{FORMATS[format].suffix}"
    code, out, err = run("export", tmp_path / "m.keras", path, "--format", format, "--json")
    assert (code, json.loads(out)["classes"]) == (0, 2), err
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        assert session.get_modelmeta().custom_metadata_map["labels"] == '["sky", "sea"]'
        return
    served = tf.saved_model.load(str(path)).signatures
    images = tf.zeros((3, 8, 8, 3))
    assert (
        served["serve_images"](images=images)["labels"].numpy().tolist() == [[b"sky", b"sea"]] * 3
    )
    answer = served["serving_default"](image_bytes=tf.constant([b"no picture"]))
    assert answer["labels"].shape == (1, 2)
    assert answer["outputs"].shape == (1, 8, 8, 2)


@pytest.mark.parametrize("name", ["any size", "any size, continued"])
def test_a_saved_model_of_any_size(networks, name, tmp_path):
    import tensorflow as tf

    model, path = networks[name], tmp_path / "model"
    keras_se.export(model, path)
    served = tf.saved_model.load(str(path)).signatures["serve_images"]
    for height, width in ((64, 64), (33, 71)):
        x = np.random.default_rng(0).uniform(0, 255, (1, height, width, 3)).astype("float32")
        answer = served(images=tf.constant(x))["outputs"]
        np.testing.assert_allclose(answer, model(x), rtol=0, atol=TOLERANCE)
