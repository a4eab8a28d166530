"""What the calls of a network in the making are calls of.

A part knows the layer that it becomes and its values. Factors and offsets of channels are float64
until the layer is filled with them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.copies import copy_values, known, plain, twin
from keras_se.graph import Call, symbolic
from keras_se.layers import ScaleOffset

DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
CONVOLUTIONS = (
    layers.Conv1D, layers.Conv2D, layers.Conv3D, *DEPTHWISE, *SEPARABLE, *TRANSPOSED,
)  # fmt: skip


class Copy:
    """A layer or operation of the model as it is.

    Attributes:
        source: The model's own.
        path: Names of the nested models that it is in.
    """

    def __init__(self, source: Any, path: tuple[str, ...] = ()) -> None:
        self.source = source
        self.path = path
        self.name = source.name

    @property
    def label(self) -> str:
        """Its name in the model, `"nested/layer"` in a nested one."""
        return "/".join((*self.path, self.source.name))

    def make(self, name: str) -> Any:
        """The new layer, without its values."""
        return twin(self.source, name=name)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the new layer with the arguments of the old one."""
        return layer(*args, **kwargs)

    def fill(self, layer: Any) -> None:
        """Give the built layer its values."""
        if isinstance(layer, layers.Layer):
            copy_values(self.source, layer)


class New:
    """A layer that the model does not have.

    Attributes:
        create: Its class or another function that makes it.
        settings: The arguments.
        values: Its variables, by attribute.
    """

    path = ()

    def __init__(self, create: Callable[..., Any], name: str, **settings: Any) -> None:
        self.create = create
        self.name = name
        self.settings = settings
        self.values: dict[str, np.ndarray] = {}

    def make(self, name: str) -> Any:
        return self.create(name=name, **self.settings)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return layer(*args, **kwargs)

    def fill(self, layer: Any) -> None:
        for attribute, value in self.values.items():
            getattr(layer, attribute).assign(value)


class Linear(Copy):
    """A convolution or dense layer, with factors of its channels and another bias.

    The kernel is seen as `(window, inputs of a group, groups, outputs of a group)`.

    Attributes:
        inputs: A factor for each input channel.
        outputs: A factor for each output channel; not of the bias.
        bias: The bias, or `None`.
    """

    def __init__(self, source: Any, path: tuple[str, ...] = ()) -> None:
        super().__init__(source, path)
        self._attribute = "pointwise_kernel" if isinstance(source, SEPARABLE) else "kernel"
        shape = tuple(getattr(source, self._attribute).shape)
        self._swapped = isinstance(source, TRANSPOSED)
        groups = shape[-2] if isinstance(source, DEPTHWISE) else getattr(source, "groups", 1)
        *_, n, m = (*shape[:-2], shape[-1], shape[-2]) if self._swapped else shape
        # A depthwise kernel ends in (channels, multiplier).
        per_group = (1, m) if isinstance(source, DEPTHWISE) else (n, m // groups)
        self._view = (-1, per_group[0], groups, per_group[1])
        self.inputs = np.ones(groups * per_group[0])
        self.outputs = np.ones(groups * per_group[1])
        self.bias = None if source.bias is None else numbers(source.bias)
        self.changed = False

    @staticmethod
    def accepts(layer: Any, calls: list[Call]) -> bool:
        """Whether the layer is one of these."""
        return isinstance(layer, (*CONVOLUTIONS, layers.Dense)) and plain(layer)

    @property
    def activated(self) -> bool:
        """Whether a nonlinearity follows within the layer."""
        return self.source.activation is not keras.activations.linear

    def axis(self, rank: int) -> int:
        """Axis of the channels."""
        return 1 if getattr(self.source, "data_format", None) == "channels_first" else rank - 1

    @property
    def takes_factors(self) -> bool:
        """Whether factors of the input channels can go into the kernel."""
        return not isinstance(self.source, SEPARABLE)

    @property
    def borderless(self) -> bool:
        """Whether every output sees the whole kernel: no padding, a window that stays inside."""
        if isinstance(self.source, layers.Dense):
            return True
        if isinstance(self.source, SEPARABLE + TRANSPOSED):
            return False
        return self.source.padding == "valid" or set(self.source.kernel_size) == {1}

    @property
    def pointwise(self) -> bool:
        """Whether each position of the output is computed from the same one of the input."""
        if isinstance(self.source, layers.Dense):
            return True
        return self.borderless and {*self.source.kernel_size, *self.source.strides} == {1}

    def kernel(self) -> np.ndarray:
        """The kernel with its factors, in float64."""
        kernel = numbers(getattr(self.source, self._attribute))
        if self._swapped:
            kernel = np.swapaxes(kernel, -1, -2)
        _, n, groups, m = self._view
        kernel = kernel.reshape(self._view) * self.inputs.reshape(groups, n).T[:, :, None]
        return kernel * self.outputs.reshape(groups, m)

    def matrix(self) -> np.ndarray:
        """A pointwise kernel as a matrix `(inputs, outputs)`, with zeros between groups."""
        (kernel,) = self.kernel()
        n, groups, m = kernel.shape
        matrix = np.zeros((groups, n, groups, m))
        for group in range(groups):
            matrix[group, :, group] = kernel[:, group]
        return matrix.reshape(groups * n, groups * m)

    def follow(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Take in `y * scale + offset` of the output."""
        self.outputs = self.outputs * scale
        self._add(scale, offset)

    def precede(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Take in `x * scale + offset` of the input."""
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
        # What regularizes and constrains in training has nothing to do any more.
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


class Affine(Copy):
    """A layer that computes `x * scale + offset` with numbers for each channel.

    Attributes:
        axis: Axis of the channels.
        scale: The factors.
        offset: The summands.
        activation: What follows.
    """

    def __init__(self, source: Any, path: tuple[str, ...], x: Any) -> None:
        super().__init__(source, path)
        rank = len(x.shape)
        found = _affine(source)
        assert found is not None
        axis, scale, offset = found
        self.axis = axis % rank
        channels = x.shape[self.axis]
        self.scale, self.offset = (np.broadcast_to(v, (channels,)) for v in (scale, offset))
        self.activation = keras.activations.linear
        self.jit_compile = False
        # These compute their factors anew at every call.
        self.changed = isinstance(source, layers.BatchNormalization | layers.Normalization)

    @property
    def activated(self) -> bool:
        """Whether a nonlinearity follows within the layer."""
        return self.activation is not keras.activations.linear

    @staticmethod
    def accepts(layer: Any, calls: list[Call]) -> bool:
        """Whether the layer is one of these."""
        found = _affine(layer)
        if found is None or any(not call.inputs for call in calls):
            return False
        axis, scale, _ = found
        shapes = {call.inputs[0].shape for call in calls}
        if len({len(shape) for shape in shapes}) > 1 or any(len(shape) < 2 for shape in shapes):
            return False
        channels = {shape[axis] for shape in shapes}
        return len(channels) == 1 and None not in channels and scale.size in (1, *channels)

    def follow(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Take in `y * scale + offset` of the output."""
        self.scale, self.offset = self.scale * scale, self.offset * scale + offset
        self.changed = True

    def make(self, name: str) -> Any:
        if not self.changed:
            return super().make(name)
        return ScaleOffset(
            self.axis,
            self.activation,
            self.jit_compile,
            dtype=self.source.dtype_policy,
            name=name,
        )

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # BatchNorm has a mask and a mode of training besides.
        return layer(symbolic((args, kwargs))[0]) if self.changed else layer(*args, **kwargs)

    def fill(self, layer: Any) -> None:
        if not self.changed:
            super().fill(layer)
            return
        layer.scale.assign(self.scale)
        layer.offset.assign(self.offset)


Part = Copy | New


def lift(layer: Any, path: tuple[str, ...], calls: list[Call]) -> Copy:
    """The part for a layer of the model and all its calls."""
    if (
        known(layer)
        and getattr(layer, "built", False)
        and not any(trains(layer, call) for call in calls)
    ):
        if Linear.accepts(layer, calls):
            return Linear(layer, path)
        if Affine.accepts(layer, calls):
            return Affine(layer, path, calls[0].inputs[0])
    return Copy(layer, path)


def trains(layer: Any, call: Call) -> bool:
    """Whether the call says `training=True`, as Monte Carlo dropout does."""
    said = [*call.args[1:], call.kwargs.get("training")]
    if not any(isinstance(value, bool | int) and bool(value) for value in said):
        return False
    # Keras notes down the default, which is true of augmentation.
    training = inspect.signature(layer.call).parameters.get("training")
    return training is None or training.default is not True


def numbers(variable: Any) -> np.ndarray:
    """The values in float64."""
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype("float64")


def _affine(layer: Any) -> tuple[int, np.ndarray, np.ndarray] | None:
    """Axis of the channels, factors and summands at inference; `None` of another layer."""
    if isinstance(layer, layers.BatchNormalization):
        scale = 1 / np.sqrt(numbers(layer.moving_variance) + layer.epsilon)
        if layer.gamma is not None:
            scale *= numbers(layer.gamma)
        offset = -numbers(layer.moving_mean) * scale
        if layer.beta is not None:
            offset += numbers(layer.beta)
        return layer.axis, scale, offset
    if isinstance(layer, layers.Normalization) and layer.mean is not None:
        axis = layer.axis if layer.axis else (-1,)
        if len(axis) > 1 or layer.invert:
            return None
        deviation = np.maximum(np.sqrt(numbers(layer.variance).ravel()), keras.config.epsilon())
        return axis[0], 1 / deviation, -numbers(layer.mean).ravel() / deviation
    if isinstance(layer, layers.Rescaling):
        scale, offset = (np.asarray(v, "float64") for v in (layer.scale, layer.offset))
        # With the channels first Keras has a shape of its own for several factors.
        first = keras.config.image_data_format() == "channels_first"
        if max(scale.ndim, offset.ndim) > (0 if first else 1):
            return None
        scale, offset = np.broadcast_arrays(scale, offset)
        return -1, scale.ravel(), offset.ravel()
    if type(layer).__name__ == "LayerScale":
        scale = numbers(layer.gamma)
        return -1, scale, np.zeros_like(scale)
    return None
