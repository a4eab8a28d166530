"""Picture headers, read inside a TensorFlow graph before decoding.

TensorFlow's decoders have no limits: half a megabyte of PNG becomes half a gigabyte of pixels. The
rules are those of `keras_se.essentials`, which `load_image` follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_se.essentials import (
    GIF_RUN,
    MAX_CHUNKS,
    MAX_PARTS,
    MAX_SCANNED,
    MAX_SCANS,
    MAX_SURPLUS,
    RUN,
)
from keras_se.pixels import MODES
from keras_se.serving.bmp import read_bmp
from keras_se.serving.headers import (
    ANIMATION,
    DAMAGED,
    DEEP,
    SMALL_GIF,
    Header,
    big,
    choose,
    little,
    octets_of,
    orientation_of,
)

if TYPE_CHECKING:
    import tensorflow as tf

# Bytes to scan at once.
SLICE = 2**22
# Colour transform segment: inverted CMYK, which Pillow assumes without one.
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(5)


def read_header(data: tf.Tensor, kind: tf.Tensor) -> Header:
    """Read the header of a picture; a damaged one fails the operation or gives `DAMAGED`."""
    import tensorflow as tf

    readers = [_read_jpeg, _read_png, _read_gif, read_bmp]
    return Header(*tf.switch_case(kind, [lambda read=read: read(data) for read in readers]))


def _read_jpeg(data: tf.Tensor) -> Header:
    import tensorflow as tf

    height, width, channels = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(data), tf.int64))
    octets = tf.io.decode_raw(data, tf.uint8)
    size = tf.size(octets, tf.int64)
    octets = tf.pad(octets, [[0, 16]])
    walks, pixels, broken = range(3)

    def next_segment(
        at: tf.Tensor, exif: tf.Tensor, adobe: tf.Tensor, _: tf.Tensor, steps: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        first = tf.ensure_shape(tf.cast(octets[at : at + 10], tf.int64), (10,))
        marker, length = first[1], 256 * first[2] + first[3]
        fill = marker == 0xFF
        bare = fill | (marker == 1) | ((marker >= 0xD0) & (marker <= 0xD7))
        bad = (first[0] != 0xFF) | (marker == 0) | (marker == 0xD9)
        scan = marker == 0xDA
        bad |= ~bare & ~scan & (length < 2)
        named = tf.reduce_all(first[4:10] == list(b"Exif\0\0"))
        exif = tf.where((marker == 0xE1) & (exif == 0) & named, at, exif)
        adobe |= (marker == 0xEE) & tf.reduce_all(first[4:9] == list(b"Adobe"))
        state = tf.where(bad, broken, tf.where(scan, pixels, walks))
        step = tf.where(bare, tf.where(fill, tf.constant(1, tf.int64), 2), 2 + length)
        at = tf.where(state == walks, tf.minimum(at + step, size), at)
        return at, exif, adobe, state, steps + 1

    zero = tf.constant(0, tf.int64)
    _, exif, adobe, state, _ = tf.while_loop(
        lambda at, exif, adobe, state, steps: (state == walks) & (steps < MAX_CHUNKS),
        next_segment,
        (zero + 2, zero, tf.constant(False), tf.constant(walks), 0),
    )
    scans = _scans(octets)
    what = choose(
        DAMAGED,
        ((state != pixels) | (scans > MAX_SCANS), DAMAGED),
        (scans * height * width > MAX_SCANNED, DAMAGED),
        (channels == 1, MODES["L"]),
        (channels == 3, MODES["RGB"]),
        (channels == 4, MODES["CMYK"]),
    )
    length = big(octets_of(data, exif + 2, 2)) - 8
    start = tf.minimum(exif + 10, size)
    exif_data = tf.strings.substr(data, start, tf.where(exif > 0, tf.maximum(length, 0), 0))
    rest = tf.strings.substr(data, tf.constant(2, tf.int64), size)
    inverted = tf.strings.join([tf.strings.substr(data, 0, 2), ADOBE, rest])
    data = tf.where((channels == 4) & ~adobe, inverted, data)
    return Header(height, width, what, orientation_of(exif_data), data)


def _scans(octets: tf.Tensor) -> tf.Tensor:
    """Count the scan headers of a JPEG: a marker, the length, and the number of components."""
    import tensorflow as tf

    def count(at: tf.Tensor, scans: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # In slices, since every comparison allocates memory.
        part = octets[at : at + SLICE + 5]
        mark, marker, high, low, components = (part[n : n - 5] for n in range(5))
        begins = (mark == 0xFF) & (marker == 0xDA) & (high == 0)
        begins &= (components <= 4) & (low == 2 * components + 6)
        return at + SLICE, scans + tf.size(tf.where(begins), tf.int64)

    start = tf.constant(0), tf.constant(0, tf.int64)
    _, scans = tf.while_loop(lambda at, _: at < tf.size(octets) - 5, count, start)
    return scans


def _read_png(data: tf.Tensor) -> Header:
    import tensorflow as tf

    size = tf.cast(tf.strings.length(data), tf.int64)
    header = octets_of(data, 16, 10)
    headed = big(octets_of(data, 8, 4)) == 13
    headed &= tf.strings.substr(data, tf.minimum(size, 12), 4) == b"IHDR"
    width, height, depth, colours = big(header[:4]), big(header[4:8]), header[8], header[9]
    octets = tf.pad(tf.io.decode_raw(data, tf.uint8), [[0, 8]])
    walks, complete, broken = range(3)
    zero = tf.constant(0, tf.int64)

    def next_run(
        at: tf.Tensor, seen: tf.Tensor, exif: tf.Tensor, flags: tf.Tensor, _: tf.Tensor,
        packed: tf.Tensor, steps: tf.Tensor, parts: tf.TensorArray,
    ) -> tuple[tf.Tensor | tf.TensorArray, ...]:  # fmt: skip
        """Skip a run of chunks with the same name and length."""
        start = tf.ensure_shape(octets[at : at + 8], (8,))
        stride = 12 + big(tf.cast(start[:4], tf.int64))
        places = tf.minimum(at + stride * tf.range(RUN, dtype=tf.int64), size)
        others = tf.gather(octets, places[:, None] + tf.range(8, dtype=tf.int64))
        same = tf.cast(tf.reduce_all(others == start, 1), tf.int64)
        name = tf.strings.substr(data, tf.minimum(at + 4, size), 4)
        run = tf.where(name == b"IEND", zero + 1, tf.reduce_sum(tf.math.cumprod(same)))
        end = at + run * stride
        state = tf.where(end > size, broken, tf.where(name == b"IEND", complete, walks))
        frames = tf.where(stride >= 16, big(octets_of(data, at + 8, 4)), 0)
        transparent, several, pixels = tf.unstack(flags)
        pixels |= name == b"IDAT"
        packed += tf.where(name == b"IDAT", run * (stride - 12), 0)
        transparent |= (name == b"tRNS") & ~pixels
        several |= (name == b"acTL") & (frames > 1)
        exif = tf.where((name == b"eXIf") & (exif == 0), at, exif)
        # An ancillary chunk's name starts with a lowercase letter.
        kept = (start[4] < ord("a")) | (start[4] > ord("z")) | (name == b"tRNS")
        part = tf.strings.substr(data, at, tf.where(kept, tf.minimum(end, size) - at, 0))
        parts, steps = parts.write(steps, part), steps + 1
        flags = tf.stack([transparent, several, pixels])
        return tf.minimum(end, size), seen + run, exif, flags, state, packed, steps, parts

    parts = tf.TensorArray(tf.string, 0, dynamic_size=True, element_shape=())
    _, _, exif, flags, state, packed, _, parts = tf.while_loop(
        lambda at, seen, exif, flags, state, packed, steps, parts: (
            (state == walks) & (steps < MAX_CHUNKS) & (seen < MAX_PARTS)
        ),
        next_run,
        (zero + 8, zero, zero, tf.constant([False] * 3), tf.constant(walks), zero, 0, parts),
    )
    # Decoders unpack data past the last row, too.
    samples = tf.gather([1, 0, 3, 1, 2, 0, 4, 0], tf.minimum(colours, 7))
    unpacked = height * (1 + (width * depth * tf.cast(samples, tf.int64) + 7) // 8)
    what = choose(
        DAMAGED,
        (packed > unpacked + unpacked // 8 + MAX_SURPLUS, DAMAGED),
        (~headed | (state != complete), DAMAGED),
        (flags[1], ANIMATION),
        (flags[0] & (colours == 2) & (depth == 16), DAMAGED),
        ((flags[0] & (colours <= 3)) | (colours == 4) | (colours == 6), MODES["RGBA"]),
        (depth == 16, DEEP),
        ((colours == 0) & (depth == 1), MODES["1"]),
        (colours == 0, MODES["L"]),
        (colours == 2, MODES["RGB"]),
        (colours == 3, MODES["P"]),
    )
    length = tf.where(exif > 0, big(octets_of(data, exif, 4)), 0)
    orientation = orientation_of(tf.strings.substr(data, tf.minimum(exif + 8, size), length))
    data = tf.strings.reduce_join(
        [tf.strings.substr(data, 0, 8), tf.strings.reduce_join(parts.stack())]
    )
    return Header(height, width, what, orientation, data)


def _read_gif(data: tf.Tensor) -> Header:
    """Walk over the blocks; a second picture makes it an animation.

    The decoder would decode all of its frames, each with its own size.
    """
    import tensorflow as tf

    octets = tf.io.decode_raw(data, tf.uint8)
    # Padding, since the last block may be cut off.
    size = tf.size(octets)
    octets = tf.pad(octets, [[0, 1024]])
    header = octets_of(data, 6, 4)
    width, height = little(header[:2]), little(header[2:4])

    def number(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(octets[at], tf.int32)

    def colours(flags: tf.Tensor) -> tf.Tensor:
        """Number of colours in the table that the flags announce."""
        return tf.where(flags >= 128, 2 ** (flags % 8 + 1), 0)

    def next_pieces(at: tf.Tensor, _: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Skip a run of pieces with the same length."""
        piece = number(at)
        end = tf.minimum(at + GIF_RUN * (piece + 1), size)
        same = tf.cast(octets[at : end : piece + 1], tf.int32)
        count = tf.reduce_sum(tf.math.cumprod(tf.cast(same == piece, tf.int32)))
        return at + tf.where(piece > 0, count, 1) * (piece + 1), piece, steps + 1

    def pieces(at: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """End of data in pieces, and the length of its last piece: 0 if it is complete."""
        return tf.while_loop(
            lambda at, piece, steps: (piece > 0) & (at < size) & (steps < MAX_CHUNKS),
            next_pieces,
            (at, 1, steps),
        )

    def next_block(
        at: tf.Tensor, frames: tf.Tensor, first: tf.Tensor, last: tf.Tensor, clear: tf.Tensor,
        cut: tf.Tensor, steps: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:  # fmt: skip
        block, label = number(at), number(at + 1)
        extension, picture = block == 0x21, block == 0x2C
        control = extension & (label == 0xF9) & (frames == 0)
        colour = tf.where(number(at + 3) % 2 == 1, number(at + 6), -1)
        clear = tf.where(control, colour, clear)
        first = tf.where(picture & (frames == 0), at, first)
        table = 3 * colours(number(tf.minimum(at + 9, size)))
        at, piece, steps = tf.cond(
            extension | picture,
            lambda: pieces(at + tf.where(picture, 11 + table, 2), steps),
            lambda: (size, tf.constant(0), steps),
        )
        last = tf.where(picture & (frames == 0), at, last)
        cut = (piece > 0) | (steps >= MAX_CHUNKS)
        return at, frames + tf.cast(picture, tf.int32), first, last, clear, cut, steps

    table = colours(number(10))
    start = (13 + 3 * table, 0, 0, 0, -1, tf.constant(False), 0)
    _, frames, first, last, clear, cut, _ = tf.while_loop(
        lambda at, frames, first, last, clear, cut, steps: (at < size) & (frames < 2) & ~cut,
        next_block,
        start,
    )
    own = colours(number(first + 9))
    at, count = tf.where(own > 0, first + 10, 13), tf.where(own > 0, own, table)
    palette = tf.cast(octets[at : at + 3 * count], tf.int32)
    grey = tf.reduce_all(palette == tf.range(3 * count) // 3) & (count > 0)
    # Decoders differ in how they fill the rest of the canvas.
    place = octets_of(data, first + 1, 8)
    fills = tf.reduce_all(place == tf.concat([tf.zeros(4, tf.int64), header[:4]], 0))
    what = choose(
        MODES["P"],
        (frames > 1, ANIMATION),
        ((frames == 0) | cut, DAMAGED),
        (~fills, SMALL_GIF),
        (clear >= 0, MODES["RGBA"]),
        (grey, MODES["L"]),
    )
    # The decoder ignores transparency, so make the transparent colour white.
    white, last = at + 3 * clear, tf.minimum(last, size)
    white = tf.where((clear >= 0) & (clear < count), tf.minimum(white, size), -1)

    def part(start: tf.Tensor | int, end: tf.Tensor | int) -> tf.Tensor:
        """A part of the file, with the transparent colour set to white."""
        inside = (white >= start) & (white + 3 <= end)
        middle = tf.where(inside, white, end)
        after = tf.where(inside, white + 3, end)
        between = tf.where(inside, b"\xff\xff\xff", b"")
        pieces = [tf.strings.substr(data, start, middle - start), between]
        return tf.strings.join([*pieces, tf.strings.substr(data, after, end - after)])

    start = tf.minimum(13 + 3 * table, size)
    essential = tf.strings.join([part(0, start), part(tf.minimum(first, last), last), b";"])
    return Header(height, width, what, tf.constant(1, tf.int64), essential)
