"""SavedModels whose signatures take pictures, or files, and name what is on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_se.graph import recursion
from keras_se.serving.decoding import decode
from keras_se.serving.network import Network, without_xla

if TYPE_CHECKING:
    import tensorflow as tf


def convert(network: Network) -> Callable[[Path], None]:
    """What writes the network as a SavedModel.

    Its signatures: `serving_default` takes `image_bytes`, string `(N,)`, or without them what
    `serve_images` takes; `serve_images` and `features` take `images`, float32 `(N, H, W, C)` in
    0..255; `serve_images_uint8` takes 8-bit ones.
    """
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
        except tf.errors.OpError as error:
            # Before the reason there are names of operations and temporary files.
            raise OSError(error.message.rsplit("; ", 1)[-1]) from error

    return save


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """What the file answers to pictures."""
    import tensorflow as tf

    served = tf.saved_model.load(str(path)).signatures["serve_images"]
    return served(images=tf.constant(images))["probabilities"].numpy()


def _network_function(network: Network) -> Any:
    """Pictures to `probabilities` and, where the model has them, `features`.

    All signatures call this one function, so that its weights are in the file once. If they are
    constants, oneDNN brings them into its own order once, where it does so for variables at every
    call.
    """
    import tensorflow as tf

    features = network.features
    outputs = [network.model.outputs[0], *([] if features is None else [features])]
    with recursion(2 * len(network.model.layers)):
        model = keras.Model(network.model.inputs[0], outputs)

    values: list[list[np.ndarray]] = []
    if network.constants:
        for variables in (model.trainable_variables, model.non_trainable_variables):
            values.append([keras.ops.convert_to_numpy(variable) for variable in variables])

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = network.ordered(images)
        if values:
            constants = ([tf.constant(value) for value in part] for part in values)
            outputs, _ = model.stateless_call(*constants, images, training=False)
        else:
            outputs = model(images, training=False)
        classes, *others = (tf.cast(y, tf.float32) for y in outputs)
        answer = {"probabilities": network.probabilities(classes)}
        for y in others:
            answer["features"] = tf.reshape(y, (tf.shape(y)[0], math.prod(y.shape[1:])))
        return answer

    pictures = tf.TensorSpec((None, *network.shape), tf.float32, "images")
    with nullcontext() if network.compile else without_xla():
        return tf.function(call, autograph=False).get_concrete_function(pictures)


def _functions(network: Network) -> dict[str, Any]:
    import tensorflow as tf

    labels, transform = tf.constant(network.labels), network.transform
    inner = _network_function(network)

    def at_least_one(images: tf.Tensor) -> tf.Tensor:
        """Convolutions of no pictures fail on some builds."""
        missing = tf.cast(tf.equal(tf.shape(images)[0], 0), tf.int32)
        return tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])

    def answer_of(images: tf.Tensor, name: str = "probabilities") -> tf.Tensor:
        return inner(at_least_one(tf.cast(images, tf.float32)))[name][: tf.shape(images)[0]]

    def named(probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, best = tf.math.top_k(probabilities, network.top_k)
        return {
            "scores": scores,
            "class_ids": tf.cast(best, tf.int64),
            "labels": tf.gather(labels, best),
            "probabilities": probabilities,
        }

    def serve_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return named(answer_of(images))

    def serve_features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": answer_of(images, "features")}

    def serve_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        assert transform is not None
        pictures, rows, errors = decode(image_bytes, transform)
        count = tf.shape(image_bytes, tf.int64)[0]
        good = answer_of(pictures)
        spread = tf.scatter_nd(rows[:, None], good, (count, len(network.labels)))
        answer = named(spread)
        bad = (errors != "")[:, None]
        answer["class_ids"] = tf.where(bad, tf.constant(-1, tf.int64), answer["class_ids"])
        answer["labels"] = tf.where(bad, "", answer["labels"])
        return answer | {"error": errors}

    functions = {"serve_images": tf.function(serve_images, autograph=False)}
    if "features" in inner.structured_outputs:
        pictures = tf.TensorSpec((None, *network.shape), tf.float32, "images")
        functions["features"] = tf.function(serve_features, [pictures], autograph=False)
    if transform is not None:
        files = tf.TensorSpec((None,), tf.string, "image_bytes")
        functions["serving_default"] = tf.function(serve_bytes, [files], autograph=False)
    return functions
