"""Networks of 1-D layers for signals and of 3-D layers for volumes, by the builders for images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from mistakes import one_line
from parameter_counts import counted
from reference import trained_like
from small_variants import SMALL

import keras_se
from keras_se.layers._ranks import rank_of

# Sums of float32 in another order.
TOLERANCE = 1e-5
SHAPES = {1: (96, 2), 3: (33, 32, 34, 2)}


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("SEResNet18", 1), ("SEResNet18", 3), ("SEResNet34", 1), ("SEResNet50", 1),
        pytest.param("SEResNet34", 3, marks=pytest.mark.networks),
        pytest.param("SEResNet50", 3, marks=pytest.mark.networks),
    ],
)  # fmt: skip
def test_parameters(name: str, rank: int) -> None:
    shape = (*[None] * rank, 12)
    model = getattr(keras_se, name)(weights=None, input_shape=shape, classes=9)
    # The formula is right for images.
    assert counted("SEResNet50", 2, 3, 1000) == 28_141_144
    assert model.count_params() == counted(name, rank, 12, 9)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("name", SMALL)
def test_families(name: str, rank: int) -> None:
    """The layers and variables of images, with kernels of another rank; outputs at any size."""
    build, options = getattr(keras_se, name), {"weights": None, "classes": 5, **SMALL[name]}
    model = trained_like(build(input_shape=(*[None] * rank, 2), **options), 0)
    images = build(input_shape=(None, None, 2), **options)
    names = ([layer.name for layer in network.layers[1:]] for network in (model, images))
    assert next(names) == next(names)
    for ours, theirs in zip(model.weights, images.weights, strict=True):
        assert ours.path == theirs.path
        positions = len(theirs.shape) - 2
        if len(theirs.shape) == 4:
            assert ours.shape == (*[theirs.shape[0]] * rank, *theirs.shape[2:])
        else:
            assert positions < 2
            assert ours.shape == theirs.shape or theirs.path.startswith("fc1")
    x = (np.random.default_rng(0).random((2, *SHAPES[rank])) * 255).astype("float32")
    # One darker than the other, both brighter towards the end.
    x[1] *= 0.1
    x *= np.linspace(0, 1, x.shape[1], dtype="float32").reshape(1, -1, *[1] * rank)
    y = model.predict(x, verbose=0)
    assert y.shape == (2, 5)
    assert np.isfinite(y).all()
    assert not np.allclose(y[0], y[1])
    assert not np.allclose(y, model.predict(np.flip(x, 1), verbose=0))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("name", ["SEResNeXt50", "SEMobileNet", "SEVGG16", "SEShakeShake26"])
def test_channels_first(name: str, rank: int, request: pytest.FixtureRequest) -> None:
    build, options = getattr(keras_se, name), {"weights": None, "classes": 5, **SMALL[name]}
    last = trained_like(build(input_shape=SHAPES[rank], **options), 0)
    x = (np.random.default_rng(0).random((2, *SHAPES[rank])) * 255).astype("float32")
    expected = last.predict(x, verbose=0)
    request.addfinalizer(lambda: keras.config.set_image_data_format("channels_last"))
    keras.config.set_image_data_format("channels_first")
    first = build(input_shape=(2, *SHAPES[rank][:-1]), **options)
    first.set_weights(last.get_weights())
    actual = first.predict(np.moveaxis(x, -1, 1), verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rank", [1, 3])
def test_gradients_reach_every_variable(rank: int) -> None:
    model = keras_se.SEResNeXt50(
        weights=None, input_shape=SHAPES[rank], classes=5, **SMALL["SEResNeXt50"]
    )
    model.compile("sgd", "categorical_crossentropy", jit_compile=False)
    before = [v.numpy() for v in model.trainable_variables]
    x = np.random.default_rng(0).random((4, *SHAPES[rank])).astype("float32")
    model.fit(x, np.eye(5)[:4], epochs=2, batch_size=4, verbose=0)
    still = [
        v.path
        for v, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(v.numpy(), old)
    ]
    assert still == []


@pytest.mark.parametrize("name", ["SEInceptionV3", "SEInceptionResNetV2"])
@pytest.mark.parametrize("shape", [(5000, 12), (96, 96, 96, 1)])
def test_kernels_that_are_not_square(name: str, shape: tuple[int, ...]) -> None:
    build = getattr(keras_se, name)
    message = one_line(lambda: build(weights=None, input_shape=shape), "input_shape", shape)
    assert f"`input_shape` of {name} must be (height, width, channels)" in message


def test_input_tensors() -> None:
    """The rank follows from the tensor, also with weights for images."""
    x = keras.Input((16, 28, 28, 1))
    options: dict[str, Any] = {"weights": "fashion_mnist", "include_top": False}
    model = keras_se.SEResNet20(input_tensor=keras.layers.Rescaling(1.0)(x), **options)
    assert model.inputs[0] is x
    assert model.output_shape == (None, 4, 7, 7, 64)
    signal = keras.layers.Conv1D(3, 3)(keras.Input((64, 2)))
    assert keras_se.SEResNet20(weights=None, input_tensor=signal).output_shape == (None, 10)


def test_own_files(tmp_path: Path) -> None:
    """A file fits networks of its rank; one for images inflates."""
    small: dict[str, Any] = SMALL["SEResNet20"]
    for rank, shape in ((1, (64, 1)), (2, (16, 17, 1)), (3, (16, 16, 17, 1))):
        path = tmp_path / f"{rank}.weights.h5"
        model = trained_like(keras_se.SEResNet20(weights=None, input_shape=shape, **small), rank)
        model.save_weights(path)
        again = keras_se.SEResNet20(weights=path, input_shape=shape)
        for ours, theirs in zip(again.variables, model.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        if rank == 2:
            volume = keras_se.SEResNet20(weights=path, input_shape=(16, 16, 17, 1))
            inflated = keras_se.inflate(model, (16, 16, 17, 1))
            for ours, theirs in zip(volume.variables, inflated.variables, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        wrong = {1: (16, 17, 1), 2: (64, 1), 3: (64, 1)}[rank]
        one_line(
            lambda path=path, wrong=wrong: keras_se.SEResNet20(weights=path, input_shape=wrong),
            "input_shape", wrong,
        )  # fmt: skip


def test_sets_for_images_and_signals() -> None:
    message = one_line(
        lambda: keras_se.SEResNet50(input_shape=(5000, 12)), "input_shape", (5000, 12)
    )
    assert "use weights=None" in message


@pytest.fixture(scope="module", params=[1, 3])
def small(request: pytest.FixtureRequest) -> tuple[keras.Model, np.ndarray]:
    """A trained-like network of a rank, and inputs."""
    shape = (64, 2) if request.param == 1 else (12, 13, 14, 2)
    model = trained_like(
        keras_se.SEResNet20(
            weights=None, input_shape=shape, classes=5,
            variant={"blocks": (1, 1), "widths": (16, 32), "bottleneck": True},
        ),
        0,
    )  # fmt: skip
    x = (np.random.default_rng(0).random((6, *shape)) * 255).astype("float32")
    return model, x


def test_cost(small: tuple[keras.Model, np.ndarray]) -> None:
    """Multiply-adds of a convolution: kernel elements times positions of its output."""
    model, x = small
    cost = keras_se.cost(model)
    stem = next(layer for layer in cost.layers if layer.name == "stem_conv")
    rank = x.ndim - 2
    assert stem.macs == 3**rank * 2 * 16 * np.prod(x.shape[1:-1])
    assert cost.params_total == model.count_params()
    assert cost.not_counted == ()


def test_fusion(small: tuple[keras.Model, np.ndarray]) -> None:
    model, x = small
    fused = keras_se.fuse(model)
    assert not any(isinstance(y, keras.layers.BatchNormalization) for y in fused.layers)
    np.testing.assert_allclose(
        fused.predict(x, verbose=0), model.predict(x, verbose=0), rtol=0, atol=TOLERANCE
    )


def test_surgery_analysis_and_pruning(small: tuple[keras.Model, np.ndarray]) -> None:
    model, x = small
    gates = keras_se.excitations(model, x, np.arange(6) % 5, samples_per_class=1)
    pruned = keras_se.prune(model, gates, 0.3)
    assert pruned.count_params() < model.count_params()
    assert pruned.predict(x, verbose=0).shape == (6, 5)
    assert keras_se.embeddings(model, x).shape == (6, 128)
    assert keras_se.grad_cam(model, x).shape == x.shape[:-1]
    headless = keras.Model(model.inputs, model.get_layer("stage3_block1_relu").output)
    assert rank_of(headless.output) == x.ndim - 2
    assert keras_se.with_new_head(headless, 3).output_shape == (None, 3)
    plain = keras_se.SEResNet20(
        weights=None, input_shape=x.shape[1:], classes=5, se=None, variant={"blocks": (1, 1, 1)}
    )
    excited = keras_se.add_squeeze_excite(plain)
    assert sum(isinstance(layer, keras_se.SqueezeExcite) for layer in excited.layers) == 3
    np.testing.assert_array_equal(excited(x), plain(x))


def test_keras_files(small: tuple[keras.Model, np.ndarray], tmp_path: Path) -> None:
    model, x = small
    model.save(tmp_path / "m.keras")
    again = keras_se.get_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    known = keras_se.describe(again)
    assert (known.spatial, known.channels) == (x.shape[1:-1], 2)
    with pytest.raises(ValueError, match=r"must take pictures. Received: a model of \w+s$"):
        keras_se.load_image(b"", again)


def test_saved_models(small: tuple[keras.Model, np.ndarray], tmp_path: Path) -> None:
    import tensorflow as tf

    model, x = small
    one_line(lambda: keras_se.export(model, tmp_path / "m"), "image_bytes", "True")
    assert not (tmp_path / "m").exists()
    keras_se.export(model, tmp_path / "m", image_bytes=False)
    served = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    # Any size, and no input at all.
    other = np.concatenate([x, x], 1)
    for given in (x, other, x[:0]):
        answers = served(images=tf.constant(given))["probabilities"]
        expected = keras.ops.convert_to_numpy(model(given)) if len(given) and given is x else None
        assert answers.shape == (len(given), 5)
        if expected is not None:
            np.testing.assert_allclose(answers, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.export
@pytest.mark.parametrize(
    ("format", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml"), ("litert", "m.tflite")]
)
@pytest.mark.parametrize("network", ["SEResNet20", "SEResNeXt50", "SEMobileNet"])
@pytest.mark.parametrize("rank", [1, 3])
def test_other_formats(format: str, name: str, network: str, rank: int, tmp_path: Path) -> None:
    """`export` compares the file's answers with the model's."""
    model = getattr(keras_se, network)(
        weights=None, input_shape=SHAPES[rank], classes=5, **SMALL[network]
    )
    trained_like(model, 0)
    if (format, network, rank) == ("litert", "SEResNeXt50", 3):
        with pytest.raises(ValueError, match="LiteRT has no pools of volumes, as in layer 'stem_"):
            keras_se.export(model, tmp_path / name, format, image_bytes=False)
        assert not (tmp_path / name).exists()
        return
    made = keras_se.export(model, tmp_path / name, format, image_bytes=False)
    assert made.difference < 1e-3


@pytest.mark.parametrize("name", ["SEResNet18", "SEResNet20"])
def test_short_signals_and_thin_volumes(name: str) -> None:
    """Convolutions and padded pools halve three steps or slices to one."""
    least = getattr(keras_se, name).defaults.min_size
    narrow = {"variant": {"widths": (16, 32, 64, 128), "stem_widths": (16,)}}
    for shape in ((3, 2), (3, least, least, 2)):
        options = {"weights": None, "classes": 4, "include_preprocessing": False}
        options |= SMALL.get(name, narrow)
        model = trained_like(getattr(keras_se, name)(input_shape=shape, **options), 0)
        x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
        answers = keras.ops.convert_to_numpy(model(x))
        assert answers.shape == (2, 4)
        assert np.isfinite(answers).all()
        assert np.abs(answers[0] - answers[1]).max() > 1e-3
        short = (2, *shape[1:])
        with pytest.raises(ValueError, match=r"`input_shape` must be at least 3 (long|deep and)"):
            getattr(keras_se, name)(input_shape=short, **options)


def test_pools_that_need_more_slices() -> None:
    with pytest.raises(ValueError, match="at least 32 deep and at least 32 high and wide"):
        keras_se.SEVGG16(weights=None, include_top=False, input_shape=(16, 64, 64, 1))
