"""The networks of the package and of `keras.applications`, and the options of their tests."""

import inspect
import re

import keras_se

# SEResNetRS50 with more units, up to 192 million values. Their variables, counts and outputs are
# tested; for what all networks have in common, the smaller ones are enough.
DEEPER = ("SEResNetRS200", "SEResNetRS270", "SEResNetRS350", "SEResNetRS420")
NAMES = [name for name in keras_se.list_models() if name not in DEEPER]
# 120 of its 138 million parameters are in the fully connected layers.
VARIANTS = {"SEVGG16": {"fully_connected": (64, 32)}}
FOR_IMAGENET = [
    name
    for name in NAMES
    if inspect.signature(getattr(keras_se, name)).parameters["weights"].default == "imagenet"
]
# The list is by depth: the shallowest of each family. SENet154 is the code of SEResNeXt50 with 115
# million values.
SHALLOWEST = {
    re.sub(r"\d+$", "", name): name for name in reversed(FOR_IMAGENET) if name != "SENet154"
}.values()
# Size of the pictures, their range, and how many blocks a network of `keras.applications` gets: one
# for each residual branch, or for each convolution (VGG-16), depthwise separable unit (MobileNet),
# module's or dense unit's convolution (Inception-v3, DenseNet).
APPLICATIONS = {
    "ResNet50": (64, 1, 16),
    "ResNet50V2": (64, 1, 16),
    "VGG16": (64, 1, 13),
    "DenseNet121": (64, 1, 120),
    "InceptionV3": (107, 1, 94),
    "InceptionResNetV2": (75, 1, 40),
    "Xception": (75, 1, 12),
    "MobileNet": (64, 1, 14),
    "MobileNetV2": (64, 1, 10),
    "MobileNetV3Small": (64, 255, 6),
    "EfficientNetB0": (64, 255, 9),
    "ConvNeXtTiny": (64, 255, 18),
}


def smallest(name):
    """The smallest height and width."""
    return getattr(keras_se, name).defaults.min_size
