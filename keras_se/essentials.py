"""The parts of a picture file that affect its pixels; decoders get nothing else.

Text, colour profiles and previews cost decoders unbounded time and memory, and decoders disagree on
damage in them. `keras_se.serving.readers` implements the same rules in a graph.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keras_se.tiff import essential_tiff, tag_values

# Limits on parts of a file, with runs of equal ones counted once, and in all: real files have a
# few, and pixels in pieces of a kilobyte or more.
MAX_CHUNKS, MAX_PARTS = 1000, 2**16
# Parts of equal length that count as one.
RUN = 512
# Pieces of a GIF, each at most 255 bytes, that count as one.
GIF_RUN = 4096
# Limit on pixels.
MAX_PIXELS = 100_000_000
# Limit on scans of a JPEG: progressive ones have ten, and thirty bytes cost a pass over all pixels.
MAX_SCANS = 100
# Limit on pixels times scans: ten scans of 100 megapixels, or a hundred of 12.
MAX_SCANNED = 1_200_000_000
# Limit on compressed bytes of a PNG beyond the most that its rows can need.
MAX_SURPLUS = 4096
# Limit on bytes of a run-length encoded BMP, which Pillow decodes in Python.
MAX_PACKED = 2**20
# JPEG segments with height and width.
SIZED = [bytes([0xC0 + n]) for n in range(16) if n not in (4, 8, 12)]
SLOW = "a file made to be slow"


@dataclass(frozen=True)
class Essentials:
    """The parts of a picture file that a decoder needs.

    Attributes:
        format: Its name in Pillow.
        data: The file without other parts.
        orientation: EXIF orientation, 1 to 8.
        several: Whether the file has a second frame.
    """

    format: str
    data: bytes
    orientation: int = 1
    several: bool = False


def essentials_of(data: bytes) -> Essentials | None:
    """The essentials of a picture file; `None` for an unknown format, a `ValueError` for damage."""
    for signature, read in READERS.items():
        if re.match(signature, data, re.DOTALL):
            return read(data)
    return None


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, in EXIF data."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (at,) = struct.unpack(order + "I", exif[4:8])
    for kind, count, value in tag_values(exif, at, order, 0x0112):
        number = {3: value[:2], 4: value}.get(kind) if count == 1 else None
        if number is not None:
            (found,) = struct.unpack(order + ("H" if kind == 3 else "I"), number)
            return found if 1 <= found <= 8 else 1
    return 1


def _jpeg(data: bytes) -> Essentials:
    headers = (b"\xff\xda\0" + bytes([2 * count + 6, count]) for count in range(5))
    scans, pixels = sum(map(data.count, headers)), 0
    kept, at, exif = [data[:2]], 2, b""
    for _ in range(MAX_CHUNKS):
        mark, marker = data[at : at + 1], data[at + 1 : at + 2]
        if mark != b"\xff" or marker in (b"", b"\0", b"\xd9"):
            raise ValueError("damaged segments")
        if marker == b"\xff" or marker == b"\x01" or 0xD0 <= marker[0] <= 0xD7:
            at += 1 if marker == b"\xff" else 2
            continue
        if marker == b"\xda":
            if scans > MAX_SCANS or scans * pixels > MAX_SCANNED:
                raise ValueError(f"{SLOW}: {scans} scans")
            return Essentials("JPEG", b"".join([*kept, data[at:]]), orientation_of(exif))
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2:
            raise ValueError("damaged segments")
        segment = data[at : at + 2 + size]
        if marker in SIZED:
            height, width = segment[5:7], segment[7:9]
            pixels = int.from_bytes(height, "big") * int.from_bytes(width, "big")
        if marker == b"\xe1" and not exif and segment[4:10] == b"Exif\0\0":
            exif = segment[10:]
        # Keep JFIF and Adobe segments, which define the colour coding; drop others and comments.
        if not (0xE0 <= marker[0] <= 0xEF or marker == b"\xfe") or marker in (b"\xe0", b"\xee"):
            kept.append(segment)
        at += len(segment)
    raise ValueError(f"{SLOW}: more than {MAX_CHUNKS} segments")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk of a PNG, including the last."""
    at, steps, run, before = 8, 0, 0, (b"", 0)
    for _ in range(MAX_PARTS):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + size
        if end > len(data):
            raise ValueError("cut off")
        run = run + 1 if before == (name, size) and run < RUN else 1
        steps, before = steps + (run == 1), (name, size)
        if steps > MAX_CHUNKS:
            break
        yield name, at, end
        if name == b"IEND":
            return
        at = end
    raise ValueError(f"{SLOW}: more than {MAX_CHUNKS} chunks")


def _png(data: bytes) -> Essentials:
    kept, pixels, exif, several = [data[:8]], [], b"", False
    seen: set[bytes] = set()
    for name, start, end in _chunks(data):
        body = data[start + 8 : end - 4]
        if not seen and (name != b"IHDR" or len(body) != 13):
            raise ValueError("no header")
        if name == b"acTL":
            several |= len(body) >= 4 and int.from_bytes(body[:4], "big") > 1
        elif name == b"eXIf" and name not in seen:
            exif = body
        critical = not name[:1].islower()
        if critical and name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            raise ValueError(f"unknown chunk {name!r}")
        if name in (b"IHDR", b"PLTE") and name in seen:
            raise ValueError(f"a second {name.decode()}")
        sound = zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if (critical or name == b"tRNS") and not sound:
            raise ValueError(f"check sum of {name.decode()}")
        if critical:
            kept.append(data[start:end])
        elif name == b"tRNS" and _fits(kept, body, seen):
            kept.append(_transparency(kept[1][16], kept[1][17], body))
        if name == b"IDAT":
            pixels.append(body)
        seen.add(name)
    header = kept[1][8:21]
    _require_rows(header, pixels, seen)
    return Essentials("PNG", b"".join(kept), orientation_of(exif), several)


def _fits(kept: list[bytes], transparency: bytes, seen: set[bytes]) -> bool:
    """Whether tRNS has a valid place and length; decoders ignore any other."""
    colours = kept[1][17]
    palette = next((len(part) - 12 for part in kept if part[4:8] == b"PLTE"), 0) // 3
    least, most = {0: (2, 2), 2: (6, 6), 3: (1, palette)}.get(colours, (1, 0))
    return least <= len(transparency) <= most and not seen & {b"IDAT", b"tRNS"}


def _transparency(depth: int, colours: int, body: bytes) -> bytes:
    """The tRNS chunk, converted to Pillow's interpretation."""
    if colours == 2 and depth == 16:
        # Pillow compares only the upper bits.
        raise ValueError("a transparent colour of 16 bits")
    if colours == 0 and depth < 8:
        # Pillow compares with pixels stretched to 8 bits.
        largest = 2**depth - 1
        body = bytes([0, (body[1] & largest) * 255 // largest])
    body = b"tRNS" + body
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _require_rows(header: bytes, pixels: list[bytes], seen: set[bytes]) -> None:
    """Raise unless the compressed pixels are complete; Pillow leaves missing rows black."""
    width, height, depth, colours, packing, filtering, interlace = struct.unpack(">IIBBBBB", header)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colours, 0)
    if packing or filtering or interlace > 1 or not samples:
        raise ValueError("an unknown kind of PNG")
    if colours == 3 and b"PLTE" not in seen:
        raise ValueError("no palette")

    def size(columns: int, rows: int) -> int:
        return rows * (1 + (columns * depth * samples + 7) // 8) if columns else 0

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlace else [(0, 0, 1, 1)]
    missing = sum(
        size(-((left - width) // right), -((top - height) // down))
        for left, top, right, down in passes
    )
    # Too large; refused elsewhere before decoding.
    if width * height > MAX_PIXELS:
        return
    unpacked = height * (1 + (width * depth * samples + 7) // 8)
    if sum(map(len, pixels)) > unpacked + unpacked // 8 + MAX_SURPLUS:
        raise ValueError(f"{SLOW}: more data than rows")
    inflater = zlib.decompressobj()
    for part in pixels:
        while part and missing > 0 and not inflater.eof:
            missing -= len(inflater.decompress(part, 2**20))
            part = inflater.unconsumed_tail
    while missing > 0 and not inflater.eof and (more := inflater.decompress(b"", 2**20)):
        missing -= len(more)
    if missing > 0:
        raise ValueError("too few rows")


def _gif(data: bytes) -> Essentials:
    """Header, palette, and the first picture with its graphic control extension."""
    at = 13 + _table(data[10:11])
    kept, control, steps, pictures = [b"GIF89a" + data[6:at]], b"", 0, 0
    while at < len(data) and data[at : at + 1] in (b"\x21", b"\x2c"):
        start, extension = at, data[at : at + 1] == b"\x21"
        at += 2 if extension else 11 + _table(data[at + 9 : at + 10])
        at, steps = _after_pieces(data, at, steps + 1)
        if extension and data[start + 1 : start + 2] == b"\xf9" and not pictures:
            control = data[start:at]
        if not extension:
            pictures += 1
            if pictures == 2:
                return Essentials("GIF", b"", several=True)
            kept += [control, data[start:at]]
    if not pictures:
        raise ValueError("no picture")
    return Essentials("GIF", b"".join([*kept, b";"]))


def _table(flags: bytes) -> int:
    """Bytes of the palette that the flags announce."""
    return 3 * 2 ** (flags[0] % 8 + 1) if flags and flags[0] >= 128 else 0


def _after_pieces(data: bytes, at: int, steps: int) -> tuple[int, int]:
    """End of data in pieces, and the runs of pieces so far."""
    before, run = -1, 0
    while at < len(data) and data[at]:
        run = run + 1 if data[at] == before and run < GIF_RUN else 1
        before, steps = data[at], steps + (run == 1)
        if steps >= MAX_CHUNKS:
            break
        at += data[at] + 1
    if steps >= MAX_CHUNKS:
        raise ValueError(f"{SLOW}: more than {MAX_CHUNKS} blocks")
    if at >= len(data):
        raise ValueError("cut off")
    return at + 1, steps


def _bmp(data: bytes) -> Essentials:
    if data[30:34] in (b"\1\0\0\0", b"\2\0\0\0") and len(data) > MAX_PACKED:
        raise ValueError(f"{SLOW}: a packed BMP of more than {MAX_PACKED} bytes")
    return Essentials("BMP", data)


def _tiff(data: bytes) -> Essentials:
    rewritten, orientation, several = essential_tiff(data)
    return Essentials("TIFF", rewritten, orientation, several)


def _webp(data: bytes) -> Essentials:
    """The whole file, which Pillow reads in C, and its EXIF orientation."""
    at, exif = 12, b""
    for _ in range(MAX_CHUNKS):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            exif = data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0")
            break
        at += 8 + size + size % 2
        if at >= len(data):
            break
    return Essentials("WEBP", data, orientation_of(exif))


READERS: dict[bytes, Callable[[bytes], Essentials]] = {
    rb"\xff\xd8\xff": _jpeg,
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"GIF8": _gif,
    rb"BM": _bmp,
    rb"RIFF.{4}WEBP": _webp,
    rb"II[*+]\0|MM\0[*+]": _tiff,
}
