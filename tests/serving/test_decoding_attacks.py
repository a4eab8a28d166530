"""Pictures made to harm: damaged at any place, slow to read, not what their headers say."""

from __future__ import annotations

import random
import struct
import time
import zlib

import numpy as np
import picture_files as pictures
import pytest
from attack_files import ATTACKS
from graph_decoding import Decode, decoder, transform_of
from picture_files import chunk, encoded, noise, raw_png
from PIL import Image

import keras_se
from keras_se.essentials import MAX_CHUNKS, MAX_SCANS

SIDE, RULE = pictures.SIDE, pictures.RGB_ENTRY
COLOUR, GREY = Image.fromarray(noise(SIDE, SIDE)), Image.fromarray(noise(SIDE, SIDE, channels=1))
SOUND = {
    "jpeg": encoded(COLOUR, "JPEG"),
    "progressive": encoded(COLOUR, "JPEG", progressive=True),
    "png": encoded(COLOUR, "PNG"),
    "palette": encoded(COLOUR.quantize(64), "PNG"),
    "gif": encoded(COLOUR.quantize(64), "GIF"),
    "bmp": encoded(COLOUR, "BMP"),
}
MUTANTS = 40


@pytest.fixture(scope="module")
def rgb() -> Decode:
    return decoder(transform_of(pictures.RGB_ENTRY))


def mutant(data: bytes, generator: random.Random) -> bytes:
    """The file cut off, with bytes changed, put in or left out, or behind its first ones noise."""
    at = generator.randrange(len(data))
    some = generator.randbytes(generator.randint(1, 20))
    return generator.choice([
        data[:at],
        data[:at] + some[:1] + data[at + 1 :],
        data[:at] + some + data[at:],
        data[:at] + data[at + len(some) :],
        data[: at % 60] + some[:1] + data[at % 60 + 1 :],
        data[: 3 + at % 8] + generator.randbytes(300),
    ])  # fmt: skip


@pytest.mark.fuzz
@pytest.mark.parametrize("name", SOUND)
def test_damage_at_any_place(name: str, rgb: Decode) -> None:
    """Costs its own row, and what is decoded is what `load_image` gives."""
    generator, sound = random.Random(name), SOUND["png"]
    mutants = [mutant(SOUND[name], generator) for _ in range(MUTANTS)]
    received, rows, errors = rgb([data for bad in mutants for data in (bad, sound)])
    by_row = dict(zip(rows, received, strict=True))
    expected = keras_se.load_image(sound, pictures.RGB_ENTRY)[0]
    compared = 0
    for number, data in enumerate(mutants):
        np.testing.assert_array_equal(by_row[2 * number + 1], expected)
        assert (2 * number in by_row) == (errors[2 * number] == b"")
        try:
            own = keras_se.load_image(data, pictures.RGB_ENTRY)[0]
        except ValueError:
            continue
        if 2 * number in by_row:
            np.testing.assert_allclose(by_row[2 * number], own, atol=1)
            compared += 1
    # A PNG has check sums.
    assert compared < MUTANTS
    assert compared or name in ("png", "palette")
    assert set(errors[1::2]) == {b""}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP"])
def test_one_pixel(file_format: str, rgb: Decode) -> None:
    data = encoded(Image.new("RGB", (1, 1), (200, 30, 90)), file_format)
    received, _, _ = rgb([data])
    np.testing.assert_array_equal(received, keras_se.load_image(data, pictures.RGB_ENTRY))


def interlaced() -> bytes:
    """A PNG whose pixels come in seven passes."""
    pixels, rows = np.asarray(COLOUR), b""
    for top, left, down, right in [
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]:  # fmt: skip
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])
    plain = raw_png(SIDE, SIDE, 8, 2, rows)
    header = plain[16:28] + b"\1"
    return plain[:8] + chunk(b"IHDR", header) + plain[33:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def before_all(*segments: bytes) -> bytes:
    """The JPEG with these segments at its beginning."""
    return SOUND["jpeg"][:2] + b"".join(segments) + SOUND["jpeg"][2:]


def frame_header(side: int) -> bytes:
    """Of the JPEG, with another size."""
    start = SOUND["jpeg"].index(b"\xff\xc0")
    header = SOUND["jpeg"][start : start + 19]
    return header[:5] + struct.pack(">HH", side, side) + header[9:]


SOUND_BUT_RARE = {
    "interlaced": interlaced(),
    "a thumbnail first": before_all(segment(0xE1, b"Exif\0\0" + SOUND["jpeg"])),
    "a megabyte of EXIF": before_all(*[segment(0xE1, bytes(65000))] * 16),
    "something behind a jpeg": SOUND["jpeg"] + frame_header(60000),
    "something behind a png": SOUND["png"] + b"\0" * 99,
    "something behind a gif": SOUND["gif"] + SOUND["gif"],
    "something behind a bmp": SOUND["bmp"] + b"\0\0",
    "odd rows of a bmp, something behind": encoded(COLOUR.resize((41, 39)), "BMP") + b"\0\0",
    "gif in pieces of many sizes": SOUND["gif"][:-1]
    + b"\x21\xfe" + b"".join(bytes([n]) * (n + 1) for n in range(1, 256)) + b"\0;",
}  # fmt: skip


@pytest.mark.fuzz
@pytest.mark.parametrize("name", SOUND_BUT_RARE)
def test_sound_but_rare(name: str, rgb: Decode) -> None:
    data = SOUND_BUT_RARE[name]
    received, _, errors = rgb([data])
    assert errors[0] == b""
    expected = keras_se.load_image(data, pictures.RGB_ENTRY)
    np.testing.assert_allclose(received, expected, atol=1)


def with_scans(count: int) -> bytes:
    """A progressive picture whose last scan is there so many times more."""
    data = SOUND["progressive"]
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def with_offset(offset: int) -> bytes:
    """The BMP with its pixels elsewhere."""
    return SOUND["bmp"][:10] + struct.pack("<I", offset) + SOUND["bmp"][14:]


HARMFUL = {
    "a hundred scans": (with_scans(MAX_SCANS), "damaged"),
    "two frame headers": (SOUND["jpeg"].replace(frame_header(SIDE), 2 * frame_header(SIDE)), ""),
    "a huge frame header later": (
        SOUND["jpeg"].replace(frame_header(SIDE), frame_header(SIDE) + frame_header(60000)), "",
    ),
    "two png headers": (
        SOUND["png"][:33] + raw_png(30000, 30000, 8, 2, b"")[8:33] + SOUND["png"][33:], "damaged",
    ),
    "many gif blocks": (
        SOUND["gif"][:-1] + b"\x21\xfe\1a\0" * MAX_CHUNKS + b";", "damaged",
    ),
    "many gif pieces": (
        SOUND["gif"][:-1] + b"\x21\xfe" + b"\1a\2bb" * MAX_CHUNKS + b"\0;", "damaged",
    ),
    "gif without pictures": (SOUND["gif"][:10] + b"\0\0\0;", "damaged"),
    "header as pixels": (with_offset(0), "damaged"),
    "pixels behind the end": (with_offset(2**32 - 1), "damaged"),
    "bmp header of gigabytes": (
        SOUND["bmp"][:14] + struct.pack("<I", 2**32 - 1) + SOUND["bmp"][18:], "another version",
    ),
    "bmp of no end": (
        SOUND["bmp"][:22] + struct.pack("<i", -(2**31)) + SOUND["bmp"][26:], "pixels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful(name: str, rgb: Decode) -> None:
    data, word = HARMFUL[name]
    _, rows, errors = rgb([data, SOUND["png"]])
    assert list(rows) == [1]
    assert word in errors[0].decode()


def test_a_gif_of_many_bytes_is_read_at_once(rgb: Decode) -> None:
    """Sixteen megabytes in pieces: a loop over each took longer than a minute."""
    comment = b"\x21\xfe" + (b"\xff" + bytes(255)) * 2**16 + b"\0;"
    start = time.perf_counter()
    _, _, errors = rgb([SOUND["gif"][:-1] + comment])
    assert errors[0] == b""
    assert time.perf_counter() - start < 10


def with_chunk(data: bytes) -> bytes:
    """The PNG with a chunk behind its header."""
    return SOUND["png"][:33] + data + SOUND["png"][33:]


METADATA = {
    "acTL of one frame": with_chunk(chunk(b"acTL", struct.pack(">II", 1, 0))),
    "colour profile of two megabytes": with_chunk(
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**21)))
    ),
    "bad check sum in tEXt": with_chunk(chunk(b"tEXt", b"a\0b")[:-1] + b"\0"),
    "unknown chunk": with_chunk(chunk(b"teSt", b"a")),
    "adobe marker twice": before_all(segment(0xEE, b"Adobe\0\x64\0\0\0\0\1") * 2),
    "many small comments": before_all(segment(0xFE, b"a") * 500),
}


def test_metadata_changes_nothing(rgb: Decode) -> None:
    received, _, errors = rgb(list(METADATA.values()))
    assert dict(zip(METADATA, errors, strict=True)) == dict.fromkeys(METADATA, b"")
    for name, data in METADATA.items():
        expected = keras_se.load_image(SOUND["jpeg" if data[:2] == b"\xff\xd8" else "png"], RULE)
        np.testing.assert_array_equal(keras_se.load_image(data, RULE), expected, name)
        np.testing.assert_array_equal(received[list(METADATA).index(name)], expected[0], name)


# Those that are built in no time; `tox -e fuzz` measures all.
QUICK = (
    "compressed text behind the pixels", "international text", "a colour profile of 50 MB",
    "EXIF of many entries", "a thousand scans", "a tile of a gigabyte", "100,000 frames",
)  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", QUICK)
def test_attacks_on_load_image(name: str, strict: bool) -> None:
    build, taken = ATTACKS[name]
    data, start = build(), time.process_time()
    if taken:
        keras_se.load_image(data, RULE, strict=strict)
    else:
        with pytest.raises(ValueError, match="expected"):
            keras_se.load_image(data, RULE, strict=strict)
    assert time.process_time() - start < 2


def test_attacks_on_the_graph(rgb: Decode) -> None:
    files = {name: ATTACKS[name][0]() for name in QUICK}
    rgb([SOUND["png"]])
    start = time.process_time()
    _, rows, _ = rgb([*files.values(), SOUND["png"]])
    assert time.process_time() - start < 2
    assert list(rows) == [n for n, name in enumerate(QUICK) if ATTACKS[name][1]] + [len(QUICK)]
