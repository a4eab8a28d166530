"""OpenCV's reader of Caffe networks stands in for Caffe, which cannot be installed any more."""

import re
from pathlib import Path

import cv2
import numpy as np

# The outputs of residual units and of Inception modules.
UNIT = re.compile(r"conv([2-5])_\d+/relu")
MODULE = re.compile(r"inception_(\d\w)/output")


def outputs(text: Path, weights: Path, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What OpenCV makes of the network: outputs by layer, channels last.

    Args:
        text: The network.
        weights: Its weights.
        pictures: `(N, height, width, 3)`, BGR minus the mean.
    """
    net = cv2.dnn.readNetFromCaffe(str(text), str(weights))
    # Fused layers have no outputs of their own.
    net.enableFusion(False)
    layers = net.getLayerNames()
    last = {f"stage{m[1]}": m[0] for layer in layers if (m := UNIT.fullmatch(layer))}
    modules = {m[1]: m[0] for layer in layers if (m := MODULE.fullmatch(layer))}
    wanted = {"stage1": "pool1/3x3_s2", **last, **modules}
    names = [*wanted.values(), "classifier"]
    results: dict[str, list[np.ndarray]] = {}
    for picture in pictures:
        net.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
        for name, output in zip([*wanted, "logits"], net.forward(names), strict=True):
            results.setdefault(name, []).append(np.moveaxis(output, 1, -1).copy())
    return {name: np.concatenate(parts) for name, parts in results.items()}
