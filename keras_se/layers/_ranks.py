"""Keras' layers for signals, pictures and volumes: `Conv1D`, `Conv2D`, `Conv3D` and so on."""

from __future__ import annotations

from typing import Any

from keras import layers


def rank_of(x: Any) -> int:
    """The number of spatial axes of `x`: 1 of a signal, 2 of an image, 3 of a volume."""
    return len(x.shape) - 2


def ranked(kind: str, rank: int) -> Any:
    """The class of layers of a kind, such as `"MaxPooling"`, for positions of a rank."""
    return getattr(layers, f"{kind}{rank}D")
