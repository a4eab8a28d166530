"""Decode pictures inside a TensorFlow graph, with the same result as `load_image`.

A picture that cannot be decoded affects only its own row of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_se.pictures import MAX_BYTES
from keras_se.pixels import MODES, TURNED
from keras_se.serving.bmp import bmp_pixels
from keras_se.serving.headers import (
    ANIMATION,
    DAMAGED,
    FORMATS,
    OLD_BMP,
    OTHER_BMP,
    SMALL_GIF,
    UNKNOWN,
    Header,
    picture_format,
)
from keras_se.serving.readers import read_header

if TYPE_CHECKING:
    import tensorflow as tf

# Pictures decoded in parallel; each may need three bytes per pixel or more.
DECODERS = 4
UNDAMAGED = f"expected an undamaged picture ({', '.join(FORMATS)}). Received: "
# Refused even if not `strict`, with the words for what is accepted.
REFUSED = {
    ANIMATION: "a picture of one frame",
    SMALL_GIF: "a GIF whose picture fills its canvas",
    OTHER_BMP: "a BMP of 1, 4, 8, 24 or 32 bits a pixel, not packed",
    OLD_BMP: "a BMP of Windows",
}


@dataclass(frozen=True)
class Transform:
    """The preprocessing of a picture for a network.

    It is resized to cover `floor(height / crop)` x `floor(width / crop)` pixels, then
    centre-cropped: for a square this is the transform of `load_image`. With `whole` it is resized
    to the result's size instead, also if that changes its aspect ratio.

    Attributes:
        height: Rows of the result.
        width: Columns of the result.
        channels: 3 for RGB, 1 for grey.
        crop: Share of the resized picture's shorter side that is kept.
        interpolation: `"bilinear"` or `"bicubic"`, both with anti-aliasing.
        max_pixels: Larger pictures are refused before they are decoded.
        strict: Whether to refuse pictures that need conversion.
        whole: Whether nothing is cropped. Defaults to `False`.
    """

    height: int
    width: int
    channels: int
    crop: float
    interpolation: str
    max_pixels: int
    strict: bool = False
    whole: bool = False

    @property
    def covered(self) -> tuple[int, int]:
        """Rows and columns that the resized picture covers."""
        return int(self.height / self.crop), int(self.width / self.crop)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result."""
        return self.height, self.width, self.channels

    def resized(self, header: Header) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows and columns after the resize; truncated, not rounded, as in `load_image`."""
        import tensorflow as tf

        if self.whole:
            return tf.constant(self.height, tf.int64), tf.constant(self.width, tf.int64)
        rows, columns = tf.unstack(tf.constant(self.covered, tf.int64))
        height, width = (tf.maximum(side, 1) for side in _turned_sides(header))
        flat = height * columns <= width * rows
        return (
            tf.where(flat, rows, columns * height // width),
            tf.where(flat, rows * width // height, columns),
        )


def decode(image_bytes: tf.Tensor, transform: Transform) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode and preprocess the good pictures of a batch of files, string `(N,)`.

    Returns the good pictures, float32 `(M, height, width, channels)` in 0..255; their rows, int64
    `(M,)`; and an error for every row, string `(N,)`, empty for good ones.
    """
    import tensorflow as tf

    count = tf.size(image_bytes, out_type=tf.int64)
    data = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
    data = data.map(
        lambda row, picture: (row, *_decode_one(picture, transform)),
        num_parallel_calls=DECODERS,
        deterministic=True,
    ).ignore_errors()
    # One extra row, since an empty data set cannot be batched.
    last = (count, tf.zeros(transform.shape), tf.constant("the end"))
    data = data.concatenate(tf.data.Dataset.from_tensors(last)).batch(count + 1)
    rows, pictures, errors = data.get_single_element()
    every = tf.fill([count + 1], UNDAMAGED + DAMAGED)
    every = tf.tensor_scatter_nd_update(every, rows[:, None], errors)
    good = tf.squeeze(tf.where(errors == ""), 1)
    return tf.gather(pictures, good), tf.gather(rows, good), every[:count]


def _decode_one(data: tf.Tensor, transform: Transform) -> tuple[tf.Tensor, tf.Tensor]:
    """The picture, and the error if it is bad; fails if a decoder fails."""
    import tensorflow as tf

    size, kind = tf.strings.length(data), picture_format(data)

    def refused(error: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros(transform.shape), error

    def sized() -> tuple[tf.Tensor, tf.Tensor]:
        header = read_header(data, kind)
        rows, columns = transform.resized(header)
        error = _error(header, rows * columns, transform)
        return tf.cond(
            error == "",
            lambda: (_picture(header, kind, rows, columns, transform), error),
            lambda: refused(error),
        )

    limits = f"expected a picture of 1 to {MAX_BYTES} bytes. Received: "
    return tf.case(
        [
            (
                (size == 0) | (size > MAX_BYTES),
                lambda: refused(tf.strings.join([limits, tf.strings.as_string(size)])),
            ),
            (kind == UNKNOWN, lambda: refused(tf.constant(UNDAMAGED + "unknown format"))),
        ],
        default=sized,
    )


def _turned_sides(header: Header) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width after the EXIF rotation."""
    import tensorflow as tf

    aside = header.orientation >= 5
    return (
        tf.where(aside, header.width, header.height),
        tf.where(aside, header.height, header.width),
    )


def _error(header: Header, resized: tf.Tensor, transform: Transform) -> tf.Tensor:
    import tensorflow as tf

    most = transform.max_pixels
    error = tf.constant("")
    if transform.strict:
        expected = MODES["L" if transform.channels == 1 else "RGB"]
        taken = [expected] if transform.channels == 1 else [expected, MODES["P"]]
        unfit = f"expected {expected} with 8 bits a channel. Received: "
        before, after = TURNED.format("\n").split("\n")
        turned = tf.strings.join([before, tf.strings.as_string(header.orientation), after])
        received = tf.where(header.orientation > 1, turned, header.what)
        fits = tf.reduce_any(received == tf.constant(taken))
        error = tf.where(fits, "", tf.strings.join([unfit, received]))
    for what, expected in REFUSED.items():
        error = tf.where(header.what == what, f"expected {expected}. Received: {what}", error)
    size = tf.strings.reduce_join(
        tf.strings.as_string([header.width, header.height]), separator="x"
    )
    large = tf.strings.join([f"expected at most {most} pixels, also resized. Received: ", size])
    too_large = (header.height * header.width > most) | (resized > most)
    error = tf.where(too_large, large, error)
    damaged = (header.what == DAMAGED) | (tf.minimum(header.height, header.width) < 1)
    return tf.where(damaged, UNDAMAGED + DAMAGED, error)


def _picture(
    header: Header, kind: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, transform: Transform
) -> tf.Tensor:
    import tensorflow as tf

    picture = _turned(_rgb(header, kind), header.orientation)
    if transform.channels == 1:
        picture = _grey(picture)
    rows, columns = tf.cast(rows, tf.int32), tf.cast(columns, tf.int32)
    # Pillow resizes along rows, rounds to 8 bits, then along columns.
    picture = _resize(picture, tf.shape(picture)[0], columns, transform.interpolation)
    picture = _resize(picture, rows, columns, transform.interpolation)
    top, left = (
        tf.cast(tf.round((whole - part) / 2), tf.int32)
        for whole, part in ((rows, transform.height), (columns, transform.width))
    )
    picture = picture[top : top + transform.height, left : left + transform.width]
    return tf.ensure_shape(picture, transform.shape)


def _rgb(header: Header, kind: tf.Tensor) -> tf.Tensor:
    """Decode to uint8 RGB, transparency on white."""
    import tensorflow as tf

    data = header.data

    def png() -> tf.Tensor:
        return tf.cond(
            header.what == MODES["RGBA"],
            lambda: _on_white(tf.io.decode_png(data, 4)),
            lambda: tf.io.decode_png(data, 3),
        )

    decoders = [
        # Pillow's method.
        lambda: tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE"),
        png,
        lambda: tf.io.decode_gif(data)[0],
        lambda: bmp_pixels(data),
    ]
    return tf.ensure_shape(tf.switch_case(kind, decoders), (None, None, 3))


def _on_white(picture: tf.Tensor) -> tf.Tensor:
    """Blend RGBA onto white; sums of 8-bit values fit into 16 bits."""
    import tensorflow as tf

    colours, alpha = tf.cast(picture[..., :3], tf.uint16), tf.cast(picture[..., 3:], tf.uint16)
    mixed = colours * alpha + 255 * (255 - alpha) + 128
    return tf.cast((mixed + mixed // 256) // 256, tf.uint8)


def _grey(picture: tf.Tensor) -> tf.Tensor:
    """Luma of ITU-R 601, in integer arithmetic like Pillow."""
    import tensorflow as tf

    red, green, blue = tf.unstack(tf.cast(picture, tf.int32), axis=-1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768) // 65536
    return tf.cast(luma, tf.uint8)[..., None]


def _turned(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotate and mirror a picture by its EXIF orientation."""
    import tensorflow as tf

    def when(orientations: tuple[int, ...], change: Any, picture: tf.Tensor) -> tf.Tensor:
        needed = tf.reduce_any(orientation == tf.constant(orientations, tf.int64))
        turned = tf.cond(needed, lambda: change(picture), lambda: picture)
        return tf.ensure_shape(turned, (None, None, 3))

    picture = when((5, 6, 7, 8), lambda x: tf.transpose(x, (1, 0, 2)), picture)
    picture = when((2, 3, 6, 7), lambda x: tf.reverse(x, [1]), picture)
    return when((3, 4, 7, 8), lambda x: tf.reverse(x, [0]), picture)


def _resize(picture: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, method: str) -> tf.Tensor:
    import tensorflow as tf

    picture = tf.image.resize(picture, tf.stack([rows, columns]), method, antialias=True)
    return tf.clip_by_value(tf.floor(picture + 0.5), 0, 255)
