"""The first picture of a TIFF with only the tags that affect its pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# Size in bytes of each value type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
         17: 8, 18: 8}  # fmt: skip
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
WIDTH, HEIGHT, ORIENTATION = 256, 257, 274
OFFSETS, LENGTHS, TILE_SIDES = (273, 324), (279, 325), (322, 323)
# Size, bits, compression, colours, places, predictor, palette, alpha, CCITT, JPEG, YCbCr, and
# sample format.
TAGS = {254, WIDTH, HEIGHT, 258, 259, 262, 266, *OFFSETS, 277, 278, *LENGTHS, 284, 292, 293, 317,
        320, *TILE_SIDES, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532}  # fmt: skip
# Limits on strips or tiles, bytes of tag values, and pixels per tile of a small picture.
MAX_PARTS, MAX_VALUES, MAX_TILE = 2**15, 2**22, 2**22
# By magic number: formats of a directory's length and of the number that follows a type.
WIDTHS = {42: ("H", "I"), 43: ("Q", "Q")}


def _entries(
    data: bytes, at: int, order: str, widths: tuple[str, str]
) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, count and value field of each entry; the directory may be cut off."""
    start = at + struct.calcsize(widths[0])
    if start > len(data):
        return
    (entries,) = struct.unpack(order + widths[0], data[at:start])
    length = 4 + 2 * struct.calcsize(widths[1])
    for n in range(min(entries, 2**16)):
        entry = data[start + n * length : start + (n + 1) * length]
        if len(entry) < length:
            return
        yield (
            *struct.unpack(order + "HH" + widths[1], entry[: 4 + (length - 4) // 2]),
            entry[4 + (length - 4) // 2 :],
        )


def tag_values(data: bytes, at: int, order: str, tag: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, count and value field of each entry of a tag in the directory at `at`."""
    for found, kind, number, field in _entries(data, at, order, WIDTHS[42]):
        if found == tag:
            yield kind, number, field


def essential_tiff(data: bytes) -> tuple[bytes, int, bool]:
    """The file with a rewritten directory, its orientation, and whether it has a second frame.

    A directory that is damaged or larger than its picture needs raises a `ValueError`.
    """
    order = "<" if data[:1] == b"I" else ">"
    magic = struct.unpack(order + "H", data[2:4])[0]
    widths = WIDTHS[magic]
    place = 4 if magic == 42 else 8
    width = struct.calcsize(widths[1])
    if len(data) < place + width:
        raise ValueError("cut off")
    (at,) = struct.unpack(order + widths[1], data[place : place + width])
    kept: dict[int, tuple[int, int, bytes]] = {}
    values: dict[int, list[int]] = {}
    total, last = 0, at + struct.calcsize(widths[0])
    for tag, kind, number, field in _entries(data, at, order, widths):
        last += 4 + 2 * width
        if tag not in TAGS | {ORIENTATION} or tag in kept or kind not in SIZES:
            continue
        size = number * SIZES[kind]
        total += size
        if total > MAX_VALUES:
            raise ValueError("too large a directory")
        where = 0 if size <= width else struct.unpack(order + widths[1], field)[0]
        value = (field if size <= width else data)[where : where + size]
        if len(value) < size:
            raise ValueError("cut off")
        if kind in INTEGERS:
            values[tag] = list(struct.unpack(f"{order}{number}{INTEGERS[kind]}", value))
        if tag != ORIENTATION:
            kept[tag] = kind, number, field
    following = data[last : last + width]
    if not kept or len(following) < width:
        raise ValueError("cut off")
    _check(values, len(data))
    turned = (values.get(ORIENTATION) or [1])[0]
    new = struct.pack(order + widths[0], len(kept))
    for tag, (kind, number, field) in sorted(kept.items()):
        new += struct.pack(order + "HH" + widths[1], tag, kind, number) + field
    header = data[:place] + struct.pack(order + widths[1], len(data) + len(data) % 2)
    body = data[len(header) :] + bytes(len(data) % 2)
    several = any(following)
    return header + body + new + bytes(width), turned if 1 <= turned <= 8 else 1, several


def _check(values: dict[int, list[int]], size: int) -> None:
    """Raise for parts that overlap or are larger than the picture."""
    pixels = max(values.get(WIDTH, [0]), default=0) * max(values.get(HEIGHT, [0]), default=0)
    sides = [max(values.get(tag, [0]), default=0) for tag in TILE_SIDES]
    if sides[0] * sides[1] > max(MAX_TILE, pixels):
        raise ValueError("tiles that are larger than the picture")
    if any(len(values.get(tag, [])) > MAX_PARTS for tag in OFFSETS):
        raise ValueError(f"more than {MAX_PARTS} strips or tiles")
    if any(sum(values.get(tag, [])) > 2 * size for tag in LENGTHS):
        raise ValueError("strips or tiles that overlap")
