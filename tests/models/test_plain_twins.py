"""The plain twins are the networks of `keras.applications`: the same outputs from the same weights.

`keras.applications` is written independently of this package, and people have trained with it.
"""

import keras
import numpy as np
import pytest
from reference import noise_pictures, trained_like

import keras_se

# Of the largest activation: float32 sums of up to 200 convolutions in another order.
TOLERANCE = 1e-5
QUICK = ("MobileNet-0.25", "DenseNet121")
MOBILENET = ((224, 224), (97, 130))
DENSENET = ((224, 224), (95, 130))
INCEPTION = ((299, 299), (107, 140))
# Its own size and an odd one; in the quick cases two small sizes.
CASES = [
    ("MobileNet-0.25", ((96, 96), (97, 130))),
    ("MobileNet-0.5", MOBILENET),
    ("MobileNet-1.0", MOBILENET),
    ("DenseNet121", ((64, 64), (61, 78))),
    ("DenseNet169", DENSENET),
    ("DenseNet201", DENSENET),
    ("InceptionV3", INCEPTION),
    ("InceptionResNetV2", INCEPTION),
]


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.backend.clear_session()


def weighted_layers(model):
    """Its layers with weights, by a walk from the output, inputs from last to first."""
    found, waiting, seen = [], [model.output], set()
    while waiting:
        layer = waiting.pop()._keras_history.operation
        if layer in seen:
            continue
        seen.add(layer)
        if layer.weights:
            found.append(layer)
        if not isinstance(layer, keras.layers.InputLayer):
            waiting += keras.tree.flatten(layer.input)
    return found


def parts(model):
    """The model with its last feature maps and its logits as outputs."""
    (pool,) = (x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D))
    return keras.Model(model.input, [pool.input, model.output])


def compare(name, sizes):
    """The largest deviation of the feature maps and of the logits, relative to their largest."""
    name, _, alpha = name.partition("-")
    options = {"weights": None, "classes": 7, "classifier_activation": None}
    if alpha:
        options["alpha"] = float(alpha)
    shape = (None, None, 3)
    theirs = getattr(keras.applications, name)(input_tensor=keras.Input(shape), **options)
    build = getattr(keras_se, f"SE{name}")
    ours = build(input_shape=shape, se=None, include_preprocessing=False, **options)
    trained_like(ours, seed=1)
    for one, other in zip(weighted_layers(ours), weighted_layers(theirs), strict=True):
        for source, target in zip(one.weights, other.weights, strict=True):
            # Their classifier may be a 1x1 convolution.
            lead = (1,) * (len(target.shape) - len(source.shape))
            assert (*lead, *source.shape) == tuple(target.shape), (one.name, other.name)
            assert source.name == target.name
            target.assign(np.reshape(source, target.shape))
    found = []
    for size in sizes:
        x = (noise_pictures(2, *size) / 127.5 - 1).astype("float32")
        for received, expected in zip(parts(ours)(x), parts(theirs)(x), strict=True):
            assert received.shape == expected.shape
            found.append(np.abs(received - expected).max() / np.abs(expected).max())
    return found


@pytest.mark.parametrize(
    ("name", "sizes"),
    [pytest.param(*c, marks=() if c[0] in QUICK else pytest.mark.networks, id=c[0]) for c in CASES],
)
def test_outputs_are_those_of_keras_applications(name, sizes):
    found = compare(name, sizes)
    print(name, [f"{deviation:.1e}" for deviation in found])
    assert max(found) < TOLERANCE
