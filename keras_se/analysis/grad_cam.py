"""`grad_cam`: where a network looks."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.checks import shown, unknown_choice
from keras_se.graph.copies import known
from keras_se.graph.editable import flattened
from keras_se.graph.nodes import New
from keras_se.graph.trace import Call, computes_its_graph, is_functional, recursion
from keras_se.inspection import (
    as_images,
    channels_first,
    check_finite,
    check_images,
    takes_channels_first,
    warn_of_range,
)

# Images per batch.
BATCH = 16


def grad_cam(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | None = None,
    layer: str | None = None,
) -> np.ndarray:
    """Heat maps of the regions that speak for a class (Grad-CAM).

    Each channel of the chosen layer's feature maps is weighted by the mean gradient of the class
    score with respect to it; the map is the positive part of their sum. The score is the network's
    output before a final softmax or sigmoid. The network is not changed and runs in inference.

    Args:
        model: A functional or Sequential classifier with one input and one output
            `(batch, classes)`, also one with nested models.
        images: A batch as the network takes it: `(batch, H, W, C)` or `(batch, C, H, W)`, without
            `W` for signals, with another axis for volumes.
        classes: The class of all images, or of each. Defaults to `None`: each image's class with
            the highest score.
        layer: Name of the layer whose feature maps are used; inside a nested model
            `"nested/layer"`. Defaults to `None`: the last feature maps.

    Returns:
        A float32 array `(batch, H, W)` of the images' size, each map divided by its maximum, so
        from 0 to 1; all zeros where nothing speaks for the class.

    Raises:
        ValueError: If the model, the images, a class or the layer is unsuitable.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> x = keras_se.load_image("ankle_boot.png", model)
    >>> keras_se.grad_cam(model, x).shape
    (1, 28, 28)

    Reference:
        Selvaraju et al. (arXiv:1610.02391), Equations 1 and 2.
    """
    single = is_functional(model) and len(model.inputs) == len(model.outputs) == 1
    if not single or not computes_its_graph(model):
        raise ValueError(
            "`model` must be a functional or built Sequential `keras.Model` with one input and one "
            f"output. Received: {_described(model)}"
        )
    if len(model.output_shape) != 2:
        raise ValueError(
            "`model` must be a classifier, with outputs (batch, classes). "
            f"Received: outputs of shape {model.output_shape}"
        )
    if layer is not None and not isinstance(layer, str):
        raise ValueError(f"`layer` must be a name or None. Received: layer={shown(layer)}")
    pictures = as_images(images)
    check_images(model, pictures)
    check_finite(pictures)
    warn_of_range(model, pictures[:BATCH])
    chosen = _classes(classes, len(pictures), model.output_shape[1])
    network = _Network(model, layer)
    axis = 1 if network.channels_first else pictures.ndim - 1
    channels = 1 if takes_channels_first(model) else pictures.ndim - 1
    size = np.delete(pictures.shape, (0, channels)).tolist()
    maps, dead = [], True
    with recursion(2 * len(network.graph.calls)):
        for first in range(0, len(pictures), BATCH):
            part = slice(first, first + BATCH)
            features, gradients = network.gradients(pictures[part], chosen[part])
            dead = dead and not gradients.any()
            positions = tuple(n for n in range(1, features.ndim) if n != axis)
            weights = gradients.mean(axis=positions, keepdims=True)
            found = enlarged(np.maximum((weights * features).sum(axis=axis), 0), size)
            highest = found.reshape(len(found), -1).max(axis=1)
            maps.append(found / np.where(highest > 0, highest, 1).reshape(-1, *[1] * len(size)))
    if dead:
        warnings.warn(
            "The scores do not change with the feature maps: all gradients are zero, as after a "
            "saturated activation at the network's end",
            stacklevel=2,
        )
    return np.concatenate(maps)


def enlarged(maps: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize maps `(batch, ...)` linearly to `size`, without moving them."""
    for axis, target in enumerate(size, start=1):
        count = maps.shape[axis]
        at = np.clip((np.arange(target) + 0.5) * count / target - 0.5, 0, count - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, count - 1)
        share = (at - low).reshape(-1, *[1] * (maps.ndim - axis - 1)).astype(maps.dtype)
        maps = np.take(maps, low, axis) * (1 - share) + np.take(maps, high, axis) * share
    return maps


def _described(model: Any) -> str:
    """Describe why a model is unsuitable."""
    if not isinstance(model, keras.Model):
        return f"model of type {type(model).__name__}"
    if not is_functional(model):
        return f"model={model.name!r}, subclassed or not built"
    if not computes_its_graph(model):
        return f"model={model.name!r} with a `call` of its own"
    return f"model={model.name!r} with {len(model.inputs)} inputs, {len(model.outputs)} outputs"


def _classes(classes: Any, count: int, known: int) -> np.ndarray:
    """The class of each image; -1 for the one with the highest score."""
    if classes is None:
        return np.full(count, -1)
    chosen = np.asarray(classes)
    valid = chosen.dtype.kind in "iu" and chosen.shape in ((), (count,))
    if not valid or (chosen < 0).any() or (chosen >= known).any():
        raise ValueError(
            f"`classes` must be an integer from 0 to {known - 1}, or one for each of the {count} "
            f"images. Received: classes={shown(classes)}"
        )
    return np.broadcast_to(chosen, count)


class _Network:
    """Runs a flattened network with a perturbation added to the feature maps of one layer.

    `layer` is its name, or `None` for the last feature maps.
    """

    def __init__(self, model: keras.Model, layer: str | None) -> None:
        self.channels_first = channels_first(model)
        self.graph = flattened(model)
        maps: dict[str, Any] = {}
        for call in self._before_the_output():
            if self._is_map(call):
                name = "/".join((*call.path, call.layer.name))
                # If a layer is called several times, its last call counts, also for the order.
                maps.pop(name, None)
                maps[name] = call
        if layer is not None and layer not in maps:
            raise ValueError(
                unknown_choice("layer", layer, maps, "a layer with feature maps before the output")
            )
        if not maps:
            raise ValueError(
                "`model` must compute feature maps with more than one position. "
                f"Received: model={model.name!r}"
            )
        self.target = maps[layer or list(maps)[-1]]
        self.gradient = _gradient_of(self.score)

    def gradients(self, pictures: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The feature maps of a batch, and the gradients of its scores with respect to them."""
        (x,) = self.graph.inputs
        x = ops.convert_to_tensor(pictures, x.dtype)
        wanted = ops.convert_to_tensor(classes, "int32")
        features = self.run(x, None)[1]
        gradient = self.gradient(ops.zeros(features.shape, features.dtype), x, wanted)
        features, gradient = (
            np.asarray(ops.convert_to_numpy(value), "float32") for value in (features, gradient)
        )
        return features, gradient

    def score(self, perturbation: Any, x: Any, classes: Any) -> Any:
        """The sum of the chosen classes' scores; -1 chooses the highest."""
        scores = ops.cast(self.run(x, perturbation)[0], "float32")
        wanted = ops.where(classes < 0, ops.argmax(scores, axis=-1), classes)
        return ops.sum(scores * ops.one_hot(wanted, scores.shape[-1], dtype="float32"))

    def _before_the_output(self) -> list[Call]:
        """The calls that the output depends on, in order."""
        needed, found = {id(x) for x in self.graph.outputs}, []
        for call in reversed(self.graph.calls):
            if any(id(x) in needed for x in call.outputs):
                needed |= set(map(id, call.inputs))
                found.append(call)
        return found[::-1]

    def _is_map(self, call: Call) -> bool:
        """Whether a call gives feature maps with more than one position."""
        if len(call.outputs) != 1:
            return False
        shape = call.outputs[0].shape
        axis = 1 if self.channels_first else len(shape) - 1
        positions = [n for place, n in enumerate(shape) if place not in (0, axis)]
        several = None in positions or math.prod(n or 1 for n in positions) > 1
        return several and len(shape) == len(self.graph.inputs[0].shape)

    def run(self, x: Any, perturbation: Any) -> tuple[Any, Any]:
        """The output before a softmax or sigmoid at its end, and the feature maps."""
        (last,) = self.graph.outputs
        values, features = {id(self.graph.inputs[0]): x}, None

        def value(x: Any) -> Any:
            return values[id(x)] if keras.utils.is_keras_tensor(x) else x

        for call in self.graph.calls:
            layer = call.layer.make("cast") if isinstance(call.layer, New) else call.layer
            args, kwargs = keras.tree.map_structure(value, (call.args, call.kwargs))
            if "training" in inspect.signature(getattr(layer, "call", layer)).parameters:
                kwargs["training"] = False
            run = layer if call.outputs[0] is not last else partial(_before_probabilities, layer)
            outputs = keras.tree.flatten(run(*args, **kwargs))
            if call is self.target:
                features = outputs[0] = (
                    outputs[0] if perturbation is None else outputs[0] + perturbation
                )
            values |= zip(map(id, call.outputs), outputs, strict=True)
        return values[id(last)], features


def _before_probabilities(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The output of the last layer without its softmax or sigmoid."""
    if known(layer) and type(layer).__name__ in ("Softmax", "Sigmoid"):
        return args[0]
    activation = getattr(layer, "activation", None)
    if not getattr(activation, "__name__", "").startswith(("softmax", "sigmoid")):
        return layer(*args, **kwargs)
    layer.activation = keras.activations.linear
    try:
        return layer(*args, **kwargs)
    finally:
        layer.activation = activation


def _gradient_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of a function with respect to its first argument, on any backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # A function leaves out the kernels' gradients, which a tape computes, too. oneDNN corrupts
        # memory when it computes that of a narrow 1x1 convolution with a stride.
        @tf.function
        def of_tensorflow(at: Any, *others: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(at)
                result = function(at, *others)
            return tape.gradient(result, at)

        return of_tensorflow
    if backend == "jax":
        import jax

        return jax.grad(function)
    import torch

    def of_torch(at: Any, *others: Any) -> Any:
        at = at.detach().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(function(at, *others), at)[0]

    return of_torch
