"""Networks to export, and files to show to what was exported."""

from __future__ import annotations

import fashion_mnist_files
import keras
import numpy as np
from keras import layers
from picture_files import ANIMATED, UNREADABLE, encoded, raw_png
from PIL import Image

import keras_se

WEIGHTS = "se_resnet20.fashion_mnist"
NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle_boot",
]  # fmt: skip
# float32 sums in another order.
TOLERANCE = 1e-4


def fashion() -> np.ndarray:
    """The first test picture of each class, uint8 `(10, 28, 28, 1)`."""
    return fashion_mnist_files.one_of_each_class()[..., None]


def files() -> list[bytes]:
    """The same as files of several formats, none of which changes a pixel."""
    kinds = ("PNG", "BMP")
    return [encoded(Image.fromarray(x[..., 0]), kinds[n % 2]) for n, x in enumerate(fashion())]


def bad_files() -> dict[str, bytes]:
    """Files that every network must refuse."""
    kinds = ("truncated jpeg", "half its rows", "unknown critical chunk")
    return {
        "empty": b"",
        "text": UNREADABLE["text"](),
        "truncated": files()[0][:-200],
        "200 megapixels": raw_png(20000, 10000, 8, 0, bytes(1000)),
        **{name: UNREADABLE[name]() for name in kinds},
        **{name: ANIMATED[name] for name in ("animated gif", "animated png", "animated webp")},
    }


def trained_like(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with seeded values, and statistics of BatchNorm as training leaves them."""
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        shape, name = tuple(variable.shape), variable.name
        if name in ("gamma", "moving_variance"):
            variable.assign(generator.uniform(0.5, 1.5, shape))
        elif name in ("beta", "moving_mean") or name.endswith("bias"):
            variable.assign(generator.normal(0, 0.2, shape))
        elif name.endswith("kernel"):
            variable.assign(generator.normal(0, np.prod(shape[:-1]) ** -0.5, shape))
    return model


def small_network(
    shape: tuple[int | None, int | None, int] = (33, 31, 3), activation: str | None = "softmax"
) -> keras.Model:
    """Two SE blocks, grouped convolutions of both kinds, 7 classes."""
    inputs = keras.Input(shape)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(16, 3, strides=2, padding="same")(x)
    for layer in (keras_se.layers.GroupedConv2D, layers.Conv2D):
        y = layer(16, 3, padding="same", groups=4, use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layer(16, 3, padding="same", groups=4)(y)
        x = layers.ReLU()(layers.Add()([x, keras_se.SqueezeExcite(4)(y)]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(7, activation=activation)(layers.Dropout(0.2)(x))
    return trained_like(keras.Model(inputs, x))


def noise(*shape: int) -> np.ndarray:
    """Pictures in 0..255."""
    return np.random.default_rng(shape).integers(0, 256, shape).astype("float32")
