"""Warm-up requests that TensorFlow Serving runs before it serves a new version."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from keras_se.serving.network import ServedNetwork

# Path that TensorFlow Serving expects.
FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def write(network: ServedNetwork, folder: Path, shape: tuple[int, ...]) -> None:
    """Write a request with one image for each signature of the SavedModel in `folder`."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = folder / FILE
    path.parent.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    signatures = tf.saved_model.load(str(folder)).signatures
    with tf.io.TFRecordWriter(str(path)) as file:
        for name in sorted(signatures):
            (spec,) = signatures[name].structured_input_signature[1].values()
            value = [_file(picture)] if spec.dtype == tf.string else picture[None]
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            tensor = tf.make_tensor_proto(value, spec.dtype)
            request.inputs[spec.name].CopyFrom(tensor)
            log = prediction_log_pb2.PredictLog(request=request)
            file.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def _file(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(buffer, "JPEG")
    return buffer.getvalue()
