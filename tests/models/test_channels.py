"""Weights for pictures of another number of channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe_networks
import keras
import numpy as np
import published_files
import pytest
from places import PUBLISHED
from reference import trained_like

import keras_se
from keras_se.models._pretrained import adapt_kernel

# Sums of three equal products in another order.
TOLERANCE = 1e-5


def grey(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 1)).astype("float32")


def answers(model: keras.Model, x: np.ndarray) -> np.ndarray:
    y = model.predict(x, verbose=0)
    return y / np.abs(y).max()


# A file in each publisher's layout.
FILES = [
    "osmr_h5.seresnet20_cifar10",
    *(
        pytest.param(name, marks=pytest.mark.weights)
        for name in ("osmr_torch.seresnet10", "qubvel.seresnet18", "timm.seresnet18", "caffe")
    ),
]
SIZE = 65


@pytest.fixture(scope="module", params=FILES)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., keras.Model]:
    """Builds the network of a publisher's file of random values, for some number of channels."""
    folder = tmp_path_factory.mktemp("published")
    if request.param == "caffe":
        _, path = caffe_networks.write("SE-ResNet-50", folder, classes=7)
        layout, model = "caffe", "SE-ResNet-50"
    else:
        recorded = published_files.read(PUBLISHED / f"{request.param}.npz")
        path, layout = recorded.write(folder), recorded.source.split("_")[0]
        model = recorded.network.replace("_cifar10", "_cifar")

    def build(channels: int, **options: Any) -> keras.Model:
        shape = (SIZE, SIZE, channels)
        return keras_se.load_checkpoint(
            path, layout=layout, model=model, input_shape=shape, classifier_activation=None,
            **options,
        )  # fmt: skip

    return build


@pytest.mark.parametrize("channels", [3, 2, 13])
def test_of_a_grey_set(channels: int) -> None:
    """A picture with equal channels counts as the grey one."""
    one, more = (
        keras_se.SEResNet20(weights="fashion_mnist", input_shape=(29, 31, n)) for n in (1, channels)
    )
    x = grey(29, 31)
    np.testing.assert_allclose(
        answers(more, np.repeat(x, channels, -1)), answers(one, x), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("preprocessing", [True, False])
def test_grey_pictures_of_an_rgb_set(
    built: Callable[..., keras.Model], preprocessing: bool
) -> None:
    """The grey network answers as the RGB network does on the picture in all three channels."""
    three = built(3, include_preprocessing=preprocessing)
    if not preprocessing and isinstance(three.layers[1], keras.layers.BatchNormalization):
        # Its first layer has statistics of red, green and blue.
        with pytest.raises(ValueError, match="`include_preprocessing` must be True"):
            built(1, include_preprocessing=False)
        return
    one = built(1, include_preprocessing=preprocessing)
    x = grey(SIZE, SIZE) / (1 if preprocessing else 255)
    np.testing.assert_allclose(
        answers(one, x), answers(three, np.repeat(x, 3, -1)), rtol=0, atol=TOLERANCE
    )


def test_more_channels_of_an_rgb_set(built: Callable[..., keras.Model]) -> None:
    """Channels that repeat red, green and blue count as these do."""
    three, six = built(3), built(6)
    x = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype("float32")
    np.testing.assert_allclose(
        answers(six, np.concatenate([x, x], -1)), answers(three, x), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 13])
@pytest.mark.parametrize("published", [1, 3])
def test_kernels_keep_the_sum(channels: int, published: int) -> None:
    """Of a picture with equal channels the effect stays, also with two of three."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, published, 5)).astype("float32")
    adapted = adapt_kernel(kernel, channels)
    assert adapted.shape == (3, 3, channels, 5)
    if channels != 2 or published == 1:
        np.testing.assert_allclose(adapted.sum(2), kernel.sum(2), atol=TOLERANCE)
    else:
        np.testing.assert_allclose(adapted, kernel[:, :, :2] * 1.5)


def test_blue_first() -> None:
    """The result takes red first."""
    kernel = np.arange(3, dtype="float32").reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(adapt_kernel(kernel, 6, reverse=True).ravel(), [1, 0.5, 0] * 2)


def test_files_of_a_grey_network_come_back(tmp_path: Path) -> None:
    model = trained_like(
        keras_se.SEResNet20(weights="fashion_mnist", input_shape=(28, 28, 4), include_top=False),
        seed=0,
    )
    model.save(tmp_path / "m.keras")
    x = np.repeat(grey(28, 28), 4, -1)
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
