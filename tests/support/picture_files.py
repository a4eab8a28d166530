"""Picture files of every kind, sound and broken ones, and entries of weights that take them."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

import keras_se
from keras_se.weights import entries

SIDE = 40
MEGABYTE = 2**20


def weights_entry(
    size: int, crop: float = 1.0, channels: int = 3, interpolation: str = "bilinear"
) -> keras_se.Weights:
    statistics = (0.5,) * channels, (0.25,) * channels
    return replace(
        entries.get_weights("se_resnet20.fashion_mnist"),
        input_shape=(size, size, channels),
        preprocessing=entries.Preprocessing(size, crop, interpolation, *statistics),
    )


RGB_ENTRY, GREY_ENTRY = weights_entry(SIDE), weights_entry(SIDE, channels=1)


def noise(width: int, height: int, channels: int = 3, high: int = 256) -> np.ndarray:
    generator = np.random.default_rng((width, height, channels))
    shape = (height, width, channels) if channels > 1 else (height, width)
    return generator.integers(0, high, shape, "uint16" if high > 256 else "uint8")


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: bytes
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def png_16_bits(pixels: np.ndarray, *extra: bytes) -> bytes:
    colour_type = 2 if pixels.ndim == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return raw_png(pixels.shape[1], pixels.shape[0], 16, colour_type, rows, *extra)


SIZES = [
    (50, 40), (40, 50), (51, 37), (37, 51), (33, 33), (36, 36), (20, 24), (7, 300), (300, 7),
    (1, 1), (2, 1), (1, 5000), (5000, 1),
]  # fmt: skip


def jpeg() -> bytes:
    return encoded(Image.fromarray(noise(SIDE, SIDE)), "JPEG")


def png() -> bytes:
    return encoded(Image.fromarray(noise(SIDE, SIDE)), "PNG")


def tiff() -> bytes:
    return encoded(Image.fromarray(noise(SIDE, SIDE)), "TIFF")


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def half_the_rows() -> bytes:
    """Sound but for the rows that are missing."""
    return raw_png(SIDE, SIDE, 8, 2, b"\0" * (SIDE // 2 * (1 + 3 * SIDE)))


def text_bomb() -> bytes:
    """A good picture with a comment of two megabytes in two kilobytes."""
    rows = b"\0" * (SIDE * (1 + 3 * SIDE))
    comment = b"Comment\0\0" + zlib.compress(bytes(2 * MEGABYTE))
    return raw_png(SIDE, SIDE, 8, 2, rows, chunk(b"zTXt", comment))


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\xff",
    "random bytes": lambda: random.Random(0).randbytes(1000),
    "text": lambda: b"<!DOCTYPE html>\n<p>Not found\n",
    "truncated jpeg": lambda: half(jpeg()),
    "truncated png": lambda: half(png()),
    "truncated tiff": lambda: half(tiff()),
    "truncated webp": lambda: half(encoded(Image.fromarray(noise(SIDE, SIDE)), "WEBP")),
    "truncated gif": lambda: half(encoded(Image.fromarray(noise(SIDE, SIDE)), "GIF")),
    "truncated bmp": lambda: half(encoded(Image.fromarray(noise(SIDE, SIDE)), "BMP")),
    "signature alone": lambda: png()[:8],
    "broken checksum": lambda: png()[:29] + bytes(4) + png()[33:],
    "broken pixels": lambda: raw_png(SIDE, SIDE, 8, 2, b"\7" * (SIDE * (1 + 3 * SIDE))),
    "too few pixels": lambda: raw_png(SIDE, SIDE, 8, 2, b"\0" * 100),
    "short header": lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0"),
    "tiff without a width": lambda: tiff().replace(b"\x00\x01\x04\x00", b"\xff\x00\x04\x00", 1),
    "tiff cut in its header": lambda: tiff()[:40],
    "half its rows": lambda: half_the_rows(),
    "unknown critical chunk": lambda: png()[:33] + chunk(b"CRIT", b"") + png()[33:],
    "another format": lambda: encoded(Image.fromarray(noise(SIDE, SIDE)), "PPM"),
}


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return colours * share + 255.0 * (1.0 - share)


def frames(count: int = 2) -> list[Image.Image]:
    """Frames of few colours, so that a GIF holds them exactly."""
    return [
        Image.fromarray(np.roll(noise(SIDE, SIDE, high=4) * 80, index)) for index in range(count)
    ]


def animation(file_format: str, **options: Any) -> bytes:
    first, *others = frames(3)
    return encoded(first, file_format, save_all=True, append_images=others, **options)


ALPHA = np.random.default_rng(3).choice(np.array([0, 1, 127, 128, 254, 255], "uint8"), (SIDE, SIDE))
COLOURS = noise(SIDE, SIDE)
GREY = noise(SIDE, SIDE, channels=1)
GREY_16_BITS = noise(SIDE, SIDE, channels=1, high=65536)
COLOURS_16_BITS = noise(SIDE, SIDE, high=65536)
PALETTE = Image.fromarray(COLOURS).quantize(16)
CMYK = encoded(Image.fromarray(noise(SIDE, SIDE, channels=4), "CMYK"), "JPEG")
KEY_16_BITS = int(GREY_16_BITS[0, 0])
KEYED = noise(SIDE, SIDE, high=2) * 255


def cmyk_colours() -> np.ndarray:
    inks = np.asarray(Image.open(io.BytesIO(CMYK)), "float64") / 255.0
    return 255.0 * (1.0 - inks[..., :3]) * (1.0 - inks[..., 3:])


def palette_colours() -> np.ndarray:
    colours = np.array(PALETTE.getpalette()).reshape(-1, 3)
    indices = np.asarray(PALETTE)
    return np.where((indices == 0)[..., None], 255, colours[indices])


# What the picture is, its bytes, what the message calls it, and its right colours.
CONVERTIBLE: dict[str, tuple[bytes, str, np.ndarray]] = {
    "grey": (encoded(Image.fromarray(GREY), "PNG"), "grey", GREY[..., None].repeat(3, 2)),
    "1 bit": (
        encoded(Image.fromarray(GREY > 127), "PNG"),
        "black-and-white",
        255 * (GREY > 127)[..., None].repeat(3, 2),
    ),
    "16-bit grey": (
        png_16_bits(GREY_16_BITS),
        "more than 8 bits",
        (GREY_16_BITS >> 8)[..., None].repeat(3, 2),
    ),
    "16-bit rgb": (png_16_bits(COLOURS_16_BITS), "more than 8 bits", COLOURS_16_BITS >> 8),
    "cmyk": (CMYK, "CMYK", cmyk_colours()),
    "rgba": (
        encoded(Image.fromarray(np.dstack([COLOURS, ALPHA])), "PNG"),
        "transparent",
        on_white(COLOURS, ALPHA),
    ),
    "rgba webp": (
        encoded(Image.fromarray(np.dstack([COLOURS, ALPHA])), "WEBP", lossless=True, exact=True),
        "transparent",
        on_white(COLOURS, ALPHA),
    ),
    "grey with alpha": (
        encoded(Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), "PNG"),
        "transparent",
        on_white(GREY[..., None].repeat(3, 2), ALPHA),
    ),
    "transparent palette": (
        encoded(PALETTE, "PNG", transparency=0),
        "transparent",
        palette_colours(),
    ),
    "transparent colour": (
        encoded(Image.fromarray(KEYED), "PNG", transparency=(255, 0, 0)),
        "transparent",
        np.where((KEYED == (255, 0, 0)).all(2)[..., None], 255, KEYED),
    ),
    "transparent 16-bit grey": (
        png_16_bits(GREY_16_BITS, chunk(b"tRNS", struct.pack(">H", KEY_16_BITS))),
        "transparent",
        np.where(GREY_16_BITS == KEY_16_BITS, 255, GREY_16_BITS >> 8)[..., None].repeat(3, 2),
    ),
}
ANIMATED = {
    "animated gif": animation("GIF"),
    "animated png": animation("PNG"),
    "animated webp": animation("WEBP", lossless=True),
    "tiff of three pages": animation("TIFF"),
}


def bmp_4_bits() -> bytes:
    """Sixteen colours, rows filled up to four bytes; Pillow writes none."""
    indices = noise(SIDE + 3, SIDE, channels=1, high=16)
    rows = np.pad(indices, [(0, 0), (0, 5)])
    packed = (rows[:, ::2] << 4 | rows[:, 1::2])[::-1].tobytes()
    palette = noise(16, 1, channels=4).tobytes()
    sizes = struct.pack("<IiiHHIIiiII", 40, SIDE + 3, SIDE, 1, 4, 0, len(packed), 0, 0, 16, 0)
    start = 54 + len(palette)
    header = b"BM" + struct.pack("<IHHI", start + len(packed), 0, 0, start)
    return header + sizes + palette + packed


def without_adobe(data: bytes) -> bytes:
    at = data.index(b"\xff\xee\0\x0eAdobe")
    return data[:at] + data[at + 16 :]


def png_4_bits() -> bytes:
    pixels = noise(SIDE // 2, SIDE, channels=1)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return raw_png(SIDE, SIDE, 4, 0, rows, chunk(b"tRNS", b"\0\7"))


def exif_of(orientation: int, order: str = ">", kind: int = 3, count: int = 1) -> bytes:
    start = b"MM\0*" if order == ">" else b"II*\0"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), orientation, *[0] * (kind == 3))
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + value
    return start + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


ODD_EXIF = [
    exif_of(6, "<"), exif_of(8, "<", 4), exif_of(8, ">", 4), exif_of(6, count=2),
    exif_of(6, kind=7),
    exif_of(6)[:20], exif_of(6)[:9], exif_of(6)[:5], b"", b"MM\0*" + bytes([255] * 40),
    exif_of(6).replace(b"\0\0\0\x08", b"\0\0\xff\xff"),
    exif_of(6).replace(b"\0\0\0\x08\0\1", b"\0\0\0\x08\xff\xff"), exif_of(2**20, kind=4),
]  # fmt: skip


def turned(file_format: str, exif: int | bytes) -> bytes:
    """A picture that is not square, with EXIF data, or such an orientation in it."""
    exif = exif if isinstance(exif, bytes) else exif_of(exif)
    exif = b"Exif\0\0" + exif if file_format == "JPEG" else exif
    options = {"exif": exif} if file_format != "TIFF" else {"tiffinfo": {274: exif[-7]}}
    options |= {"lossless": True} if file_format == "WEBP" else {}
    return encoded(Image.fromarray(noise(50, 41)), file_format, **options)
