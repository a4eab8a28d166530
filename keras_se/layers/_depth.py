"""A convolution over three axes as a sum of convolutions over two, one per slice of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops


def sum_over_depth(
    x: Any,
    kernel: Any,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
    channels_first: bool,
    plane: Callable[[Any, Any], Any],
) -> Any:
    """Convolve volumes, with the depth folded into the batch.

    Args:
        x: `(batch, D, H, W, C)` or `(batch, C, D, H, W)`.
        kernel: `(depth, height, width, ...)`.
        strides: Strides of the three axes; `plane` applies those of height and width.
        padding: `"valid"` or `"same"`.
        dilations: Dilation rates of the three axes.
        channels_first: Whether `x` has the channels first.
        plane: Convolves pictures of the same data format with one slice of the kernel.
    """
    if channels_first:
        x = ops.moveaxis(x, 1, 2)
    depth, step, rate = ops.shape(x)[1], strides[0], dilations[0]
    reach = (kernel.shape[0] - 1) * rate
    start, count = 0, (depth - reach - 1) // step + 1
    if padding == "same" and reach:
        count = (depth + step - 1) // step
        missing = ops.maximum((count - 1) * step + reach + 1 - depth, 0) if step > 1 else reach
        x = ops.pad(x, [[0, 0], [reach, reach], *[[0, 0]] * 3])
        start = reach - missing // 2
    total = None
    for n in range(kernel.shape[0]):
        first = start + n * rate
        part = x[:, first : first + (count - 1) * step + 1 : step]
        shape = ops.shape(part)
        y = plane(ops.reshape(part, (shape[0] * shape[1], *shape[2:])), kernel[n])
        total = y if total is None else total + y
    total = ops.reshape(total, (-1, count, *ops.shape(total)[1:]))
    return ops.moveaxis(total, 2, 1) if channels_first else total
