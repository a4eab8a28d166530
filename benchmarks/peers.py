"""Networks of other packages that the benchmarks share."""

from __future__ import annotations

from typing import Any


def timm_seresnet50() -> Any:
    """SE-ResNet-50 of timm with random weights.

    timm imports torchvision, whose binary part does not fit every build of Torch. It then names
    operators that nothing has declared; this network does without them.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)
    import timm

    return timm.create_model("seresnet50", pretrained=False)
