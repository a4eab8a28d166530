"""What a picture's header says, and the tools to read one inside a TensorFlow graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf

JPEG, PNG, GIF, BMP, UNKNOWN = range(5)
FORMATS = ("JPEG", "PNG", "GIF", "BMP")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
DEEP = "more than 8 bits a channel"
ANIMATION = "a file of several frames"
DAMAGED = "damaged data"
# Supported only by `load_image`.
SMALL_GIF = "a picture that does not fill its canvas"
OTHER_BMP = "a BMP that is packed, or of other than 1, 4, 8, 24 or 32 bits a pixel"
OLD_BMP = "a BMP of another version"


class Header(NamedTuple):
    """A picture's header: rows and columns as stored, and the EXIF orientation, 1 to 8.

    `what` is a value of `pixels.MODES`, or why the picture is refused; `data` is the file without
    the parts that do not affect pixels.
    """

    height: tf.Tensor
    width: tf.Tensor
    what: tf.Tensor
    orientation: tf.Tensor
    data: tf.Tensor


def picture_format(data: tf.Tensor) -> tf.Tensor:
    """`JPEG`, `PNG`, `GIF`, `BMP` or `UNKNOWN`, from the signature."""
    import tensorflow as tf

    kind = tf.constant(UNKNOWN)
    for number, signature in enumerate(SIGNATURES):
        same = tf.strings.substr(data, 0, len(signature)) == signature
        kind = tf.where(same, number, kind)
    return kind


def octets_of(data: tf.Tensor, start: tf.Tensor | int, count: int) -> tf.Tensor:
    """`count` bytes from `start` as int64; zeros past the end."""
    import tensorflow as tf

    start = tf.minimum(tf.cast(start, tf.int64), tf.cast(tf.strings.length(data), tf.int64))
    part = tf.strings.substr(data, start, tf.constant(count, tf.int64))
    octets = tf.cast(tf.io.decode_raw(part, tf.uint8), tf.int64)
    return tf.ensure_shape(tf.pad(octets, [[0, count - tf.size(octets)]]), (count,))


def big(octets: tf.Tensor) -> tf.Tensor:
    """The big-endian number in the bytes of the last axis."""
    import tensorflow as tf

    return tf.reduce_sum(octets * [256**n for n in reversed(range(octets.shape[-1]))], -1)


def little(octets: tf.Tensor) -> tf.Tensor:
    """The little-endian number in the bytes of the last axis."""
    return big(octets[..., ::-1])


def choose(default: str, *cases: tuple[tf.Tensor, str]) -> tf.Tensor:
    """The text of the first case that holds."""
    import tensorflow as tf

    text = tf.constant(default)
    for holds, other in reversed(cases):
        text = tf.where(holds, other, text)
    return text


def orientation_of(exif: tf.Tensor) -> tf.Tensor:
    """The orientation, 1 to 8, that EXIF data states."""
    import tensorflow as tf

    start = tf.strings.substr(exif, 0, 4)
    motorola = start == b"MM\0*"
    size = tf.cast(tf.strings.length(exif), tf.int64)
    known = (motorola | (start == b"II*\0")) & (size >= 8)

    def number(octets: tf.Tensor) -> tf.Tensor:
        return tf.where(motorola, big(octets), little(octets))

    at = number(octets_of(exif, 4, 4))
    room = tf.maximum(size - at - 2, 0) // 12
    entries = tf.minimum(number(octets_of(exif, at, 2)), room)
    table = tf.strings.substr(exif, tf.minimum(at + 2, size), 12 * entries)
    table = tf.reshape(tf.cast(tf.io.decode_raw(table, tf.uint8), tf.int64), (-1, 12))
    tags, kinds = (number(table[:, place : place + 2]) for place in (0, 2))
    counts = number(table[:, 4:8])
    fitting = (tags == 0x0112) & (counts == 1) & ((kinds == 3) | (kinds == 4))
    short, long = number(table[:, 8:10]), number(table[:, 8:12])
    found = tf.boolean_mask(tf.where(kinds == 3, short, long), fitting)
    first = tf.concat([found, tf.ones(1, tf.int64)], 0)[0]
    return tf.where(known & (first >= 1) & (first <= 8), first, 1)
