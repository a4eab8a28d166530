"""The network to export: a model and its description."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_se.graph.editable import EditableGraph
from keras_se.graph.nodes import Copy, constant_of
from keras_se.graph.trace import recursion
from keras_se.inspection import layers_of
from keras_se.labels import probabilities
from keras_se.layers import GroupedConv1D, GroupedConv2D, GroupedConv3D
from keras_se.layers._arguments import HALF_PRECISION
from keras_se.layers.attention import recorded_gates
from keras_se.serving.decoding import Transform

if TYPE_CHECKING:
    import tensorflow as tf


# Batch size for measuring gates.
BATCH = 32
# Activations that turn logits into probabilities.
SCORES = (None, "softmax", "sigmoid")
GROUPED = {
    keras.layers.Conv1D: GroupedConv1D,
    keras.layers.Conv2D: GroupedConv2D,
    keras.layers.Conv3D: GroupedConv3D,
}


@dataclass(frozen=True)
class ServedNetwork:
    """A model to export.

    Attributes:
        model: A model whose one input is images.
        shape: Shape of one image, signal or volume, channels last; sizes may be `None`.
        channels_first: Whether the model itself takes channels first.
        outputs: Names of the outputs in the file.
        scores: Activation applied to the one output: `"softmax"`, `"sigmoid"` or `None`.
        labels: Names of the classes, or `None` if the outputs are not class scores. Two names for
            one output are those of its complement and of itself.
        top_k: Number of classes to name; 0 if the outputs are not class scores, or those of each
            pixel, which are answered as they are.
        transform: The preprocessing of files, or `None` if files are not taken.
        compile: Whether to keep functions that XLA must compile.
        constants: Whether the weights are constants in the graph.
        batch: Images in a batch, or `None` for any number.
        input_type: Type of the images, `"float32"` or `"uint8"`.
    """

    model: keras.Model
    shape: tuple[int | None, ...]
    channels_first: bool
    outputs: tuple[str, ...]
    scores: str | None
    labels: tuple[str, ...] | None
    top_k: int
    transform: Transform | None
    compile: bool = False
    constants: bool = False
    batch: int | None = None
    input_type: str = "float32"

    def answers(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The file's answers to images with channels last, by name, as float32."""
        return self.scored(keras.tree.flatten(self.model(self.ordered(images), training=False)))

    def ordered(self, images: tf.Tensor) -> tf.Tensor:
        """Convert images with channels last to the model's data format."""
        import tensorflow as tf

        rank = len(self.shape)
        return tf.transpose(images, (0, rank, *range(1, rank))) if self.channels_first else images

    def typed(self, images: np.ndarray) -> np.ndarray:
        """Images in the input's type."""
        whole = np.rint(np.clip(images, 0, 255)) if self.input_type == "uint8" else images
        return whole.astype(self.input_type)

    def given(self, images: np.ndarray) -> np.ndarray:
        """`ordered` for arrays."""
        return np.moveaxis(images, -1, 1) if self.channels_first else images

    def scored(self, outputs: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        """The model's outputs by name, as float32, after softmax or sigmoid if set."""
        import tensorflow as tf

        outputs = [tf.cast(y, tf.float32) for y in outputs]
        if self.scores is not None:
            outputs = [getattr(tf.nn, self.scores)(outputs[0])]
        return dict(zip(self.outputs, outputs, strict=True))

    def expected(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The answers expected from the file: the model's own outputs, computed eagerly."""
        outputs = keras.tree.flatten(self.model(self.given(images), training=False))
        arrays = [np.asarray(keras.ops.cast(y, "float32")) for y in outputs]
        answers = [probabilities(y, self.scores) for y in arrays]
        return dict(zip(self.outputs, answers, strict=True))

    def difference(self, received: Any, expected: Mapping[str, np.ndarray]) -> tuple[float, float]:
        """The largest absolute and relative difference of the file's answers from `expected`."""
        if isinstance(received, dict):
            names = ["probabilities"] if self.top_k else list(expected)
            received = [received[name] for name in names]
        apart = [_apart(*pair) for pair in zip(received, expected.values(), strict=True)]
        return max(absolute for absolute, _ in apart), max(relative for _, relative in apart)

    def amplification(self, batch: np.ndarray, before: Mapping[str, np.ndarray]) -> float:
        """The relative change of the answers `before` if the input changes by a millionth."""
        shaken = batch * (1 + 1e-6 * np.random.default_rng(1).choice((-1.0, 1.0), batch.shape))
        after = self.expected(shaken.astype("float32"))
        return max(_apart(after[name], y)[1] for name, y in before.items())

    @property
    def features(self) -> Any:
        """The input of the classifier (the last layer with weights), a tensor of the model.

        `None` if that layer is a nested model, is called several times, or takes feature maps.
        """
        layer = next((layer for layer in reversed(self.model.layers) if layer.weights), None)
        if layer is None or isinstance(layer, keras.Model):
            return None
        try:
            x = layer.input
        except (AttributeError, ValueError):
            return None
        return None if any(size != 1 for size in x.shape[1:-1]) else x


def variables_of(model: keras.Model) -> list[Any]:
    """The variables in the order of `called_with`."""
    return [*model.trainable_variables, *model.non_trainable_variables]


def called_with(model: keras.Model, values: list[Any], images: Any) -> list[Any]:
    """The outputs of a model whose variables have the given values."""
    known = len(model.trainable_variables)
    outputs, _ = model.stateless_call(values[:known], values[known:], images, training=False)
    return list(keras.tree.flatten(outputs))


def _apart(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The largest difference, absolute and as a share of the largest of `theirs`."""
    # Two labels for one output: its complement comes first.
    ours = ours[:, 1:] if ours.shape != theirs.shape and ours.shape[1] == 2 else ours
    apart = float(np.abs(ours - theirs).max())
    return apart, apart / (float(np.abs(theirs).max()) or 1.0)


@contextmanager
def without_xla() -> Iterator[None]:
    """Trace functions that XLA must compile as ordinary operations.

    By default TensorFlow Serving refuses such functions, other runtimes do not support them, and
    each is recompiled for every batch size. A grouped convolution becomes one operation.
    """
    import tensorflow as tf

    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eagerly)


def in_float32(model: keras.Model) -> keras.Model:
    """The model, or a copy that computes in float32 throughout."""
    if not is_half(model):
        return model
    return _copy(model, lambda layer: (type(layer), {**layer.get_config(), "dtype": "float32"}))


def is_half(model: keras.Model) -> bool:
    """Whether a layer computes in half precision."""
    return any(layer.compute_dtype in HALF_PRECISION for layer in layers_of(model))


def with_native_groups(model: keras.Model) -> keras.Model:
    """The model, or a copy whose grouped convolutions run without XLA on every build."""

    def changes(layer: Any) -> bool:
        return type(layer) in GROUPED and layer.groups > 1

    if not any(map(changes, layers_of(model))):
        return model
    return _copy(
        model,
        lambda layer: (GROUPED[type(layer)] if changes(layer) else type(layer), layer.get_config()),
    )


def with_constant_gates(
    model: keras.Model, images: np.ndarray
) -> tuple[keras.Model, tuple[str, ...]]:
    """The model, or a copy in which blocks with dead hidden units scale by constants; their names.

    In 8 bits such units have a range of zero, which runtimes refuse. `images` are in the model's
    data format.
    """
    found: dict[Any, list[np.ndarray]] = {}
    for first in range(0, len(images), BATCH):
        with recorded_gates() as calls:
            model(images[first : first + BATCH], training=False)
        for layer, gates, _ in calls:
            found.setdefault(layer, []).append(keras.ops.convert_to_numpy(gates))
    dead = {layer: gates for layer, several in found.items()
            if (gates := _constant(layer, np.concatenate(several))) is not None}  # fmt: skip
    if not dead:
        return model, ()
    graph = EditableGraph(model)
    for node in graph.nodes(Copy):
        if node.source in dead:
            constant = constant_of(node, dead[node.source])
            for call in graph.calls_of(node):
                graph.substitute(call, constant, call.inputs[0])
    return graph.build(), tuple(layer.name for layer in dead)


def _constant(layer: Any, gates: np.ndarray) -> np.ndarray | None:
    """The gates of a block whose hidden units were zero for every image, else `None`."""
    idle = layer.constant_gates()
    if idle is None or np.ptp(gates, axis=0).any():
        return None
    return gates[0] if np.array_equal(gates[0], idle.astype(gates.dtype)) else None


def _copy(
    model: keras.Model, change: Callable[[Any], tuple[type[Any], dict[str, Any]]]
) -> keras.Model:
    """A copy with the same weights; `change` returns class and configuration of each layer."""

    def clone(layer: Any) -> Any:
        kind, config = change(layer)
        return kind.from_config(config)

    with recursion(2 * len(model.layers)):
        copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
