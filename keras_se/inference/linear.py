"""Convolutions and dense layers that absorb per-channel scales and offsets.

Scales and offsets stay float64 until the layer is filled.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_se.graph.copies import has_own_kernel, twin
from keras_se.graph.facts import facts_of
from keras_se.graph.nodes import Copy, numbers


class Linear(Copy):
    """A convolution or dense layer with channel factors and a new bias.

    The kernel is viewed as `(window, inputs per group, groups, outputs per group)`. `inputs` and
    `outputs` are a factor for each channel; those of the outputs do not apply to the bias.
    """

    def __init__(self, source: Any, path: tuple[str, ...] = ()) -> None:
        super().__init__(source, path)
        self.form = facts_of(source).kernel
        self._attribute = "pointwise_kernel" if self.form == "separable" else "kernel"
        shape = tuple(getattr(source, self._attribute).shape)
        self._swapped = self.form == "transposed"
        depthwise = self.form == "depthwise"
        groups = shape[-2] if depthwise else getattr(source, "groups", 1)
        *_, n, m = (*shape[:-2], shape[-1], shape[-2]) if self._swapped else shape
        # A depthwise kernel ends in (channels, multiplier).
        per_group = (1, m) if depthwise else (n, m // groups)
        self._view = (-1, per_group[0], groups, per_group[1])
        self.inputs = np.ones(groups * per_group[0])
        self.outputs = np.ones(groups * per_group[1])
        self.bias = None if source.bias is None else numbers(source.bias)
        self.changed = False

    @staticmethod
    def accepts(layer: Any) -> bool:
        """Whether the layer is a convolution or dense layer with its own kernel."""
        return facts_of(layer).kernel not in (None, "einsum") and has_own_kernel(layer)

    @property
    def activated(self) -> bool:
        """Whether the layer ends in a nonlinearity."""
        return self.source.activation is not keras.activations.linear

    def axis(self, rank: int) -> int:
        """Return the axis of the channels."""
        return 1 if getattr(self.source, "data_format", None) == "channels_first" else rank - 1

    @property
    def takes_factors(self) -> bool:
        """Whether factors of the input channels can go into the kernel."""
        return self.form != "separable"

    @property
    def borderless(self) -> bool:
        """Whether every output sees the whole kernel: the window never leaves the input."""
        if self.form == "dense":
            return True
        if self.form in ("separable", "transposed"):
            return False
        return self.source.padding == "valid" or set(self.source.kernel_size) == {1}

    @property
    def pointwise(self) -> bool:
        """Whether each output position depends only on the same input position."""
        if self.form == "dense":
            return True
        return self.borderless and {*self.source.kernel_size, *self.source.strides} == {1}

    def kernel(self) -> np.ndarray:
        """Return the kernel with its factors, in float64."""
        kernel = numbers(getattr(self.source, self._attribute))
        if self._swapped:
            kernel = np.swapaxes(kernel, -1, -2)
        _, n, groups, m = self._view
        kernel = kernel.reshape(self._view) * self.inputs.reshape(groups, n).T[:, :, None]
        return kernel * self.outputs.reshape(groups, m)

    def matrix(self) -> np.ndarray:
        """Return a pointwise kernel as a matrix `(inputs, outputs)`, zero between groups."""
        (kernel,) = self.kernel()
        n, groups, m = kernel.shape
        matrix = np.zeros((groups, n, groups, m))
        for group in range(groups):
            matrix[group, :, group] = kernel[:, group]
        return matrix.reshape(groups * n, groups * m)

    def follow(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Absorb `y * scale + offset` of the output."""
        self.outputs = self.outputs * scale
        self._add(scale, offset)

    def precede(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Absorb `x * scale + offset` of the input."""
        _, n, groups, _ = self._view
        sums = np.einsum("kngm,gn->gm", self.kernel(), offset.reshape(groups, n)).ravel()
        self.inputs = self.inputs * scale
        self._add(np.ones(()), sums)

    def _add(self, scale: np.ndarray, offset: np.ndarray) -> None:
        self.changed = True
        if self.bias is not None:
            self.bias = self.bias * scale + offset
        elif offset.any():
            self.bias = offset

    def make(self, name: str) -> Any:
        if not self.changed:
            return super().make(name)
        config = self.source.get_config()
        # Regularizers, constraints and initializers only matter for training.
        idle = {key: None for key in config if key.endswith(("_regularizer", "_constraint"))}
        idle |= {key: "zeros" for key in config if key.endswith("_initializer")}
        return twin(self.source, name=name, use_bias=self.bias is not None, **idle)

    def fill(self, layer: Any) -> None:
        if not self.changed:
            super().fill(layer)
            return
        target = getattr(layer, self._attribute)
        shape = tuple(target.shape)
        kernel = self.kernel()
        if self._swapped:
            kernel = np.swapaxes(kernel.reshape(*shape[:-2], shape[-1], shape[-2]), -1, -2)
        if self._attribute != "kernel":
            layer.depthwise_kernel.assign(self.source.depthwise_kernel)
        target.assign(kernel.reshape(shape))
        if self.bias is not None:
            layer.bias.assign(self.bias)
