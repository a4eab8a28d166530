"""What the first bytes of a picture say, read inside a TensorFlow graph, before it is decoded.

TensorFlow's decoders have no limits: half a megabyte of PNG becomes half a gigabyte of pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keras_se.pictures import MODES

if TYPE_CHECKING:
    import tensorflow as tf

JPEG, PNG, GIF, BMP, UNKNOWN = range(5)
FORMATS = ("JPEG", "PNG", "GIF", "BMP")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
DEEP = "more than 8 bits a channel"
ANIMATION = "a file of several frames"
DAMAGED = "damaged data"
# Of a PNG before its pixels, or of a GIF without runs of equal ones: real files have a few.
MAX_CHUNKS = 1000
# Of a JPEG: progressive ones have ten. Thirty bytes would cost a pass over all pixels.
MAX_SCANS = 100
# Pieces of a GIF that are passed over at once.
RUN = 4096


class Header(NamedTuple):
    """Height and width in pixels, and what the picture is, in words of `pictures.MODES`."""

    height: tf.Tensor
    width: tf.Tensor
    what: tf.Tensor


def picture_format(data: tf.Tensor) -> tf.Tensor:
    """`JPEG`, `PNG`, `GIF`, `BMP` or `UNKNOWN`, from the signature."""
    import tensorflow as tf

    kind = tf.constant(UNKNOWN)
    for number, signature in enumerate(SIGNATURES):
        same = tf.strings.substr(data, 0, len(signature)) == signature
        kind = tf.where(same, number, kind)
    return kind


def read_header(data: tf.Tensor, kind: tf.Tensor) -> Header:
    """The header of a picture; what damages it fails the operation or says `DAMAGED`."""
    import tensorflow as tf

    readers = [_read_jpeg, _read_png, _read_gif, _read_bmp]
    return Header(*tf.switch_case(kind, [lambda read=read: read(data) for read in readers]))


def _octets(data: tf.Tensor, start: tf.Tensor | int, count: int) -> tf.Tensor:
    """`count` bytes from `start` on as int64; zeros behind the end."""
    import tensorflow as tf

    start = tf.minimum(tf.cast(start, tf.int64), tf.cast(tf.strings.length(data), tf.int64))
    part = tf.strings.substr(data, start, tf.constant(count, tf.int64))
    octets = tf.cast(tf.io.decode_raw(part, tf.uint8), tf.int64)
    return tf.ensure_shape(tf.pad(octets, [[0, count - tf.size(octets)]]), (count,))


def _big(octets: tf.Tensor) -> tf.Tensor:
    """The number that bytes write, the greatest part first."""
    import tensorflow as tf

    return tf.reduce_sum(octets * [256**n for n in reversed(range(octets.shape[0]))])


def _little(octets: tf.Tensor) -> tf.Tensor:
    return _big(octets[::-1])


def _choose(default: str, *cases: tuple[tf.Tensor, str]) -> tf.Tensor:
    """The text of the first case that holds."""
    import tensorflow as tf

    text = tf.constant(default)
    for holds, other in reversed(cases):
        text = tf.where(holds, other, text)
    return text


def _read_jpeg(data: tf.Tensor) -> Header:
    import tensorflow as tf

    height, width, channels = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(data), tf.int64))
    what = _choose(
        DAMAGED,
        (_scans(data) > MAX_SCANS, DAMAGED),
        (channels == 1, MODES["L"]),
        (channels == 3, MODES["RGB"]),
        (channels == 4, MODES["CMYK"]),
    )
    return Header(height, width, what)


def _scans(data: tf.Tensor) -> tf.Tensor:
    """How many scans begin in a JPEG: a marker, the length, and the number of components."""
    import tensorflow as tf

    octets = tf.pad(tf.io.decode_raw(data, tf.uint8), [[0, 4]])
    markers = tf.where((octets[:-4] == 0xFF) & (octets[1:-3] == 0xDA))
    high, low, components = tf.unstack(
        tf.gather(octets, markers + tf.range(2, 5, dtype=tf.int64)), axis=1
    )
    begins = (high == 0) & (components <= 4) & (low == 2 * components + 6)
    return tf.math.count_nonzero(begins)


def _read_png(data: tf.Tensor) -> Header:
    import tensorflow as tf

    header = _octets(data, 16, 10)
    headed = tf.strings.substr(data, 12, 4) == b"IHDR"
    depth, colours = header[8], header[9]
    size = tf.cast(tf.strings.length(data), tf.int64)

    def before_pixels(at: tf.Tensor, count: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        inside = (at + 8 <= size) & (count < MAX_CHUNKS)
        return inside & (tf.strings.substr(data, tf.minimum(at + 4, size), 4) != b"IDAT")

    def next_chunk(
        at: tf.Tensor, count: tf.Tensor, transparent: tf.Tensor, frames: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        name = tf.strings.substr(data, at + 4, 4)
        frames = tf.where(name == b"acTL", _big(_octets(data, at + 8, 4)), frames)
        transparent |= name == b"tRNS"
        return at + 12 + _big(_octets(data, at, 4)), count + 1, transparent, frames

    start = (tf.constant(8, tf.int64), 0, tf.constant(False), tf.constant(1, tf.int64))
    at, count, transparent, frames = tf.while_loop(before_pixels, next_chunk, start)
    what = _choose(
        DAMAGED,
        (~headed | (at + 8 > size) | (count == MAX_CHUNKS), DAMAGED),
        (frames > 1, ANIMATION),
        (transparent | (colours == 4) | (colours == 6), MODES["RGBA"]),
        (depth == 16, DEEP),
        ((colours == 0) & (depth == 1), MODES["1"]),
        (colours == 0, MODES["L"]),
        (colours == 2, MODES["RGB"]),
        (colours == 3, MODES["P"]),
    )
    return Header(_big(header[4:8]), _big(header[:4]), what)


def _read_gif(data: tf.Tensor) -> Header:
    """Walks over the blocks: a second picture makes an animation.

    All of its frames would be decoded, each of a size of its own.
    """
    import tensorflow as tf

    octets = tf.io.decode_raw(data, tf.uint8)
    # Room behind the end, where the last block may be cut off.
    size = tf.size(octets)
    octets = tf.pad(octets, [[0, 1024]])
    header = _octets(data, 6, 4)
    width, height = _little(header[:2]), _little(header[2:4])

    def number(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(octets[at], tf.int32)

    def colours(flags: tf.Tensor) -> tf.Tensor:
        """Of the table that the flags announce."""
        return tf.where(flags >= 128, 2 ** (flags % 8 + 1), 0)

    def next_pieces(at: tf.Tensor, _: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Passes over pieces of one length."""
        piece = number(at)
        same = tf.cast(octets[at : tf.minimum(at + RUN * (piece + 1), size) : piece + 1], tf.int32)
        count = tf.reduce_sum(tf.math.cumprod(tf.cast(same == piece, tf.int32)))
        return at + tf.where(piece > 0, count, 1) * (piece + 1), piece, steps + 1

    def pieces(at: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Where data in pieces ends, and the length of its last piece: 0 if it is all there."""
        return tf.while_loop(
            lambda at, piece, steps: (piece > 0) & (at < size) & (steps < MAX_CHUNKS),
            next_pieces,
            (at, 1, steps),
        )

    def next_block(
        at: tf.Tensor, frames: tf.Tensor, first: tf.Tensor, transparent: tf.Tensor,
        cut: tf.Tensor, steps: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:  # fmt: skip
        block, label = number(at), number(at + 1)
        extension, picture = block == 0x21, block == 0x2C
        transparent |= extension & (label == 0xF9) & (number(at + 3) % 2 == 1)
        first = tf.where(picture & (frames == 0), at, first)
        table = 3 * colours(number(tf.minimum(at + 9, size)))
        at, piece, steps = tf.cond(
            extension | picture,
            lambda: pieces(at + tf.where(picture, 11 + table, 2), steps),
            lambda: (size, tf.constant(0), steps),
        )
        cut = (piece > 0) | (steps >= MAX_CHUNKS)
        return at, frames + tf.cast(picture, tf.int32), first, transparent, cut, steps

    table = colours(number(10))
    start = (13 + 3 * table, 0, 0, tf.constant(False), tf.constant(False), 0)
    _, frames, first, transparent, cut, _ = tf.while_loop(
        lambda at, frames, first, transparent, cut, steps: (at < size) & (frames < 2) & ~cut,
        next_block,
        start,
    )
    own = colours(number(first + 9))
    at, count = tf.where(own > 0, first + 10, 13), tf.where(own > 0, own, table)
    palette = tf.cast(octets[at : at + 3 * count], tf.int32)
    grey = tf.reduce_all(palette == tf.range(3 * count) // 3) & (count > 0)
    # A picture that does not fill the canvas: decoders differ in what is around it.
    place = _octets(data, first + 1, 8)
    fills = tf.reduce_all(place == tf.concat([tf.zeros(4, tf.int64), header[:4]], 0))
    what = _choose(
        MODES["P"],
        (frames > 1, ANIMATION),
        ((frames == 0) | cut, DAMAGED),
        (transparent, MODES["RGBA"]),
        (~fills, "a picture that does not fill its canvas"),
        (grey, MODES["L"]),
    )
    return Header(height, width, what)


def _read_bmp(data: tf.Tensor) -> Header:
    import tensorflow as tf

    header = _octets(data, 0, 54)
    height, width = _bmp_sides(header)
    start, size = _little(header[10:14]), _little(header[14:18])
    bits, packing = _little(header[28:30]), _little(header[30:34])
    palette = tf.reshape(_octets(data, 14 + size, 1024), (256, 4))[:, :3]
    grey = tf.reduce_all(palette == tf.range(256, dtype=tf.int64)[:, None])
    what = _choose(
        "a BMP with a palette, packed, or of other than 8, 24 or 32 bits a pixel",
        ((size < 40) | (size > 124), "a BMP of another version"),
        (start < 14 + size, DAMAGED),
        ((packing == 0) & (bits == 8) & grey, MODES["L"]),
        ((packing == 0) & ((bits == 24) | (bits == 32)), MODES["RGB"]),
    )
    return Header(height, width, what)


def _bmp_sides(header: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    import tensorflow as tf

    width, height = _little(header[18:22]), _little(header[22:26])
    # A negative height says that the first row is the upper one.
    return tf.where(height >= 2**31, 2**32 - height, height), width


def bmp_size(data: tf.Tensor) -> tf.Tensor:
    """Bytes of a BMP up to its last pixel; its rows are filled up to four bytes."""
    header = _octets(data, 0, 30)
    height, width = _bmp_sides(header)
    return _little(header[10:14]) + height * ((width * _little(header[28:30]) + 31) // 32 * 4)
