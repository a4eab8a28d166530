"""Picture files within the limit of bytes that are made to cost time or memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from picture_files import SIDE, chunk, encoded, exif_of, noise, raw_png
from PIL import Image

MEGABYTE = 2**20
LARGE = 60 * MEGABYTE


def png(before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG with chunks before and after its pixels."""
    data = encoded(Image.fromarray(noise(SIDE, SIDE)), "PNG")
    end = data.rindex(b"IEND") - 4
    return data[:33] + before + data[33:end] + after + data[end:]


def compressed_text(kind: bytes) -> bytes:
    """1,500 texts of 7.9 megabytes."""
    start = b"Comment\0\0" if kind == b"zTXt" else b"Comment\0\1\0\0\0"
    return chunk(kind, start + zlib.compress(bytes(7_900_000), 9)) * 1500


def jpeg(*segments: bytes) -> bytes:
    """A JPEG with segments before its own."""
    data = encoded(Image.fromarray(noise(SIDE, SIDE)), "JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def scans(count: int, side: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    data = encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def gif(blocks: bytes) -> bytes:
    """A GIF with blocks behind its picture."""
    return encoded(Image.fromarray(noise(SIDE, SIDE)), "GIF")[:-1] + blocks + b";"


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes, following: int = 0) -> bytes:
    """A grey TIFF of 16 x 16 pixels with tags: type, count and value or place."""
    usual = {256: (3, 1, 16), 257: (3, 1, 16), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
             277: (3, 1, 1), 278: (3, 1, 16), 273: (4, 1, 8), 279: (4, 1, 256)}  # fmt: skip
    entries = sorted((usual | tags).items())
    directory = b"".join(struct.pack("<HHII", tag, *values) for tag, values in entries)
    directory = struct.pack("<H", len(entries)) + directory + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def tile_of_a_gigabyte() -> bytes:
    tags = {322: (4, 1, 32768), 323: (4, 1, 32768), 324: (4, 1, 8), 325: (4, 1, MEGABYTE)}
    return tiff(tags | {259: (3, 1, 8)}, zlib.compress(bytes(2**30), 1)[:MEGABYTE])


def many_frames(count: int = 100_000) -> bytes:
    """Directories of nine tags that follow each other."""
    start = tiff({}, bytes(256))
    length, at = len(start) - 264, 264
    directory = start[264:-4]
    frames = [directory + struct.pack("<I", at + n * length) for n in range(1, count)]
    return start[:264] + b"".join(frames) + directory + bytes(4)


def overlapping_tags() -> bytes:
    """Each of 60,000 tags is said to have all of the file."""
    tags = dict.fromkeys(range(1000, 61000), (7, LARGE, 8))
    return tiff(tags, bytes(LARGE))


def overlapping_strips() -> bytes:
    """Each of 16,000 strips is said to have all of the file."""
    count = 16_000
    places = struct.pack("<I", 8) * count + struct.pack("<I", LARGE) * count
    tags = {257: (3, 1, count), 278: (3, 1, 1), 259: (3, 1, 5), 273: (4, count, 8 + LARGE),
            279: (4, count, 8 + LARGE + 4 * count)}  # fmt: skip
    return tiff(tags, bytes(LARGE) + places)


def packed_bmp() -> bytes:
    """Codes that do nothing."""
    codes = b"\0\2\0\0" * (LARGE // 4)
    header = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, len(codes), 0, 0, 2, 0)
    return b"BM" + struct.pack("<IHHI", 62 + len(codes), 0, 0, 62) + header + bytes(8) + codes


def webp(chunks: bytes) -> bytes:
    data = encoded(Image.fromarray(noise(SIDE, SIDE)), "WEBP") + chunks
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


EXIF_ENTRIES = exif_of(6)[:8] + b"\xff\xff" + bytes(65_000)
# Files, and whether they are taken: None where that is not said.
ATTACKS: dict[str, tuple[Callable[[], bytes], bool | None]] = {
    "compressed text behind the pixels": (lambda: png(after=compressed_text(b"zTXt")), True),
    "compressed text before the pixels": (lambda: png(compressed_text(b"zTXt")), True),
    "international text": (lambda: png(after=compressed_text(b"iTXt")), True),
    "60 MB of text": (lambda: png(chunk(b"tEXt", b"a\0" + b"b" * LARGE)), True),
    "a colour profile of 50 MB": (
        lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50 * MEGABYTE)))), True,
    ),
    "five million chunks": (lambda: png(chunk(b"teSt", b"") * (LARGE // 12)), False),
    "chunks of many lengths": (
        lambda: png((chunk(b"teSt", b"") + chunk(b"teSt", b"a")) * (LARGE // 25)), False,
    ),
    "60 MB of EXIF": (lambda: png(chunk(b"eXIf", EXIF_ENTRIES + bytes(LARGE))), True),
    "empty pixel chunks": (lambda: png(chunk(b"IDAT", b"") * (LARGE // 12)), False),
    "pixels for ever": (
        lambda: raw_png(SIDE, SIDE, 8, 2, bytes(1000 * MEGABYTE)), False,
    ),
    "comments without end": (lambda: jpeg(segment(0xFE, b"") * (LARGE // 4)), False),
    "fill bytes": (lambda: jpeg(b"\xff" * LARGE), False),
    "garbage between segments": (lambda: jpeg(bytes(LARGE)), False),
    "profiles of 60 MB": (
        lambda: jpeg(segment(0xE2, b"ICC_PROFILE\0" + bytes(65_000)) * 900), True,
    ),
    "EXIF of many entries": (lambda: jpeg(segment(0xE1, b"Exif\0\0" + EXIF_ENTRIES)), True),
    "scan marks": (lambda: jpeg(segment(0xFE, b"\xff\xda" * 30_000) * 1000)[: 64 * MEGABYTE], None),
    "scan headers": (lambda: jpeg() + b"\xff\xda\0\x08\1" * (LARGE // 5), False),
    "a thousand scans": (lambda: scans(1000, 1000), False),
    "70 scans of 16 megapixels": (lambda: scans(60, 4000), True),
    "70 scans of 36 megapixels": (lambda: scans(60, 6000), False),
    "a comment of 60 MB": (
        lambda: gif(b"\x21\xfe" + (b"\xff" + bytes(255)) * (LARGE // 256) + b"\0"), True,
    ),
    "pieces of one byte": (lambda: gif(b"\x21\xfe" + b"\1a" * (LARGE // 2) + b"\0"), False),
    "empty blocks": (lambda: gif(b"\x21\xfe\0" * (LARGE // 3)), False),
    "frames": (
        lambda: gif(encoded(Image.new("P", (1, 1)), "GIF")[13 + 6 : -1] * 500_000), False,
    ),
    "a tile of a gigabyte": (tile_of_a_gigabyte, False),
    "100,000 frames": (many_frames, False),
    "tags that overlap": (overlapping_tags, True),
    "strips that overlap": (overlapping_strips, False),
    "a packed BMP": (packed_bmp, False),
    "many WebP chunks": (lambda: webp(b"teSt\0\0\0\0" * (LARGE // 8)), None),
    "a WebP with 60 MB of EXIF": (
        lambda: webp(b"EXIF" + struct.pack("<I", LARGE) + bytes(LARGE)), None,
    ),
}  # fmt: skip
