"""`keras_se.grad_cam`: beside closed forms, differences of scores, and other backends."""

import re

import keras
import numpy as np
import pytest
from keras import layers
from processes import environment
from reference import noise_pictures, trained_like

import keras_se
from keras_se.analysis.grad_cam import _Network, enlarged

# Two float32 computations of the same gradient.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras_se.SEResNet20(weights=None, input_shape=(29, 32, 3), classes=7)
    return trained_like(model, 3)


def classifier(activation: str | None = "softmax", shape: tuple[int | None, ...] = (12, 9, 3)):
    keras.utils.set_random_seed(1)
    conv = {2: layers.Conv1D, 3: layers.Conv2D, 4: layers.Conv3D}[len(shape)]
    pool = {
        2: layers.GlobalAveragePooling1D,
        3: layers.GlobalAveragePooling2D,
        4: layers.GlobalAveragePooling3D,
    }[len(shape)]
    x = inputs = keras.Input(shape)
    x = conv(8, 3, strides=2, padding="same", activation="relu", name="maps")(x)
    x = layers.Dropout(0.5)(pool()(x))
    return keras.Model(inputs, layers.Dense(5, activation=activation, name="head")(x))


@pytest.mark.parametrize("shape", [(12, 9, 3), (16, 3), (6, 8, 5, 2)], ids=str)
def test_class_activation_maps(shape: tuple[int, ...]) -> None:
    """After global average pooling, the weights are those of the classifier."""
    model = classifier(shape=shape)
    pictures = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    maps = keras.Model(model.inputs, model.get_layer("maps").output).predict(pictures, verbose=0)
    kernel = np.asarray(model.get_layer("head").kernel)
    best = model.predict(pictures, verbose=0).argmax(1)
    expected = enlarged(
        np.stack([np.maximum(m @ kernel[:, c], 0) for m, c in zip(maps, best, strict=True)]),
        shape[:-1],
    )
    peaks = expected.reshape(3, -1).max(1).reshape(3, *[1] * (len(shape) - 1))
    found = keras_se.grad_cam(model, pictures)
    assert found.shape == (3, *shape[:-1])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected / np.maximum(peaks, 1e-12), atol=TOLERANCE)
    assert found.max() == 1


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_the_last_activation_does_not_count(activation: str | None) -> None:
    pictures = noise_pictures(2, 12, 9)
    expected = keras_se.grad_cam(classifier(), pictures, 2)
    found = keras_se.grad_cam(classifier(activation), pictures, 2)
    np.testing.assert_array_equal(found, expected)
    logits = classifier(None)
    after = layers.Softmax()(logits.output)
    np.testing.assert_array_equal(
        keras_se.grad_cam(keras.Model(logits.inputs, after), pictures, 2), expected
    )


@pytest.mark.parametrize("layer", ["stage2_block2_conv1", "stage3_block1_se", "stage4_block3_relu"])
def test_gradients_are_those_of_the_scores(network: keras.Model, layer: str) -> None:
    """Beside differences of the logits of a network with a changed bias."""
    pictures = noise_pictures(2, 29, 32)
    run = _Network(network, layer)
    features, gradients = run.gradients(pictures, np.array([4, 1]))
    direction = np.random.default_rng(1).normal(size=features.shape).astype("float32")

    def scores(step: float) -> float:
        values = keras.ops.convert_to_numpy(run.run(pictures, step * direction)[0])
        return float(values[0, 4].astype("float64") + values[1, 1])

    step = 1e-2 * float(np.abs(features).mean())
    expected = (scores(step) - scores(-step)) / (2 * step)
    # Differences of float32 scores, with ReLUs that change sides.
    assert float((gradients * direction).sum()) == pytest.approx(expected, rel=2e-2, abs=1e-3)


def test_layers_and_classes(network: keras.Model) -> None:
    pictures = noise_pictures(3, 29, 32)
    before = [v.numpy() for v in network.weights]
    best = network.predict(pictures, verbose=0).argmax(1)
    found = keras_se.grad_cam(network, pictures)
    np.testing.assert_array_equal(found, keras_se.grad_cam(network, pictures, best))
    np.testing.assert_array_equal(
        found, keras_se.grad_cam(network, pictures, layer="stage4_block3_relu")
    )
    each = [keras_se.grad_cam(network, pictures[n : n + 1], int(best[n]))[0] for n in range(3)]
    np.testing.assert_allclose(found, each, atol=TOLERANCE)
    assert np.abs(found - keras_se.grad_cam(network, pictures, (best + 1) % 7)).max() > 0.1
    assert all((a == v.numpy()).all() for a, v in zip(before, network.weights, strict=True))


def test_nested_models(network: keras.Model) -> None:
    pictures = noise_pictures(2, 29, 32)
    inputs = keras.Input((29, 32, 3))
    outer = keras.Model(inputs, network(layers.RandomFlip()(inputs)))
    name = f"{network.name}/stage3_block2_conv2"
    np.testing.assert_allclose(
        keras_se.grad_cam(outer, pictures, layer=name),
        keras_se.grad_cam(network, pictures, layer="stage3_block2_conv2"),
        atol=TOLERANCE,
    )
    np.testing.assert_allclose(
        keras_se.grad_cam(outer, pictures), keras_se.grad_cam(network, pictures), atol=TOLERANCE
    )


def test_unknown_size() -> None:
    model = classifier(shape=(None, None, 3))
    fixed = classifier(shape=(12, 9, 3))
    pictures = noise_pictures(2, 12, 9)
    np.testing.assert_array_equal(
        keras_se.grad_cam(model, pictures), keras_se.grad_cam(fixed, pictures)
    )


def test_nothing_speaks_for_a_class() -> None:
    model = classifier()
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([-np.abs(kernel), bias])
    assert not keras_se.grad_cam(model, noise_pictures(1, 12, 9), 0).any()


def test_a_shared_layer_is_where_its_last_call_is() -> None:
    x = inputs = keras.Input((12, 9, 3))
    shared = layers.ReLU(name="relu")
    for n in (1, 2):
        x = shared(layers.Conv2D(6, 3, name=f"conv{n}")(x))
    x = layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model, pictures = keras.Model(inputs, x), noise_pictures(2, 12, 9)
    found = keras_se.grad_cam(model, pictures)
    np.testing.assert_array_equal(found, keras_se.grad_cam(model, pictures, layer="relu"))
    assert not np.allclose(found, keras_se.grad_cam(model, pictures, layer="conv2"))


@pytest.mark.parametrize("layer", [None, "stage3_block2_relu"])
def test_channels_first(layer: str | None) -> None:
    models = []
    for data_format in ("channels_last", "channels_first"):
        keras.config.set_image_data_format(data_format)
        try:
            shape = (3, 29, 32) if data_format == "channels_first" else (29, 32, 3)
            models.append(keras_se.SEResNet20(weights=None, input_shape=shape, classes=7))
        finally:
            keras.config.set_image_data_format("channels_last")
    last, first = models
    trained_like(last, 3)
    first.set_weights(last.get_weights())
    pictures = noise_pictures(2, 29, 32)
    expected = keras_se.grad_cam(last, pictures, layer=layer)
    found = keras_se.grad_cam(first, np.moveaxis(pictures, -1, 1), layer=layer)
    # Two orders of float32 sums.
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 9, 3), (16, 3)], ids=str)
def test_a_permutation_at_the_start(shape: tuple[int, ...]) -> None:
    """Images have their channels first, feature maps last."""
    inner = classifier(shape=shape)
    axes = (*range(2, len(shape) + 1), 1)
    inputs = keras.Input((shape[-1], *shape[:-1]))
    model = keras.Model(inputs, inner(layers.Permute(axes)(inputs)))
    about = keras_se.describe(model)
    assert (about.channels_first, about.channels, about.spatial) == (True, 3, shape[:-1])
    pictures = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    expected = keras_se.grad_cam(inner, pictures)
    found = keras_se.grad_cam(model, np.moveaxis(pictures, -1, 1))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    turned = keras.Model(inputs, inner(layers.Permute(axes)(layers.ReLU()(inputs))))
    assert keras_se.describe(turned).channels_first


def test_enlarged() -> None:
    """The layers' own positions."""
    maps = np.arange(12, dtype="float32").reshape(1, 3, 4)
    np.testing.assert_allclose(enlarged(maps, (3, 4)), maps)
    np.testing.assert_allclose(enlarged(maps, (6, 8)).mean(), maps.mean())


MISTAKES = {
    "model": (lambda m, x: keras_se.grad_cam(None, x), "`model` must be a functional"),
    "maps": (
        lambda m, x: keras_se.grad_cam(
            keras.Model(m.inputs, m.get_layer("stage4_block3_relu").output), x
        ),
        "`model` must be a classifier",
    ),
    "no maps": (
        lambda m, x: keras_se.grad_cam(keras.Sequential([keras.Input((4,)), layers.Dense(2)]), x),
        "`images` must be numbers of shape (None, 4)",
    ),
    "images": (lambda m, x: keras_se.grad_cam(m, x[0]), "`images` must be numbers of shape"),
    "size": (lambda m, x: keras_se.grad_cam(m, x[:, 1:]), "`images` must be numbers of shape"),
    "NaN": (lambda m, x: keras_se.grad_cam(m, x * np.float32(np.nan)), "must be finite numbers"),
    "infinity": (
        lambda m, x: keras_se.grad_cam(m, np.where(x > x.min(), x, np.float32(np.inf))),
        "`images` must be finite numbers. Received: NaN or infinity",
    ),
    "short": (
        lambda m, x: keras_se.grad_cam(
            keras_se.SEResNet18(weights=None, input_shape=(None, 12)), np.ones((1, 1, 12))
        ),
        "Received: shape (1, 1, 12), which is too small",
    ),
    "none": (lambda m, x: keras_se.grad_cam(m, x[:0]), "at least one image"),
    "class": (lambda m, x: keras_se.grad_cam(m, x, 7), "`classes` must be an integer from 0 to 6"),
    "classes": (lambda m, x: keras_se.grad_cam(m, x, [1]), "one for each of the 2 images"),
    "layer": (lambda m, x: keras_se.grad_cam(m, x, layer="stage4"), "`layer` must be"),
    "vector": (lambda m, x: keras_se.grad_cam(m, x, layer="predictions"), "`layer` must be"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, network: keras.Model) -> None:
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call(network, noise_pictures(2, 29, 32))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


NARROW = """
import numpy as np
import keras_se
variant = {"blocks": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}
model = keras_se.SEResNet18(weights=None, input_shape=(64, 64, 3), classes=4, variant=variant)
print(keras_se.grad_cam(model, np.full((1, 64, 64, 3), 9.0)).shape)
"""


def test_narrow_network() -> None:
    """The kernels' gradients, which nobody needs, would end the process."""
    import subprocess
    import sys

    process = subprocess.run(
        [sys.executable, "-c", NARROW],
        env=environment("tensorflow"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.strip() == "(1, 64, 64)"


PROGRAM = """
import sys
import numpy as np
import keras
import keras_se
model = keras.models.load_model(sys.argv[1])
maps = keras_se.grad_cam(model, np.load(sys.argv[2]), layer=sys.argv[4] or None)
np.save(sys.argv[3], maps)
"""


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("layer", ["", "stage3_block1_se"])
def test_backends(backend: str, layer: str, network: keras.Model, tmp_path) -> None:
    import subprocess
    import sys

    pictures = noise_pictures(2, 29, 32)
    network.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", pictures)
    subprocess.run(
        [sys.executable, "-c", PROGRAM, "m.keras", "x.npy", "maps.npy", layer],
        cwd=tmp_path, env=environment(backend), check=True,
    )  # fmt: skip
    expected = keras_se.grad_cam(network, pictures, layer=layer or None)
    # Sums in another order, divided by a maximum.
    np.testing.assert_allclose(np.load(tmp_path / "maps.npy"), expected, atol=1e-3)


BY_HAND = """
import sys
import keras
import numpy as np
import torch
import keras_se
model = keras.models.load_model(sys.argv[1])
x = np.load(sys.argv[2]).astype("float32")
layer, classes = model.get_layer(sys.argv[3]), [4, 1, 6]
model.layers[-1].activation = keras.activations.linear
features, scores = keras.Model(model.inputs, [layer.output, model.output])(x, training=False)
(gradient,) = torch.autograd.grad(scores[range(len(x)), classes].sum(), features)
maps = torch.relu((gradient.mean((1, 2), keepdim=True) * features).sum(3))
maps = torch.nn.functional.interpolate(maps[:, None], x.shape[1:3], mode="bilinear")[:, 0]
maps = maps / maps.amax((1, 2), keepdim=True)
found = keras_se.grad_cam(model, x, classes, layer=sys.argv[3])
np.savez(sys.argv[4], expected=maps.detach().numpy(), found=found)
"""


@pytest.mark.backends
@pytest.mark.parametrize("layer", ["stage2_block2_conv1", "stage3_block1_se", "stage4_block3_relu"])
def test_beside_autograd_of_torch(layer: str, network: keras.Model, tmp_path) -> None:
    """The definition, written with Torch alone: gradients, their means, ReLU, resize, division."""
    import subprocess
    import sys

    pictures = noise_pictures(3, 29, 32)
    network.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", pictures)
    subprocess.run(
        [sys.executable, "-c", BY_HAND, "m.keras", "x.npy", layer, "maps.npz"],
        cwd=tmp_path, env=environment("torch"), check=True,
    )  # fmt: skip
    with np.load(tmp_path / "maps.npz") as maps:
        # Two float32 sums of the same gradient, divided by their maximum.
        np.testing.assert_allclose(maps["found"], maps["expected"], rtol=0, atol=1e-4)
        assert maps["expected"].min() < 0.5
        assert maps["expected"].max() == 1


def test_a_nested_gate_keeps_its_sigmoid() -> None:
    """Only the activation at the network's end is left out."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((12, 9, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    gate = [layers.GlobalAveragePooling2D(keepdims=True), layers.Dense(8, activation="sigmoid")]
    nested = keras.Sequential([keras.Input((12, 9, 8)), *gate])
    head = [layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")]

    def model(gates: object) -> keras.Model:
        y = layers.Multiply(name="gated")([x, gates])
        return keras.Model(inputs, head[1](head[0](y)))

    pictures = noise_pictures(2, 12, 9)
    np.testing.assert_allclose(
        keras_se.grad_cam(model(nested(x)), pictures, 1, layer="gated"),
        keras_se.grad_cam(model(gate[1](gate[0](x))), pictures, 1, layer="gated"),
        atol=TOLERANCE,
    )


def test_a_model_that_is_called_twice() -> None:
    """The maps and gradients are those of one of its calls."""
    keras.utils.set_random_seed(2)
    backbone = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(4, 3, activation="relu", name="conv")]
    )
    inputs = keras.Input((16, 16, 3))
    small = layers.AveragePooling2D(2)(inputs)
    pool, dense = layers.GlobalAveragePooling2D(), layers.Dense(3)
    both = layers.Concatenate()([pool(backbone(inputs)), pool(backbone(small))])
    model = keras.Model(inputs, dense(both))
    pictures = noise_pictures(2, 16, 16)
    found = keras_se.grad_cam(model, pictures, 2, layer=f"{backbone.name}/conv")
    near = []
    for x, weights in ((inputs, dense.kernel[:4, 2]), (small, dense.kernel[4:, 2])):
        features = keras.Model(inputs, backbone(x)).predict(pictures, verbose=0)
        expected = enlarged(np.maximum(features @ np.asarray(weights), 0), (16, 16))
        expected /= np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-12)
        near.append(np.allclose(found, expected, atol=TOLERANCE))
    # Which of two parallel calls is the last, Keras decides.
    assert sum(near) == 1


@pytest.mark.parametrize("spelling", ["tf", "operation", "layer", "keras.ops"])
def test_spellings_of_softmax(spelling: str) -> None:
    import tensorflow as tf

    model, pictures = classifier(None), noise_pictures(2, 12, 9)
    expected = keras_se.grad_cam(model, pictures, 2)
    head = model.get_layer("head")
    if spelling in ("tf", "keras.ops"):
        head.activation = {"tf": tf.nn.softmax, "keras.ops": keras.ops.softmax}[spelling]
    else:
        after = {"operation": keras.activations.softmax, "layer": layers.Softmax()}[spelling]
        model = keras.Model(model.inputs, after(model.output))
    # Saturated: the gradient after the softmax is zero.
    head.set_weights([1e4 * head.get_weights()[0], head.get_weights()[1]])
    np.testing.assert_allclose(keras_se.grad_cam(model, pictures, 2), expected, atol=TOLERANCE)


def test_saturated_scores_are_said() -> None:
    model, pictures = classifier(None), noise_pictures(2, 12, 9)
    head = model.get_layer("head")
    head.set_weights([1e6 * head.get_weights()[0], head.get_weights()[1]])
    outer = keras.Model(model.inputs, layers.Lambda(keras.ops.softmax)(model.output))
    with pytest.warns(UserWarning, match="all gradients are zero"):
        assert not keras_se.grad_cam(outer, pictures, 2).any()


def test_outputs_that_are_not_used() -> None:
    """Only layers that the scores depend on are looked at."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((12, 9, 3))
    early = layers.Conv2D(4, 3, name="early")(inputs)
    late = layers.Conv2D(4, 3, name="late")(early)
    backbone = keras.Model(inputs, [early, late], name="backbone")
    pooled = layers.GlobalAveragePooling2D()(backbone(inputs)[0])
    model = keras.Model(inputs, layers.Dense(3)(pooled))
    pictures = noise_pictures(2, 12, 9)
    np.testing.assert_array_equal(
        keras_se.grad_cam(model, pictures),
        keras_se.grad_cam(model, pictures, layer="backbone/early"),
    )
    with pytest.raises(ValueError, match="`layer` must be"):
        keras_se.grad_cam(model, pictures, layer="backbone/late")


def test_whole_numbers_and_lists() -> None:
    model = classifier()
    pictures = noise_pictures(2, 12, 9).astype("uint8")
    expected = keras_se.grad_cam(model, pictures.astype("float32"))
    np.testing.assert_array_equal(keras_se.grad_cam(model, pictures), expected)
    np.testing.assert_array_equal(keras_se.grad_cam(model, list(pictures)), expected)
    with pytest.raises(ValueError, match="a list of images of one size"):
        keras_se.grad_cam(model, [pictures[0], pictures[1][1:]])
    with pytest.raises(ValueError, match="`layer` must be a name"):
        keras_se.grad_cam(model, pictures, layer=["maps"])
    with pytest.raises(ValueError, match="`classes` must be an integer") as caught:
        keras_se.grad_cam(model, pictures, np.arange(1000))
    assert len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)
