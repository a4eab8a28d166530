"""Products and means that keep their precision on every backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def matmul(x: Any, matrix: Any) -> Any:
    """Multiply `x` `(..., n)` by a matrix `(n, m)` in their own dtype.

    On Torch, `keras.ops.matmul` and `tensordot` turn float64 into float32; `einsum` does not.
    """
    if keras.backend.standardize_dtype(x.dtype) == "float64":
        return ops.einsum("...i,ij->...j", x, matrix)
    return ops.matmul(x, matrix)


def mean(x: Any, axes: Sequence[int]) -> Any:
    """Return the mean over `axes` in the dtype of `x`; on Torch, Keras rounds it to float32."""
    if keras.backend.backend() == "torch" and keras.backend.standardize_dtype(x.dtype) == "float64":
        return ops.sum(x, axis=axes) / math.prod(x.shape[axis] for axis in axes)
    return ops.mean(x, axis=axes)
