"""Read Caffe's `.caffemodel` files: a protocol buffer of layers with their arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

# The part of caffe.proto that holds weights: message -> (field, number, type, repeated).
# An array's packed floats are declared as bytes, their wire format.
MESSAGES = {
    "BlobShape": (("dim", 1, "int64", True),),
    "BlobProto": (
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "bytes", False),
        ("shape", 7, "BlobShape", False),
    ),
    "LayerParameter": (
        ("name", 1, "string", False),
        ("type", 2, "string", False),
        ("blobs", 7, "BlobProto", True),
    ),
    "NetParameter": (
        ("name", 1, "string", False),
        ("layer", 100, "LayerParameter", True),
    ),
}
# Names of a layer's arrays, in order.
BLOBS = {
    "Convolution": ("weight", "bias"),
    "InnerProduct": ("weight", "bias"),
    "Scale": ("gamma", "beta"),
    "BatchNorm": ("mean", "variance"),
}


@cache
def net_parameter() -> Any:
    """Return the class of Caffe's `NetParameter` messages."""
    file = descriptor_pb2.FileDescriptorProto(
        name="keras_se_caffe.proto", package="keras_se_caffe", syntax="proto2"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = described.field.add(
                name=name,
                number=number,
                label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
            )
            if kind in MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".keras_se_caffe.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
                field.options.packed = repeated
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("keras_se_caffe.NetParameter")
    )


def caffe_tensors(path: Path) -> dict[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]]:
    """Return (shape, function that reads it) for every array, by `<layer>|<array>`.

    A BatchNorm layer holds sums of statistics and a divisor; the arrays are already divided.
    """
    try:
        net = net_parameter().FromString(path.read_bytes())
    except DecodeError:
        raise ValueError("not a valid .caffemodel file") from None
    tensors: dict[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]] = {}
    for layer in net.layer:
        if not layer.blobs:
            continue
        if layer.type not in BLOBS:
            raise ValueError(f"layer {layer.name!r} has the unexpected type {layer.type!r}")
        blobs = list(layer.blobs)
        factor = np.float32(1)
        if layer.type == "BatchNorm":
            if len(blobs) != 3:
                raise ValueError(f"BatchNorm {layer.name!r} has {len(blobs)} arrays, not 3")
            divisor = _array(blobs.pop(), layer.name).item(0)
            factor = np.float32(1 / divisor if divisor else 0)
        if len(blobs) > len(BLOBS[layer.type]):
            raise ValueError(
                f"{layer.type} {layer.name!r} has {len(blobs)} arrays, not {len(BLOBS[layer.type])}"
            )
        for name, blob in zip(BLOBS[layer.type], blobs, strict=False):
            array = _array(blob, layer.name)
            key = f"{layer.name}|{name}"
            if key in tensors:
                raise ValueError(f"layer {layer.name!r} occurs twice")
            tensors[key] = (
                array.shape,
                partial(np.multiply, array, factor),
            )
    return tensors


def _array(blob: Any, layer: str) -> np.ndarray:
    """Return a view of the message's bytes."""
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        # Before Caffe had shapes, all arrays had four axes; vectors and matrices used the last.
        shape = (blob.num, blob.channels, blob.height, blob.width)
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
    if min(shape, default=1) < 1 or 4 * math.prod(shape) != len(blob.data):
        raise ValueError(f"layer {layer!r} has {len(blob.data)} bytes for the shape {shape}")
    return np.frombuffer(blob.data, "<f4").reshape(shape)
