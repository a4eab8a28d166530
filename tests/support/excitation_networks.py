"""Networks, pictures and comparisons of the tests of the excitations."""

import keras
import numpy as np
from keras import layers
from reference import noise_pictures, trained_like

import keras_se
from keras_se import SqueezeExcite

# The same gates in batches, and all at once.
STREAMED = 1e-6
SIZE, CLASSES = (33, 32), 7
SHORT = {"blocks": (1, 2), "widths": (16, 32)}
BLOCKS = ["stage2_block1_se", "stage3_block1_se", "stage3_block2_se"]


def network(**options):
    options = {"input_shape": (*SIZE, 3), "classes": CLASSES, "variant": SHORT} | options
    return trained_like(keras_se.SEResNet20(weights=None, **options), seed=3)


def small(*, classes=CLASSES, shape=(*SIZE, 3)):
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input(shape)
    for name in ("one", "two"):
        x = layers.Rescaling(1 / 255)(x) if name == "one" else x
        x = SqueezeExcite(2, name=name)(layers.Conv2D(8, 3, 2, activation="relu")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x) if classes else x)


def pictures(count, classes=CLASSES):
    """Pictures and labels of which every class has some, not in turn."""
    labels = np.random.default_rng(1).permutation(np.arange(count) % classes)
    return noise_pictures(count, *SIZE), labels


def assert_same(found, expected, tolerance=STREAMED):
    assert found.blocks == expected.blocks
    np.testing.assert_array_equal(found.counts, expected.counts)
    for statistic in ("mean", "std", "high", "low"):
        for name, array in getattr(expected, statistic).items():
            received = getattr(found, statistic)[name]
            np.testing.assert_allclose(received, array, rtol=0, atol=tolerance, err_msg=name)


def texts(figure):
    """The boxes of all texts of a figure that are seen, with the texts."""
    figure.draw_without_rendering()
    found = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            found += [
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            ]
    seen = [text for text in found if text.get_text() and text.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in seen]
