"""Decode pictures to RGB: with TensorFlow where it agrees with Pillow, else with Pillow.

Pillow reads every format of `keras_se.load_image` and converts as that does: transparency onto
white, CMYK and grey to RGB, 16 bits to their upper 8, rotated by EXIF. TensorFlow takes half the
time and can decode just a part of a JPEG, but drops transparency, ignores EXIF and knows fewer
formats, so it gets common JPEG and PNG files only.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_se import pictures
from keras_se.pictures import LEAST_SCALE

if TYPE_CHECKING:
    import tensorflow as tf

# Metadata begin within these first bytes of a file.
HEADER_BYTES = 16384
PNG = b"\x89PNG\r\n\x1a\n"
# Position of a PNG's bit depth and colour type, and the values that TensorFlow decodes as Pillow
# does: 8 bits, grey or RGB.
PNG_KIND, PLAIN_KINDS = (24, 2), (b"\x08\x00", b"\x08\x02")
# EXIF in a JPEG; PNG chunks for transparency or rotation.
MARKED = r"\C*(Exif\x00\x00|tRNS|eXIf|Raw profile type)\C*"
ORIENTATION = 0x0112
CMYK_CHANNELS = 4
# Divisors of both sides that a JPEG decoder supports; it leaves out high frequencies.
RATIOS = (1, 2, 4, 8)


def decoded(data: bytes) -> np.ndarray:
    """Decode a whole picture with Pillow, as `load_image` does: uint8, `(height, width, 3)`."""
    return np.asarray(pictures.decoded(data))


def _is_upright(data: bytes) -> np.bool_:
    """Whether a JPEG needs no rotation."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.bool_(image.getexif().get(ORIENTATION) not in pictures.TURNS)
    except Exception:
        # `decoded` reports the error.
        return np.bool_(False)


def _is_common(data: tf.Tensor, jpeg: tf.Tensor) -> tf.Tensor:
    """Whether TensorFlow decodes the file as Pillow does; a JPEG may still be CMYK.

    Python runs only for a JPEG with EXIF, since it holds up the other threads.
    """
    import tensorflow as tf

    head = tf.strings.join([tf.strings.substr(data, 0, HEADER_BYTES), b"\0" * 32])
    kind = tf.strings.substr(head, *PNG_KIND)
    png = (tf.strings.substr(head, 0, len(PNG)) == PNG) & tf.reduce_any(kind == PLAIN_KINDS)
    marked = tf.strings.regex_full_match(head, MARKED)
    return tf.cond(
        jpeg & marked,
        lambda: tf.ensure_shape(_called(_is_upright, data, tf.bool), ()),
        lambda: jpeg | (png & ~marked),
    )


def opened(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode a picture, unless it is a JPEG of which TensorFlow can decode a crop.

    Returns whether it is such a JPEG; its height and width; and the decoded picture, uint8, which
    is empty for such a JPEG.
    """
    import tensorflow as tf

    jpeg = tf.io.is_jpeg(data)
    common = _is_common(data, jpeg)
    shape = tf.cond(
        common & jpeg,
        lambda: tf.io.extract_jpeg_shape(data),
        lambda: tf.fill([3], CMYK_CHANNELS),
    )
    later = shape[2] != CMYK_CHANNELS
    picture = tf.cond(
        later,
        lambda: tf.zeros((0, 0, 3), tf.uint8),
        lambda: tf.cond(common & ~jpeg, lambda: _by_tensorflow(data), lambda: _by_pillow(data)),
    )
    return later, tf.where(later, shape[:2], tf.shape(picture)[:2]), picture


def jpeg_ratio(size: tf.Tensor, wanted: Any) -> tf.Tensor:
    """Index in `RATIOS` of the largest that leaves enough pixels for a resize to `wanted`."""
    import tensorflow as tf

    enough = [
        tf.reduce_all(size >= LEAST_SCALE * ratio * tf.convert_to_tensor(wanted))
        for ratio in RATIOS[1:]
    ]
    return tf.reduce_sum(tf.cast(tf.stack(enough), tf.int32))


def scaled_jpeg(data: tf.Tensor, index: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
    """Decode a JPEG with its sides divided by `RATIOS[index]`, rounded up.

    `window` is the top, left, height and width of a part to decode, in pixels of the scaled
    picture; `None` for the whole.
    """
    import tensorflow as tf

    def decode(ratio: int) -> tf.Tensor:
        if window is None:
            return tf.io.decode_jpeg(data, 3, ratio=ratio)
        return tf.io.decode_and_crop_jpeg(data, window, 3, ratio=ratio)

    branches = [functools.partial(decode, ratio) for ratio in RATIOS]
    return tf.ensure_shape(tf.switch_case(index, branches), (None, None, 3))


def whole(data: tf.Tensor) -> tf.Tensor:
    """A whole picture in a graph: uint8, `(height, width, 3)`."""
    import tensorflow as tf

    later, _, picture = opened(data)
    picture = tf.cond(later, lambda: _by_tensorflow(data), lambda: picture)
    return tf.ensure_shape(picture, (None, None, 3))


def _by_tensorflow(data: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    picture = tf.io.decode_image(data, channels=3, expand_animations=False)
    return tf.ensure_shape(picture, (None, None, 3))


def _by_pillow(data: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.ensure_shape(_called(decoded, data, tf.uint8), (None, None, 3))


def _called(function: Callable[[bytes], Any], data: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Call a Python function of bytes, in a graph or eagerly."""
    import tensorflow as tf

    def call(data: Any) -> Any:
        # Eagerly it is an array.
        return function(data if isinstance(data, bytes) else data.item())

    return tf.numpy_function(call, [data], dtype, stateful=False)
