"""Sets for volumes: small files in ZFTurbo's layout, by way of a mirror."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from mistakes import one_line
from published_files import write_keras_hdf5
from reference import trained_like

import keras_se
from keras_se import checkpoint
from keras_se.commands._excitations import excitations_of
from keras_se.description import describe_set
from keras_se.layers.attention import ChannelAttention
from keras_se.recipes import get_recipe
from keras_se.training.networks import encoded_as
from keras_se.weights import cache
from keras_se.weights.entries import Weights, get_weights, list_networks

# Of the largest feature: sums of float32 in another order.
TOLERANCE = 1e-5
SHAPE = (33, 32, 35, 3)
# Small networks with what the published ones have: pre-activation, groups.
SMALL: dict[str, dict[str, Any]] = {
    "se_resnet18": {"blocks": (2, 1), "widths": (16, 32), "stem_widths": (16,)},
    "se_resnext50": {"blocks": (1, 2), "widths": (16, 32), "groups": 4, "base_width": 16},
}


def images(name: str) -> keras.Model:
    """A small network for images, of random values."""
    entry = get_weights(f"{name}.zfturbo_imagenet_3d")
    variant = {**entry.variant, **SMALL[name]}
    network = getattr(keras_se, entry.model)(
        weights=None, include_top=False, include_preprocessing=False, variant=variant
    )
    return trained_like(network, seed=0)


def tensors(network: keras.Model, depth: Callable[[int], np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a file: an image's kernels times `depth(size)` along a new first axis.

    A layer per group, and two convolutions with a bias for each block; numbered, as Keras 2 does.
    """
    found: dict[str, np.ndarray] = {}

    def add(kind: str, **values: np.ndarray) -> None:
        layer = f"{kind}_{len(found)}"
        found.update({f"{layer}|{layer}/{name}": value for name, value in values.items()})

    def inflated(kernel: np.ndarray) -> np.ndarray:
        return depth(len(kernel)).reshape(-1, 1, 1, 1, 1) * kernel

    for layer in network.layers:
        values = {v.name: np.asarray(v) for v in layer.weights}
        if isinstance(layer, ChannelAttention):
            for step in ("reduce", "expand"):
                kernel = values[f"{step}_kernel"][None, None, None]
                add("conv3d", kernel=kernel, bias=values[f"{step}_bias"])
        elif "kernel" in values:
            for kernel in np.split(values["kernel"], getattr(layer, "groups", 1), axis=-1):
                add("conv3d", kernel=inflated(kernel))
        elif values:
            add("batch_normalization", **values)
    return {name: value.astype("float32") for name, value in found.items()}


def averaged(size: int) -> np.ndarray:
    """What the publisher's script does: each slice is the kernel, divided by their number."""
    return np.full(size, 1 / size)


@pytest.fixture
def mirrored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, np.ndarray]], Weights]:
    """Puts tensors into a mirror, and returns their set."""
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_SE_MIRROR", str(tmp_path))

    def write(name: str, arrays: dict[str, np.ndarray]) -> Weights:
        entry = get_weights(f"{name}.zfturbo_imagenet_3d")
        write_keras_hdf5(arrays, tmp_path / entry.file)
        digits = hashlib.md5((tmp_path / entry.file).read_bytes()).hexdigest()
        return replace(entry, sha=f"md5:{digits}", variant={**entry.variant, **SMALL[name]})

    return write


def volumes(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")


def assert_equal(received: np.ndarray, expected: np.ndarray) -> None:
    bound = TOLERANCE * np.abs(expected).max()
    assert bound > 0
    np.testing.assert_allclose(received, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", SMALL)
def test_the_set_of_inflated_kernels(name: str, mirrored: Callable[..., Weights]) -> None:
    """As the network for images, inflated by the average."""
    image = images(name)
    entry = mirrored(name, tensors(image, averaged))
    model = getattr(keras_se, entry.model)(weights=entry, input_shape=SHAPE, include_top=False)
    pixels = entry.preprocessing
    normalised = (volumes() / 255 - np.array(pixels.mean)) / np.array(pixels.std)
    expected = keras_se.inflate(image, SHAPE).predict(normalised, verbose=0)
    assert_equal(model.predict(volumes(), verbose=0), expected)
    # Without a shape it takes volumes of any size, and is described as the registry does.
    free = keras_se.get_model(entry)
    assert free.input_shape == (None, None, None, None, 3)
    assert keras_se.describe(free) == describe_set(entry)


def test_other_channels(mirrored: Callable[..., Weights]) -> None:
    """A grey volume counts as one with three equal channels; the first layer is a BatchNorm."""
    entry = mirrored("se_resnet18", tensors(images("se_resnet18"), averaged))
    grey, rgb = (
        keras_se.SEResNet18(weights=entry, input_shape=(*SHAPE[:3], n), include_top=False)
        for n in (1, 3)
    )
    x = volumes((*SHAPE[:3], 1))
    expected = rgb.predict(np.repeat(x, 3, -1), verbose=0)
    assert_equal(grey.predict(x, verbose=0), expected)


def test_kernels_that_differ_along_the_depth(mirrored: Callable[..., Weights]) -> None:
    """The first axis of a kernel is the depth."""
    entry = mirrored("se_resnet18", tensors(images("se_resnet18"), lambda size: np.arange(size)))
    model = keras_se.SEResNet18(weights=entry, input_shape=SHAPE, include_top=False)
    kernel = np.asarray(model.get_layer("stem_conv").kernel)
    assert kernel.shape == (7, 7, 7, 3, 16)
    for slice_, values in enumerate(kernel):
        np.testing.assert_allclose(values, slice_ * kernel[1], rtol=1e-6)


def test_md5_is_verified_before_the_file_is_opened(
    mirrored: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = mirrored("se_resnet18", {"a|a/kernel": np.zeros(2, "float32")})
    path = tmp_path / entry.file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    monkeypatch.setattr(cache, "open_tensors", lambda path: pytest.fail("opened"))
    with pytest.raises(ValueError, match=rf"expected {entry.sha}\. Received: md5:") as caught:
        keras_se.SEResNet18(weights=entry, input_shape=SHAPE, include_top=False)
    assert str(path) in str(caught.value)


def test_load_checkpoint(
    mirrored: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's file, with a classifier of its own."""
    arrays = tensors(images("se_resnet18"), averaged)
    kernel = np.random.default_rng(0).normal(size=(32, 5)).astype("float32")
    arrays |= {"dense|dense/kernel": kernel, "dense|dense/bias": np.zeros(5, "float32")}
    entry = mirrored("se_resnet18", arrays)
    (network,) = (n for n in list_networks() if (n.publisher, n.name) == ("zfturbo", "seresnet18"))
    small = replace(network, variant=entry.variant)
    monkeypatch.setattr(checkpoint, "list_networks", lambda: [small])
    model = keras_se.load_checkpoint(tmp_path / entry.file, layout="zfturbo", model="SEResNet18")
    assert (model.input_shape, model.output_shape) == ((None, None, None, None, 3), (None, 5))
    np.testing.assert_array_equal(model.get_layer("predictions").kernel, kernel)
    shaped = keras_se.load_checkpoint(
        tmp_path / entry.file, layout="zfturbo", model="seresnet18", input_shape=SHAPE
    )
    assert_equal(shaped.predict(volumes(), verbose=0), model.predict(volumes(), verbose=0))


@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 3)])
def test_other_inputs(shape: tuple[int, ...], no_download: None) -> None:
    name = "se_resnet50.zfturbo_imagenet_3d"
    message = one_line(
        lambda: keras_se.SEResNet50(weights=name, input_shape=shape, include_top=False),
        "input_shape", shape,
    )  # fmt: skip
    assert f"`input_shape` must be that of volumes for weights={name!r}" in message


def test_doors_for_pictures(no_download: None, tmp_path: Path) -> None:
    """They say that the set is for volumes, before any work."""
    name = "se_resnet50.zfturbo_imagenet_3d"
    with pytest.raises(ValueError, match="has no classifier; use include_top=False"):
        keras_se.SEResNet50(weights=name)
    with pytest.raises(ValueError, match=r"must take pictures\. Received: a model of volumes"):
        keras_se.load_image(tmp_path / "picture.png", name)
    with pytest.raises(ValueError, match=r"`model` must take pictures\. Received: model='se_"):
        excitations_of(name, str(tmp_path), "all")
    recipe = replace(get_recipe("finetune"), model="SEResNet50", weights=name)
    with pytest.raises(
        ValueError, match=r"`weights` must be a set for images\. Received: weights="
    ):
        encoded_as(recipe, 3)


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(entry: Weights) -> Path:
        raise AssertionError(f"{entry.name} was asked for")

    monkeypatch.setattr(cache, "fetched", refuse)


def test_the_eight_sets() -> None:
    """None is a default: `weights="imagenet"` inflates the set for images."""
    sets = [entry for entry in keras_se.list_weights() if entry.rank == 3]
    assert {entry.network for entry in sets} == {
        "seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152", "seresnext50",
        "seresnext101", "senet154",
    }  # fmt: skip
    for entry in sets:
        assert entry.name == f"{described_name(entry)}.zfturbo_imagenet_3d"
        assert (entry.classes, entry.default, entry.input_shape[-1]) == (0, False, 3)
        assert str(entry.sha).startswith("md5:")
        # The same network as qubvel's, whose kernels it has.
        twin = get_weights(f"{described_name(entry)}.qubvel_imagenet_notop")
        assert (entry.model, entry.variant, entry.preprocessing, entry.naming) == (
            twin.model, twin.variant, twin.preprocessing, twin.naming,
        )  # fmt: skip


def described_name(entry: Weights) -> str:
    return entry.network.replace("seres", "se_res")
