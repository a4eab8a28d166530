"""Kernels for inputs with another number of channels or of axes."""

from __future__ import annotations

import numpy as np

HOWS = ("average", "centre")


def adapt_kernel(kernel: np.ndarray, channels: int, reverse: bool = False) -> np.ndarray:
    """Adapt the first kernel to another number of channels.

    One channel: sum the kernel, so that a grey image counts as one with equal channels. Otherwise
    repeat the kernel in order and rescale it, so that equal channels have the same effect.

    Args:
        kernel: `(height, width, channels, filters)`.
        channels: New number of channels.
        reverse: Whether the kernel takes blue first; the result takes red first.
    """
    published = kernel.shape[-2]
    if channels == 1:
        return kernel.sum(axis=-2, keepdims=True)
    kernel = kernel[..., ::-1, :] if reverse else kernel
    repeated = np.arange(channels) % published
    # Copies of the same channel share its weight.
    share = max(1, published / channels) / np.bincount(repeated)[repeated]
    return (kernel[..., repeated, :] * share[:, None]).astype(kernel.dtype)


def shares(size: int, how: str) -> np.ndarray:
    """The factor of a kernel in each slice of an inflated one.

    `"average"`: the same in each; `"centre"`: one in the middle slice, the one before the middle
    of an even number.
    """
    if how == "average":
        return np.full(size, 1 / size)
    return np.eye(size)[(size - 1) // 2]


def transposed_shares(size: int, stride: int, how: str) -> np.ndarray:
    """`shares` for a transposed convolution, which adds the slices that are a stride apart."""
    found = np.zeros(size)
    if how == "average":
        for n in range(size):
            found[n] = 1 / len(range(n % stride, size, stride))
        return found
    first = max(size - stride, 0) // 2
    found[first : first + stride] = 1
    return found
