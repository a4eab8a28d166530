"""SavedModels whose signatures classify images or files."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_se.graph.trace import recursion
from keras_se.serving.decoding import decode
from keras_se.serving.network import ServedNetwork, called_with, variables_of, without_xla
from keras_se.serving.stand_ins import as_variables, fill_in, stand_in

if TYPE_CHECKING:
    import tensorflow as tf

# Not a valid name of a model's output.
FEATURES = "features of the last layer with weights"


def convert(network: ServedNetwork) -> Callable[[Path], None]:
    """Convert to a SavedModel with the signatures that `export` documents; return the writer."""
    import tensorflow as tf

    functions = _functions(network)
    serve_images = functions.pop("serve_images")
    spec = tf.TensorSpec((None, *network.shape), tf.float32, "images")
    signatures = functions | {
        "serve_images": serve_images.get_concrete_function(spec),
        "serve_images_uint8": serve_images.get_concrete_function(
            tf.TensorSpec(spec.shape, tf.uint8, "images")
        ),
    }
    signatures.setdefault("serving_default", signatures["serve_images"])
    module = tf.Module()
    if not network.constants:
        module.held = [variable.value for variable in network.model.variables]
    module.serve_images = serve_images

    def save(folder: Path) -> None:
        try:
            tf.saved_model.save(module, str(folder), signatures)
            if network.constants:
                fill_in(folder, variables_of(network.model))
        except tf.errors.OpError as error:
            # Names of operations and temporary files precede the reason.
            raise OSError(error.message.rsplit("; ", 1)[-1]) from error

    return save


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run the file on images; answers are by name.

    A session takes the graph as a server does: once, where `tf.saved_model.load` copies it for each
    function. It still copies constants a dozen times, so the file's weights become variables first.
    """
    import tensorflow as tf
    from tensorflow.python.saved_model.loader_impl import SavedModelLoader

    loader = SavedModelLoader(str(path))
    weights = as_variables(loader.saved_model)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = loader.load(session, ["serve"])
        assigned, values = [], {}
        for name, weight in weights.items():
            handle = tf.raw_ops.VarHandleOp(
                dtype=weight.dtype, shape=weight.shape, shared_name=name
            )
            value = tf.compat.v1.placeholder(weight.dtype, weight.shape)
            assigned.append(tf.raw_ops.AssignVariableOp(resource=handle, value=value))
            values[value] = weight
        session.run(assigned, values)
        served = loaded.signature_def["serve_images"]
        names = {name: output.name for name, output in served.outputs.items()}
        answers: dict[str, np.ndarray] = session.run(names, {served.inputs["images"].name: images})
    return answers


def _network_function(network: ServedNetwork) -> Any:
    """Images to the model's outputs by name and, if the model has them, `features`.

    All signatures call this one function, so that the file stores the weights once. oneDNN reorders
    constants once, but variables at every call.
    """
    import tensorflow as tf

    features = network.features
    outputs = [*network.model.outputs, *([] if features is None else [features])]
    with recursion(2 * len(network.model.layers)):
        model = keras.Model(network.model.inputs[0], outputs)

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = network.ordered(images)
        if network.constants:
            values = [stand_in(*numbered) for numbered in enumerate(variables_of(network.model))]
            outputs = called_with(model, values, images)
        else:
            outputs = keras.tree.flatten(model(images, training=False))
        answer = network.scored(outputs[: len(network.outputs)])
        for y in outputs[len(network.outputs) :]:
            y = tf.cast(y, tf.float32)
            answer[FEATURES] = tf.reshape(y, (tf.shape(y)[0], math.prod(y.shape[1:])))
        return answer

    pictures = tf.TensorSpec((None, *network.shape), tf.float32, "images")
    with nullcontext() if network.compile else without_xla():
        return tf.function(call, autograph=False).get_concrete_function(pictures)


def _functions(network: ServedNetwork) -> dict[str, Any]:
    import tensorflow as tf

    transform = network.transform
    inner = _network_function(network)

    def at_least_one(images: tf.Tensor) -> tf.Tensor:
        """Pad an empty batch: convolutions of no images fail on some builds."""
        missing = tf.cast(tf.equal(tf.shape(images)[0], 0), tf.int32)
        return tf.pad(images, [[0, missing], *[[0, 0]] * len(network.shape)])

    def answers_of(images: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(images)[0]
        answers = inner(at_least_one(tf.cast(images, tf.float32)))
        return {name: y[:count] for name, y in answers.items()}

    def named(answers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        own = {name: answers[name] for name in network.outputs}
        if network.labels is None:
            return own
        (probabilities,) = own.values()
        if not network.top_k:
            # For each image, since servers join and split batches.
            count = tf.shape(probabilities)[0]
            return own | {"labels": tf.tile(tf.constant(network.labels)[None], [count, 1])}
        if len(network.labels) > probabilities.shape[1]:
            probabilities = tf.concat([1 - probabilities, probabilities], 1)
        scores, best = tf.math.top_k(probabilities, network.top_k)
        return {
            "scores": scores,
            "class_ids": tf.cast(best, tf.int64),
            "labels": tf.gather(tf.constant(network.labels), best),
            "probabilities": probabilities,
        }

    def serve_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return named(answers_of(images))

    def serve_features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": answers_of(images)[FEATURES]}

    def serve_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        assert transform is not None
        pictures, rows, errors = decode(image_bytes, transform)
        count = tf.shape(image_bytes, tf.int64)[0]
        # A refused picture has outputs and scores 0, labels "" and ids -1.
        answer = {}
        for name, good in named(answers_of(pictures)).items():
            refused = -1 if network.top_k and name == "class_ids" else 0
            value = tf.constant("") if good.dtype == tf.string else tf.cast(refused, good.dtype)
            empty = tf.fill(tf.concat([[count], tf.shape(good, tf.int64)[1:]], 0), value)
            spread = tf.tensor_scatter_nd_update(empty, rows[:, None], good)
            answer[name] = tf.ensure_shape(spread, (None, *good.shape[1:]))
        return answer | {"error": errors}

    functions = {"serve_images": tf.function(serve_images, autograph=False)}
    if FEATURES in inner.structured_outputs:
        pictures = tf.TensorSpec((None, *network.shape), tf.float32, "images")
        functions["features"] = tf.function(serve_features, [pictures], autograph=False)
    if transform is not None:
        files = tf.TensorSpec((None,), tf.string, "image_bytes")
        functions["serving_default"] = tf.function(serve_bytes, [files], autograph=False)
    return functions
