"""The networks of the package, by name, and what the tests of all of them go by."""

import inspect
import re

import keras_se

NAMES = keras_se.list_models()
# 120 of its 138 million parameters are in the fully connected layers.
VARIANTS = {"SEVGG16": {"fully_connected": (64, 32)}}


def smallest(name):
    """The smallest height and width."""
    return getattr(keras_se, name).defaults.min_size


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
