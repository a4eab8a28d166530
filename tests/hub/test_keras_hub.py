"""KerasHub's RetinaNet and DeepLabV3 on every family: trained a little, saved, loaded."""

import keras
import keras_hub
import numpy as np
import pytest
from every_network import SHALLOWEST
from reference import noise_pictures

import keras_se

NETWORKS = ["SEResNet50", *SHALLOWEST]
CLASSES = 3
# The same operations on the same values.
EXACT = 0.0


@pytest.fixture(autouse=True)
def _clean_session():
    keras.utils.set_random_seed(1)
    yield
    keras.backend.clear_session()


def pyramid(name):
    size = 128 if "Inception" in name else 64
    network = getattr(keras_se, name)(include_top=False, weights=None, input_shape=(size, size, 3))
    return network, keras_se.feature_pyramid(network), noise_pictures(2, size, size)


def detector(encoder):
    shape = encoder.input_shape[1:]
    backbone = keras_hub.models.RetinaNetBackbone(encoder, 3, 5, use_p5=False, image_shape=shape)
    return keras_hub.models.RetinaNetObjectDetector(
        backbone, CLASSES, "xyxy", use_prediction_head_norm=True, pre_logits_num_conv_layers=1
    )


def segmenter(encoder, **options):
    options = {
        "spatial_pyramid_pooling_key": "P5", "upsampling_size": 8, "dilation_rates": [1, 2],
        "low_level_feature_key": "P2", "image_shape": encoder.input_shape[1:], **options,
    }  # fmt: skip
    backbone = keras_hub.models.DeepLabV3Backbone(encoder, **options)
    return keras_hub.models.DeepLabV3ImageSegmenter(backbone, CLASSES)


def train(network, model, x, y):
    """Two steps, one a picture; the network learns with what is built on it."""
    kernels = [variable for variable in network.variables if variable.name == "kernel"]
    before = [keras.ops.convert_to_numpy(kernel) for kernel in kernels]
    history = model.fit(x.astype("float32"), y, batch_size=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for kernel, old in zip(kernels, before, strict=True):
        assert np.isfinite(kernel).all(), kernel.path
        assert np.any(keras.ops.convert_to_numpy(kernel) != old), kernel.path


def save_and_load(model, x, folder):
    expected = model(x)
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    encoder = loaded.backbone.image_encoder
    assert list(encoder.pyramid_outputs) == ["P2", "P3", "P4", "P5"]
    for ours, theirs in zip(*map(keras.tree.flatten, (loaded(x), expected)), strict=True):
        assert np.ptp(theirs) > 0
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", NETWORKS)
def test_retina_net(name, tmp_path):
    network, encoder, x = pyramid(name)
    model = detector(encoder)
    model.compile(keras.optimizers.Adam(1e-3))
    # float32: KerasHub converts in place what is not, which Keras refuses.
    boxes = np.array([[[4, 8, 36, 40], [-1, -1, -1, -1]]] * 2, "float32")
    labels = np.array([[2, -1]] * 2, "float32")
    train(network, model, x, {"boxes": boxes, "labels": labels})
    save_and_load(model, x, tmp_path)
    found = model.predict(x.astype("float32"), verbose=0)
    assert found["boxes"].shape == (2, 100, 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_deep_lab(name, tmp_path):
    network, encoder, x = pyramid(name)
    model = segmenter(encoder)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train(network, model, x, (x[..., 0] > 100).astype("uint8"))
    save_and_load(model, x, tmp_path)
    assert model.predict(x, verbose=0).shape == (*x.shape[:3], CLASSES)


@pytest.mark.parametrize("build", [detector, segmenter])
def test_any_height_and_width(build):
    network = keras_se.SEResNet18(include_top=False, weights=None)
    model = build(keras_se.feature_pyramid(network))
    for height, width in ((64, 64), (96, 160)):
        outputs = keras.tree.flatten(model(np.zeros((1, height, width, 3))))
        for output in outputs:
            assert np.isfinite(output).all()


def test_preset_of_a_local_folder(tmp_path):
    _, encoder, x = pyramid("SEResNet18")
    model = segmenter(encoder)
    model.save_to_preset(tmp_path / "preset")
    loaded = keras_hub.models.ImageSegmenter.from_preset(str(tmp_path / "preset"))
    np.testing.assert_allclose(loaded(x), model(x), rtol=0, atol=EXACT)
