"""The layers of a network for images, as layers of a network for volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.graph.copies import copy_values, has_own_kernel, known, twin
from keras_se.graph.facts import facts_of
from keras_se.graph.nodes import Copy
from keras_se.graph.trace import Call
from keras_se.layers import (
    AdaptiveAveragePooling3D,
    ChannelAttention,
    ChannelShuffle,
    DepthwiseConv3D,
    EdgePadding3D,
    GroupedConv3D,
    PictureNormalization,
)
from keras_se.layers._ranks import rank_of
from keras_se.weights.kernels import adapt_kernel, shares, transposed_shares

# Layers with a form for volumes, by class name.
FORMS: Mapping[str, type[Any]] = {
    "AdaptiveAveragePooling2D": AdaptiveAveragePooling3D,
    "AdaptiveMaxPooling2D": layers.AdaptiveMaxPooling3D,
    "AveragePooling2D": layers.AveragePooling3D,
    "Conv2D": layers.Conv3D,
    "Conv2DTranspose": layers.Conv3DTranspose,
    "Cropping2D": layers.Cropping3D,
    "DepthwiseConv2D": DepthwiseConv3D,
    "GlobalAveragePooling2D": layers.GlobalAveragePooling3D,
    "GlobalMaxPooling2D": layers.GlobalMaxPooling3D,
    "GroupedConv2D": GroupedConv3D,
    "MaxPooling2D": layers.MaxPooling3D,
    "SpatialDropout2D": layers.SpatialDropout3D,
    "UpSampling2D": layers.UpSampling3D,
    "ZeroPadding2D": layers.ZeroPadding3D,
}
# Layers without a fact that act alike at every position, or along every axis.
POSITIONWISE = (
    "CustomScaleLayer", "Dense", "GroupNormalization", "LayerNormalization", "LayerScale",
    "Normalization", "RMSNormalization", "Softmax",
)  # fmt: skip
# Flows of channels that tell nothing of positions.
FLOWS = ("same", "merged", "first", "concatenated")
# `dims` of the `Permute` that moves the channels, of images and of volumes, by whether the channels
# come first before it.
MOVES = {True: ((2, 3, 1), (2, 3, 4, 1)), False: ((3, 1, 2), (4, 1, 2, 3))}
# Operations over axes.
REDUCTIONS = ("Amax", "Max", "Mean", "Sum")


def _cube(sizes: Any) -> Any:
    """Equal sizes get a third; others a depth of 1."""
    if not isinstance(sizes, Sequence):
        return sizes
    height, width = sizes
    return (height if height == width else 1, height, width)


def _borders(borders: Any) -> Any:
    """Equal borders get a third; others a depth without borders."""
    height, width = (tuple(side) for side in borders)
    return (height if height == width else (0, 0), height, width)


SETTINGS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("kernel_size", "pool_size", "strides", "dilation_rate", "output_padding", "size"), _cube
    ),
    "cropping": _borders,
    "output_size": lambda sizes: (1, *sizes),
}


class Volumetric(Copy):
    """A layer whose images become volumes; the depth is their first axis.

    Attributes:
        calls: Its calls.
        first: Whether the channels of its inputs come before the positions.
        how: How kernels inflate.
        edges: Whether padding repeats the outer slices.
        channels: Number of input channels that the kernel adapts to, or `None`.
        reverse: Whether the kernel takes blue first, and adapted red first.
        order: Of a `Flatten` that has been called, unless it leaves everything in its place: for
            each feature of the volume, the feature of the image, and the slice.
        flatten: The `Flatten` whose features reach it in their order.
    """

    def __init__(
        self, node: Copy, calls: Sequence[Call], formats: set[bool], how: str, edges: bool
    ) -> None:
        super().__init__(node.source, node.path)
        self.calls, self.first, self.how, self.edges = calls, True in formats, how, edges
        if len(formats) > 1:
            raise self._refusal("with channels first and last")
        self.channels: int | None = None
        self.reverse = False
        self.order: tuple[np.ndarray, np.ndarray] | None = None
        self.flatten: Volumetric | None = None
        self.kind: Any = None
        self.changes = self._changes()

    def make(self, name: str) -> Any:
        if self.kind is layers.UpSampling3D:
            # It has fewer settings than the layer for images.
            source = self.source
            return layers.UpSampling3D(
                self.changes["size"], source.data_format, dtype=source.dtype_policy, name=name
            )
        return twin(self.source, self.kind, name=name, **self.changes)

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(self.source, layers.Flatten) and rank_of(args[0]) == 3:
            self.order = self._flattened(args[0].shape[1:])
        try:
            return layer(*args, **kwargs)
        except Exception as error:  # Backends raise different exceptions.
            shapes = [
                tuple(x.shape) for x in keras.tree.flatten((args, kwargs)) if hasattr(x, "shape")
            ]
            raise ValueError(
                f"`input_shape` must be large enough for every layer. Received: layer "
                f"{self.label!r} with an input of {', '.join(map(str, shapes))}"
            ) from error

    def fill(self, layer: Any) -> None:
        if not getattr(self.source, "variables", ()):
            return
        same = all(
            x.shape == y.shape for x, y in zip(self.source.variables, layer.variables, strict=True)
        )
        if self.kind is None and self._features is None and same:
            copy_values(self.source, layer)
            return
        for old, new in zip(self.source.variables, layer.variables, strict=True):
            new.assign(self._inflated(keras.ops.convert_to_numpy(old), tuple(new.shape)))
            new.trainable = old.trainable

    def _inflated(self, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if self.channels is not None and value.ndim == 4:
            value = adapt_kernel(value, self.channels, self.reverse)
        if value.ndim == 2 and self._features is not None:
            rows, slices = self._features
            return np.asarray(value[rows] * shares(slices.max() + 1, self.how)[slices, None])
        if value.shape == shape:
            return value
        if value.ndim + 1 != len(shape) or value.shape != shape[1:]:
            raise ValueError(
                f"`input_shape` must fit the weights of layer {self.label!r}, {value.shape}. "
                f"Received: an input that needs {shape}"
            )
        if facts_of(self.source).kernel == "transposed":
            factors = transposed_shares(shape[0], self.changes["strides"][0], self.how)
        else:
            factors = shares(shape[0], self.how)
        return np.asarray(factors.reshape(-1, *[1] * value.ndim) * value)

    @property
    def _features(self) -> tuple[np.ndarray, np.ndarray] | None:
        return None if self.flatten is None else self.flatten.order

    def _flattened(self, here: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray] | None:
        """The `order` of a flattened volume of this shape."""
        planes = self.calls[0].inputs[0].shape[1:]
        axis = 1 if self.first else 0
        if (*here[:axis], *here[axis + 1 :]) != planes:
            raise ValueError(
                f"`input_shape` must give slices of {planes} before layer {self.label!r}. "
                f"Received: an input that gives {here}"
            )
        if None in here:
            return None

        def flat(x: np.ndarray) -> np.ndarray:
            first = self.source.data_format == "channels_first"
            return (np.moveaxis(x, 0, -1) if first else x).ravel()

        numbers = np.arange(math.prod(planes)).reshape(planes)
        places = np.argsort(flat(numbers)).reshape(planes)
        rows = flat(np.broadcast_to(np.expand_dims(places, axis), here))
        still = np.array_equal(rows, np.arange(rows.size))
        return None if still else (rows, flat(np.indices(here)[axis]))

    def _changes(self) -> dict[str, Any]:
        """Return the settings that change, and set `kind`.

        Raises:
            ValueError: If the layer has no form for volumes.
        """
        layer, name = self.source, type(self.source).__name__
        ranks = {rank_of(x) for call in self.calls for x in (*call.inputs, *call.outputs)}
        if 2 not in ranks:
            # It follows global pooling.
            return {}
        if not known(layer):
            raise self._refusal("a class of your own")
        if any(np.ndim(x) > 2 for call in self.calls for x in _arrays(call)):
            raise self._refusal("with an array among its arguments")
        if name in FORMS:
            return self._form(layer, FORMS[name])
        if name in ("Reshape", "Flatten"):
            return self._reshaped(layer, name)
        if name == "Permute":
            of_images, of_volumes = MOVES[self.first]
            if tuple(layer.dims) != of_images:
                raise self._refusal(f"with dims={layer.dims}")
            return {"dims": of_volumes}
        if name in REDUCTIONS:
            return {"axis": self._reduced(layer.axis)}
        if name == "Pad":
            return {"pad_width": self._inserted(layer.pad_width, (0, 0))}
        shape: Any = getattr(layer, "noise_shape", None)
        if shape is not None:
            return {"noise_shape": self._inserted(shape, 1)}
        if isinstance(layer, layers.PReLU):
            if list(layer.shared_axes or ()) != ([2, 3] if self.first else [1, 2]):
                raise self._refusal("with weights for each position")
            return {"shared_axes": [2, 3, 4] if self.first else [1, 2, 3]}
        channels = facts_of(layer).channels
        flows = channels is not None and channels.flow in FLOWS
        free = isinstance(layer, ChannelAttention | ChannelShuffle | PictureNormalization)
        if not (free or flows or name in POSITIONWISE):
            raise self._refusal("")
        axis = getattr(layer, "axis", None)
        if isinstance(axis, int):
            return {"axis": self._axis(axis)}
        if isinstance(axis, Sequence):
            return {"axis": [self._axis(n) for n in axis]}
        return {}

    def _form(self, layer: Any, kind: Any) -> dict[str, Any]:
        if facts_of(layer).kernel and not has_own_kernel(layer):
            raise self._refusal("quantized or with LoRA")
        if getattr(layer, "interpolation", "nearest") != "nearest":
            raise self._refusal(
                f"with interpolation={layer.interpolation!r}, which UpSampling3D does not have"
            )
        self.kind = kind
        if kind is layers.Conv3D and layer.groups > 1:
            self.kind = GroupedConv3D
        if kind is layers.ZeroPadding3D:
            self.kind = EdgePadding3D if self.edges else kind
            return {"padding": _borders(layer.padding)}
        changes = {
            key: to(getattr(layer, key)) for key, to in SETTINGS.items() if hasattr(layer, key)
        }
        transposed = facts_of(layer).kernel == "transposed"
        if transposed and changes["kernel_size"][0] < changes["strides"][0]:
            raise self._refusal("with strides above the kernel's size")
        return changes

    def _reshaped(self, layer: Any, name: str) -> dict[str, Any]:
        ones = all(
            rank_of(x) != 2 or set(self._positions(x.shape)) == {1}
            for call in self.calls for x in call.inputs
        )  # fmt: skip
        target = tuple(getattr(layer, "target_shape", ()))
        if name == "Flatten":
            return {}
        if len(target) == 3 and set(self._positions((None, *target))) == {1}:
            return {"target_shape": self._inserted((None, *target), 1)[1:]}
        if ones and len(target) < 3:
            return {}
        raise self._refusal(f"with target_shape={target}")

    def _positions(self, shape: Sequence[Any]) -> Sequence[Any]:
        return shape[2:4] if self.first else shape[1:3]

    def _inserted(self, values: Sequence[Any], value: Any) -> tuple[Any, ...]:
        """Values of all axes of images, with one for the depth."""
        depth = 2 if self.first else 1
        return (*values[:depth], value, *values[depth:])

    def _axis(self, axis: int) -> int:
        """The axis of volumes for one of images."""
        axis %= 4
        return axis + (axis >= (2 if self.first else 1))

    def _reduced(self, axis: Any) -> list[int]:
        axes = {n % 4 for n in ([axis] if isinstance(axis, int) else axis or range(4))}
        positions = {2, 3} if self.first else {1, 2}
        if axes & positions and not positions <= axes:
            raise self._refusal("over height or width alone")
        depth = {min(positions)} if axes & positions else set()
        return sorted(depth | {self._axis(n) for n in axes})

    def _refusal(self, why: str) -> ValueError:
        kind = f"{type(self.source).__name__} {why}".strip()
        return ValueError(
            "`model` must have layers with a form for volumes. "
            f"Received: layer {self.label!r} of type {kind}"
        )


def _arrays(call: Call) -> list[Any]:
    """Values among the arguments of a call that are no symbolic tensors."""
    return [
        x
        for x in keras.tree.flatten((call.args, call.kwargs))
        if hasattr(x, "shape") and not keras.utils.is_keras_tensor(x)
    ]
