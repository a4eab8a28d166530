"""Keras' layers for signals, pictures and volumes: `Conv1D`, `Conv2D`, `Conv3D` and so on."""

from __future__ import annotations

from typing import Any

from keras import layers


def rank_of(x: Any) -> int:
    """The number of axes of `x` that are positions: signals 1, pictures 2, volumes 3."""
    return len(x.shape) - 2


def ranked(kind: str, rank: int) -> Any:
    """The class of layers of a kind, such as `"MaxPooling"`, for positions of a rank."""
    return getattr(layers, f"{kind}{rank}D")
