"""SavedModels whose signatures take pictures, or files, and name what is on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def _functions(network: Network) -> dict[str, Any]:
    import tensorflow as tf

    labels = tf.constant(network.labels)
    features, transform = network.features, network.transform
    # One function that all signatures call: the network is in the file once.
    pictures = tf.TensorSpec((None, *network.shape), tf.float32, "images")

    def traced(function: Callable[..., Any]) -> Any:
        with nullcontext() if network.compile else without_xla():
            return tf.function(function, autograph=False).get_concrete_function(pictures)

    inner = traced(network.probabilities)

    def at_least_one(images: tf.Tensor) -> tf.Tensor:
        """Convolutions of no pictures fail on some builds."""
        missing = tf.cast(tf.equal(tf.shape(images)[0], 0), tf.int32)
        return tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return inner(at_least_one(tf.cast(images, tf.float32)))[: tf.shape(images)[0]]

    def named(probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, best = tf.math.top_k(probabilities, network.top_k)
        return {
            "scores": scores,
            "class_ids": tf.cast(best, tf.int64),
            "labels": tf.gather(labels, best),
            "probabilities": probabilities,
        }

    def serve_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return named(probabilities(images))

    def serve_features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(images)[0]
        images = at_least_one(images)
        outputs = tf.cast(network.call(features, images), tf.float32)
        outputs = tf.reshape(outputs, (tf.shape(images)[0], math.prod(outputs.shape[1:])))
        return {"features": outputs[:count]}

    def serve_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        assert transform is not None
        pictures, rows, errors = decode(image_bytes, transform)
        count = tf.shape(image_bytes, tf.int64)[0]
        good = probabilities(pictures)
        spread = tf.scatter_nd(rows[:, None], good, (count, len(network.labels)))
        answer = named(spread)
        bad = (errors != "")[:, None]
        answer["class_ids"] = tf.where(bad, tf.constant(-1, tf.int64), answer["class_ids"])
        answer["labels"] = tf.where(bad, "", answer["labels"])
        return answer | {"error": errors}

    functions = {"serve_images": tf.function(serve_images, autograph=False)}
    if features is not None:
        functions["features"] = traced(serve_features)
    if transform is not None:
        files = tf.TensorSpec((None,), tf.string, "image_bytes")
        functions["serving_default"] = tf.function(serve_bytes, [files], autograph=False)
    return functions
