"""Headers and pixels of BMP files, read inside a TensorFlow graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_se.pixels import MODES
from keras_se.serving.headers import DAMAGED, OLD_BMP, OTHER_BMP, Header, choose, little, octets_of

if TYPE_CHECKING:
    import tensorflow as tf


def read_bmp(data: tf.Tensor) -> Header:
    """Read the header."""
    import tensorflow as tf

    header = octets_of(data, 0, 54)
    height, width = _bmp_sides(header)
    start, size = little(header[10:14]), little(header[14:18])
    bits, packing = little(header[28:30]), little(header[30:34])
    palette = bmp_palette(data)
    grey = tf.reduce_all(palette == tf.range(256, dtype=tf.int64)[:, None])
    two = tf.reduce_all(palette[:2] == [[0], [255]])
    table = (bits == 1) | (bits == 4) | (bits == 8)
    what = choose(
        OTHER_BMP,
        ((size < 40) | (size > 124), OLD_BMP),
        ((start < 14 + size) | (little(header[46:50]) > 2**16), DAMAGED),
        ((packing == 0) & (bits == 8) & grey, MODES["L"]),
        ((packing == 0) & (bits == 1) & two, MODES["1"]),
        ((packing == 0) & table, MODES["P"]),
        ((packing == 0) & ((bits == 24) | (bits == 32)), MODES["RGB"]),
    )
    return Header(height, width, what, tf.constant(1, tf.int64), data)


def _bmp_sides(header: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    import tensorflow as tf

    width, height = little(header[18:22]), little(header[22:26])
    # A negative height means that rows go from top to bottom.
    return tf.where(height >= 2**31, 2**32 - height, height), width


def bmp_palette(data: tf.Tensor) -> tf.Tensor:
    """The palette of a BMP: blue, green and red, int64 `(256, 3)`."""
    import tensorflow as tf

    header = octets_of(data, 0, 54)
    bits, colours = little(header[28:30]), little(header[46:50])
    count = tf.where(colours > 0, colours, 2 ** tf.minimum(bits, 8))
    palette = tf.reshape(octets_of(data, 14 + little(header[14:18]), 1024), (256, 4))[:, :3]
    return tf.where(tf.range(256, dtype=tf.int64)[:, None] < count, palette, 0)


def bmp_pixels(data: tf.Tensor) -> tf.Tensor:
    """The pixels of an uncompressed BMP, uint8 `(height, width, 3)`.

    TensorFlow's own decoder does not support palettes.
    """
    import tensorflow as tf

    header = octets_of(data, 0, 54)
    height, width = _bmp_sides(header)
    bits = little(header[28:30])
    # Rows are padded to a multiple of four bytes.
    stride = (width * bits + 31) // 32 * 4
    pixels = tf.strings.substr(data, little(header[10:14]), stride * height)
    rows = tf.reshape(tf.io.decode_raw(pixels, tf.uint8), tf.stack([height, stride]))

    def indexed() -> tf.Tensor:
        shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
        mask = tf.cast(2**bits - 1, tf.uint8)
        indices = tf.bitwise.bitwise_and(tf.bitwise.right_shift(rows[..., None], shifts), mask)
        indices = tf.reshape(indices, tf.stack([height, -1]))[:, :width]
        return tf.gather(tf.cast(bmp_palette(data), tf.uint8), tf.cast(indices, tf.int32))

    def unchanged() -> tf.Tensor:
        return tf.reshape(rows[:, : width * bits // 8], tf.stack([height, width, bits // 8]))[
            ..., :3
        ]

    picture = tf.cond(bits <= 8, indexed, unchanged)[..., ::-1]
    from_top = little(header[22:26]) >= 2**31
    return tf.cond(from_top, lambda: picture, lambda: picture[::-1])
