"""The feature maps of a backbone that a decoder takes."""

from __future__ import annotations

import math
from typing import Any

from keras_se.graph.trace import recursion
from keras_se.layer_names import parse
from keras_se.pyramid import STAGES, missing_rows, spatial_sizes, stage_layers

# Level of the stem, at half of the picture's size.
STEM = 1
# Parts of a network before stage 2.
EARLY = (("stem", 0), ("stage", STEM))


def feature_levels(backbone: Any) -> dict[int, Any]:
    """The last feature maps at 1 / 2^k of the picture's size, by k, the smallest first.

    Args:
        backbone: A network of this package for 224 x 224 and larger pictures.

    Returns:
        Symbolic feature maps of levels 5 to 2, and of level 1 if the network has them. Unpadded
        convolutions leave out at most some rows at the border.

    Raises:
        ValueError: If the network has no such stages.
    """
    last = stage_layers(backbone, "backbone")
    outputs = {stage: last[stage].output for stage in STAGES}
    early = [layer.output for layer in backbone.layers if _is_early(layer.name)]
    (inputs,) = backbone.inputs
    with recursion(2 * len(backbone.layers)):
        whole, sizes = spatial_sizes(inputs, [*outputs.values(), *early])
    for stage, size in zip(STAGES, sizes, strict=False):
        if missing_rows(size, whole, stage) is None:
            raise ValueError(
                "`backbone` must have its stages 2, 3, 4 and 5 at 1/4, 1/8, 1/16 and 1/32 of the "
                f"input's size. Received: backbone={backbone.name!r}, stage {stage} at "
                f"{tuple(size)} of {tuple(whole)}"
            )
    for output, size in zip(early, sizes[len(STAGES) :], strict=True):
        # Layers are in topological order, so the last one of this size remains. Half of a small
        # size is no more rows away than unpadded convolutions remove.
        halved = any(4 * n < 3 * math.ceil(m / 2**STEM) for n, m in zip(size, whole, strict=True))
        if not halved and missing_rows(size, whole, STEM) is not None:
            outputs[STEM] = output
    return dict(sorted(outputs.items(), reverse=True))


def _is_early(name: str) -> bool:
    parts = parse(name)
    return parts is not None and (parts.part, parts.stage) in EARLY
