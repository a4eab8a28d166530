"""Tables from the layer names of Keras' own networks to ours, for the plain networks' weights."""

from __future__ import annotations

import re
from typing import Any

from keras_se.weights.patterns import UNIT, Shapes, Sources, by_name

CLASSIFIER = r"(predictions|probs|fc1000|conv_preds)\|(?:.*/)?(?P<v>kernel|bias)"


def resnet(tensors: Shapes, variables: Shapes, net: Any) -> Sources:
    """Map `keras.applications.ResNet50` etc., whose convolutions have biases."""
    unit = r"conv<stage>_block<block>_"
    table = {
        r"conv1_conv\|<v2>": "stem_conv",
        r"conv1_conv\|<shift>": "stem_bn",
        r"conv1_bn\|<bn2>": "stem_bn",
        unit + r"0_conv\|<v2>": UNIT + "_shortcut_conv",
        unit + r"0_conv\|<shift>": UNIT + "_shortcut_bn",
        unit + r"0_bn\|<bn2>": UNIT + "_shortcut_bn",
        unit + r"<n>_conv\|<v2>": UNIT + "_conv{n}",
        unit + r"<n>_conv\|<shift>": UNIT + "_bn{n}",
        unit + r"<n>_bn\|<bn2>": UNIT + "_bn{n}",
        CLASSIFIER: "predictions",
    }
    return by_name(tensors, table, first_stage=2)


def densenet(tensors: Shapes, variables: Shapes, net: Any) -> Sources:
    """Map `keras.applications.DenseNet121` etc."""
    unit = r"conv<stage>_block<block>_"
    table = {
        r"conv1[_/]conv\|<v2>": "stem_conv",
        r"conv1[_/]bn\|<bn2>": "stem_bn",
        unit + r"0_bn\|<bn2>": UNIT + "_bn1",
        unit + r"1_conv\|<v2>": UNIT + "_conv1",
        unit + r"1_bn\|<bn2>": UNIT + "_bn2",
        unit + r"2_conv\|<v2>": UNIT + "_conv2",
        r"pool<stage>_bn\|<bn2>": "transition{stage}_bn",
        r"pool<stage>_conv\|<v2>": "transition{stage}_conv",
        r"bn\|<bn2>": "post_bn",
        CLASSIFIER: "predictions",
    }
    return by_name(tensors, table, first_stage=2)


def mobilenet(tensors: Shapes, variables: Shapes, net: Any) -> Sources:
    """Map `keras.applications.MobileNet`, which numbers its blocks consecutively."""
    table = {
        r"conv1\|<v2>": "stem_conv",
        r"conv1_bn\|<bn2>": "stem_bn",
        CLASSIFIER: "predictions",
    }
    units = [(stage, n) for stage, count in net.units.items() for n in range(1, count + 1)]
    for number, (stage, n) in enumerate(units, start=1):
        for theirs, ours in (("dw", "depthwise"), ("pw", "pointwise")):
            layer = f"stage{stage}_block{n}_{ours}"
            table[rf"conv_{theirs}_{number}\|<v2>"] = f"{layer}_conv"
            table[rf"conv_{theirs}_{number}_bn\|<bn2>"] = f"{layer}_bn"
    return by_name(tensors, table)


def inception(tensors: Shapes, variables: Shapes, net: Any) -> Sources:
    """Map `keras.applications.InceptionV3` and `InceptionResNetV2`.

    Most layers are numbered in order of creation, branch by branch, as ours are; a few of
    Inception-ResNet-v2 have names.
    """
    table = {CLASSIFIER: "predictions"}
    for theirs, stage in (("block35", 3), ("block17", 4), ("block8", 5)):
        for part in ("<v2>", "<b2>"):
            table[rf"{theirs}_<block>_conv\|{part}"] = f"stage{stage}_block{{block}}_conv"
    table[r"conv_7b\|<v2>"], table[r"conv_7b_bn\|<bn2>"] = "post_conv", "post_bn"
    sources = by_name(tensors, table)
    for kind, theirs in (("conv", "conv2d"), ("bn", "batch_normalization")):
        ours = {name.split("/")[0] for name in variables} - {name.split("/")[0] for name in sources}
        layers = sorted((name for name in ours if name.endswith(kind)), key=_creation)
        numbered = {
            int(match[1] or 0): match[0]
            for name in tensors
            if (match := re.match(rf"{theirs}(?:_(\d+))?(?=\|)", name))
        }
        # Missing or extra tensors reveal a wrong count later.
        for layer, (_, prefix) in zip(layers, sorted(numbered.items()), strict=False):
            for name in tensors:
                if name.startswith(f"{prefix}|"):
                    variable = name.rsplit("/", 1)[-1].split("|")[-1]
                    sources[f"{layer}/{variable}"] = [name]
    return sources


def _creation(layer: str) -> list[Any]:
    """Sort key for the layers of an Inception network, in order of creation."""
    for word, number in (("stem", "0"), ("stage", "1_"), ("mixed", "block0")):
        layer = layer.replace(word, number)
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", layer)]
