"""`grad_cam`: where a network looks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.checks import unknown_choice
from keras_se.graph.trace import Call, computes_its_graph, is_functional, recursion, trace
from keras_se.inspection import PROBABILITIES, warn_of_range

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
            f"output. Received: model of type {type(model).__name__}"
        )
    if len(model.output_shape) != 2:
        raise ValueError(
            "`model` must be a classifier, with outputs (batch, classes). "
            f"Received: outputs of shape {model.output_shape}"
        )
    pictures = _checked(model, images)
    warn_of_range(model, pictures)
    chosen = _classes(classes, len(pictures), model.output_shape[1])
    network = _Network(model, layer)
    channels = _channel_axis(len(network.shape))
    size = np.delete(pictures.shape, (0, _channel_axis(pictures.ndim))).tolist()
    maps = []
    with recursion(2 * len(network.calls)):
        for first in range(0, len(pictures), BATCH):
            part = slice(first, first + BATCH)
            features, gradients = network.gradients(pictures[part], chosen[part])
            positions = tuple(n for n in range(1, features.ndim) if n != channels)
            weights = gradients.mean(axis=positions, keepdims=True)
            maps.append(np.maximum((weights * features).sum(axis=channels), 0))
    found = enlarged(np.concatenate(maps), size)
    highest = found.reshape(len(found), -1).max(axis=1)
    return found / np.where(highest > 0, highest, 1).reshape(-1, *[1] * len(size))


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


def _channel_axis(rank: int) -> int:
    return 1 if keras.config.image_data_format() == "channels_first" else rank - 1


def _checked(model: keras.Model, images: Any) -> np.ndarray:
    """The images as a float32 array that fits the model."""
    pictures, shape = np.asarray(images), model.inputs[0].shape
    fits = pictures.ndim == len(shape) and all(
        known in (None, n) for known, n in zip(shape[1:], pictures.shape[1:], strict=True)
    )
    if not fits or not len(pictures) or pictures.dtype.kind not in "iufb":
        raise ValueError(
            f"`images` must be numbers of shape {shape}, at least one image. "
            f"Received: {pictures.dtype}, shape {pictures.shape}"
        )
    return pictures.astype("float32")


def _classes(classes: Any, count: int, known: int) -> np.ndarray:
    """The class of each image; -1 for the one with the highest score."""
    if classes is None:
        return np.full(count, -1)
    chosen = np.asarray(classes)
    valid = chosen.dtype.kind in "iu" and chosen.shape in ((), (count,))
    if not valid or (chosen < 0).any() or (chosen >= known).any():
        raise ValueError(
            f"`classes` must be an integer from 0 to {known - 1}, or one for each of the {count} "
            f"images. Received: classes={classes!r}"
        )
    return np.broadcast_to(chosen, count)


class _Network:
    """Runs a network with a perturbation added to the output of one layer.

    Args:
        model: The network.
        layer: Name of the layer, or `None` for the last feature maps.
    """

    def __init__(self, model: keras.Model, layer: str | None) -> None:
        self.model = model
        self.graphs: dict[int, Any] = {}
        self.calls = list(self._flat(model, ""))
        rank = len(model.inputs[0].shape)
        maps = {
            name: call
            for name, call in self.calls
            if len(call.outputs) == 1 and _is_map(call.outputs[0].shape, rank)
        }
        if layer is not None and layer not in maps:
            raise ValueError(unknown_choice("layer", layer, maps))
        if not maps:
            raise ValueError(
                "`model` must compute feature maps with more than one position. "
                f"Received: model={model.name!r}"
            )
        self.target = maps[layer or list(maps)[-1]]
        self.shape = self.target.outputs[0].shape

    def gradients(self, pictures: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The feature maps of a batch, and the gradients of its scores with respect to them."""
        found: list[Any] = []

        def score(perturbation: Any) -> tuple[Any, Any]:
            found.clear()
            scores = self._run(self.model, [ops.convert_to_tensor(pictures)], perturbation, found)
            scores = ops.cast(scores[0], "float32")
            wanted = ops.where(classes < 0, ops.argmax(scores, axis=-1), classes)
            hot = ops.one_hot(wanted, scores.shape[-1], dtype="float32")
            return ops.sum(scores * hot), found[-1]

        features = score(None)[1]
        zeros = ops.zeros(features.shape, features.dtype)
        values = (features, _gradient(score, zeros))
        features, gradient = (np.asarray(ops.convert_to_numpy(x), "float32") for x in values)
        return features, gradient

    def _flat(self, model: keras.Model, path: str) -> Iterator[tuple[str, Call]]:
        """All calls in order, also those in nested models, with their names."""
        graph = self.graphs[id(model)] = trace(model)
        for call in graph.calls:
            if is_functional(call.layer):
                yield from self._flat(call.layer, f"{path}{call.layer.name}/")
            else:
                yield f"{path}{call.layer.name}", call

    def _run(
        self, model: keras.Model, inputs: Any, perturbation: Any, found: list[Any]
    ) -> list[Any]:
        """The outputs of a model, before a softmax or sigmoid at its end."""
        graph = self.graphs[id(model)]
        values = dict(zip(map(id, graph.inputs), inputs, strict=True))

        def value(x: Any) -> Any:
            return values[id(x)] if keras.utils.is_keras_tensor(x) else x

        for call in graph.calls:
            args, kwargs = keras.tree.map_structure(value, (call.args, call.kwargs))
            last = call.outputs[0] is graph.outputs[0]
            if is_functional(call.layer):
                outputs = self._run(call.layer, keras.tree.flatten(args), perturbation, found)
            else:
                if "training" in inspect.signature(call.layer.call).parameters:
                    kwargs["training"] = False
                run = _before_probabilities if last else _called
                outputs = keras.tree.flatten(run(call.layer, *args, **kwargs))
            if call is self.target:
                if perturbation is not None:
                    outputs = [outputs[0] + perturbation]
                found.append(outputs[0])
            values |= zip(map(id, call.outputs), outputs, strict=True)
        return [values[id(x)] for x in graph.outputs]


def _called(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def _before_probabilities(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The output of the last layer without its softmax or sigmoid."""
    if isinstance(layer, keras.layers.Softmax):
        return args[0]
    if getattr(layer, "activation", None) not in PROBABILITIES:
        return layer(*args, **kwargs)
    if isinstance(layer, keras.layers.Dense):
        x = ops.matmul(ops.cast(args[0], layer.compute_dtype), layer.kernel)
        return x + layer.bias if layer.use_bias else x
    return args[0] if isinstance(layer, keras.layers.Activation) else layer(*args, **kwargs)


def _is_map(shape: tuple[int | None, ...], rank: int) -> bool:
    """Whether a tensor has the positions of feature maps, more than one."""
    positions = [n for axis, n in enumerate(shape) if axis not in (0, _channel_axis(len(shape)))]
    return len(shape) == rank and (None in positions or math.prod(n or 1 for n in positions) > 1)


def _gradient(function: Callable[[Any], tuple[Any, Any]], at: Any) -> Any:
    """The gradient of the first result of a function, on any backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(at)
            result = function(at)[0]
        return tape.gradient(result, at)
    if backend == "jax":
        import jax

        return jax.grad(lambda x: function(x)[0])(at)
    import torch

    at = at.detach().requires_grad_(True)
    with torch.enable_grad():
        return torch.autograd.grad(function(at)[0], at)[0]
