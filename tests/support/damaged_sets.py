"""Files of a published set of weights, sound and damaged, and the words of the errors."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
import published_files
from places import PUBLISHED

# The tensors of a genuine file, `<layer>|<weight>`.
ARRAYS = published_files.read(PUBLISHED / "osmr_h5.seresnet20_cifar10.npz").values
Arrays = dict[str, np.ndarray]


def h5_file(arrays: Arrays, spoil: Callable[[h5py.File], object] | None = None) -> bytes:
    """A file of Keras 2, after `spoil`."""
    data = io.BytesIO()
    published_files.write_keras_hdf5(arrays, data)
    if spoil:
        with h5py.File(data, "r+") as file:
            spoil(file)
    return data.getvalue()


def zip_file(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return data.getvalue()


def declaring(size: int) -> Callable[[bytes], bytes]:
    """A zip whose member claims this size."""

    def make(good: bytes) -> bytes:
        data = bytearray(zip_file(set=good))
        central = data.index(b"PK\x01\x02")
        data[22:26] = data[central + 24 : central + 28] = size.to_bytes(4, "little")
        return bytes(data)

    return make


def overwritten(start: int, stop: int) -> Callable[[bytes], bytes]:
    """A zip in which a part of the compressed data, which begin at 33, is overwritten."""

    def make(good: bytes) -> bytes:
        data = bytearray(zip_file(set=good))
        data[start:stop] = b"\xff" * (stop - start)
        return bytes(data)

    return make


def encrypted(good: bytes) -> bytes:
    data = bytearray(zip_file(set=good))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def misplaced(good: bytes) -> bytes:
    """A zip whose list of members is said to lie where it does not."""
    data = bytearray(zip_file(set=good))
    end = data.index(b"PK\x05\x06")
    data[end + 16 : end + 20] = (data.index(b"PK\x01\x02") + 1000).to_bytes(4, "little")
    return bytes(data)


# Zips: the bytes, of the sound file, and the words of the error.
ZIPS: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "not a zip": (lambda good: good, ("expected a valid zip",)),
    "web page": (lambda good: b"<!DOCTYPE html>\n", ("expected a valid zip",)),
    "empty": (lambda good: b"", ("expected a valid zip",)),
    "two files": (lambda good: zip_file(a=good, b=good), ("a zip of one file", "2")),
    "no file": (lambda good: zip_file(), ("a zip of one file", "0")),
    "only a folder": (lambda good: zip_file(**{"a/": b""}), ("a zip of one file", "0")),
    "bomb": (lambda good: zip_file(bomb=bytes(75 * 2**20)), ("at most", str(75 * 2**20))),
    "bomb that claims to be small": (
        lambda good: declaring(len(good))(bytes(2**24)), ("valid zip",),
    ),
    "more than it claims": (lambda good: declaring(1000)(good), ("valid zip",)),
    "truncated": (lambda good: zip_file(set=good)[:-100_000], ("valid zip",)),
    "damaged from the beginning": (overwritten(33, 34), ("valid zip",)),
    "damaged in the middle": (overwritten(600_000, 600_100), ("valid zip",)),
    "damaged list": (misplaced, ("valid zip",)),
    "name that is no text": (
        lambda good: zip_file(sét=good).replace("é".encode(), b"\xff\xff"),
        ("valid zip",),
    ),
    "encrypted": (encrypted, ("valid zip",)),
    "other file": (lambda good: zip_file(set=good[:-1]), ("expected sha256", "Received: sha256")),
}  # fmt: skip
