"""OpenCV's reader of Caffe networks stands in for Caffe, which cannot be installed any more."""

from pathlib import Path

import cv2
import numpy as np


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
    blocks = [layer for layer in net.getLayerNames() if layer.endswith("/relu")]
    last = {f"stage{layer[4]}": layer for layer in blocks if layer.count("_") == 1}
    wanted = {"stage1": "pool1/3x3_s2", **{k: v for k, v in last.items() if k != "stage1"}}
    names = [*wanted.values(), "classifier"]
    results: dict[str, list[np.ndarray]] = {}
    for picture in pictures:
        net.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
        for name, output in zip([*wanted, "logits"], net.forward(names), strict=True):
            results.setdefault(name, []).append(np.moveaxis(output, 1, -1).copy())
    return {name: np.concatenate(parts) for name, parts in results.items()}
