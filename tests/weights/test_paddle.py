"""PaddlePaddle's `.pdparams`: what they hold, and that a hostile one does nothing."""

import collections
import os
import pickle
import random
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from places import PUBLISHED

from keras_se.weights.tensors import one_line, open_tensors

# Written by Paddle 3.3.1: a convolution, a BatchNorm and a dense layer.
GENUINE = sorted(PUBLISHED.glob("paddle.protocol*.pdparams"))
SHAPES = {
    "0.weight": (3, 2, 3, 3), "1.weight": (3,), "1.bias": (3,), "1._mean": (3,),
    "1._variance": (3,), "2.weight": (2, 3), "2.bias": (2,),
}  # fmt: skip
# Bytes that Python may need for a file of a few kilobytes.
MEMORY = 8 * 2**20


def arrays(path):
    with one_line(path), open_tensors(path) as file:
        assert file.out_first
        return {name: np.asarray(tensor) for name, tensor in file.tensors.items()}


def message(path):
    with pytest.raises(ValueError, match=r"pdparams: ") as caught:
        arrays(path)
    return str(caught.value)


@pytest.mark.parametrize("path", GENUINE, ids=lambda path: path.stem)
def test_genuine_files(path):
    """Matrices come as PyTorch stores them, outputs first."""
    found = arrays(path)
    assert {name: array.shape for name, array in found.items()} == SHAPES
    with open(path, "rb") as file:
        expected = pickle.load(file)
    for name, array in found.items():
        own = expected[name].T if array.ndim == 2 else expected[name]
        np.testing.assert_array_equal(array, own, strict=True)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_types_and_orders(tmp_path, protocol):
    rng = np.random.default_rng(0)
    stored = {
        "half": rng.normal(size=(2, 3, 5)).astype("float16"),
        "double": rng.normal(size=7),
        "big endian": rng.normal(size=(3, 1, 4, 2)).astype(">f4"),
        "columns first": np.asfortranarray(rng.normal(size=(3, 4, 5)).astype("float32")),
        "counter": np.array(41),
        "none": np.zeros((0, 3, 1), "float32"),
        "long": rng.normal(size=(65, 9, 3)).astype("float32"),
        "naïve": rng.integers(0, 256, 300).astype("uint8"),
    }
    path = tmp_path / "file.pdparams"
    for kind in (dict, collections.OrderedDict):
        path.write_bytes(pickle.dumps(kind(stored), protocol=protocol))
        found = arrays(path)
        assert found.keys() == stored.keys()
        for name, array in stored.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Sets:
    """Has a state."""

    def __init__(self):
        self.state = os.sep


class Slotted:
    """Takes arguments."""

    def __getnewargs_ex__(self):
        return (), {"key": 1}

    def __new__(cls, **_):
        return super().__new__(cls)


def text(string):
    data = string.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def of_array(shape=(2,), content=b"\0" * 8, kind="f4", order="<"):
    """The end of a pickle: an array called "a", of parts that need not fit."""
    sizes = b"".join(
        pickle.BININT + struct.pack("<i", size) if isinstance(size, int) else size for size in shape
    )
    return b"".join(
        (
            b"}", text("a"), b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n",
            b"K\0\x85C\x01b\x87R(K\x01(", sizes, b"tcnumpy\ndtype\n", text(kind), b"K\0K\x01\x87R",
            b"(K\x03", text(order), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
            b"\x89", b"B", struct.pack("<I", len(content)), content,
            b"tbs.",
        )
    )  # fmt: skip


# Objects that a file must not create.
HARMFUL = {
    "system": Calls(os.system, "touch harmed"),
    "eval": Calls(eval, "open('harmed', 'w')"),
    "open": Calls(open, "harmed", "w"),
    "import": Calls(__import__, "antigravity"),
    "getattr": Calls(getattr, "a", "upper"),
    "another array": Calls(np.array, [1.0]),
    "memmap": Calls(np.memmap, "harmed", "uint8", "w+", 0, (1,)),
    "bytes": Calls(bytes, 2**40),
    "bytearray": Calls(bytearray, 2**40),
    "repeat": Calls(str.__mul__, "x", 2**40),
    "zeros": Calls(np.zeros, 2**40),
    "state": Sets(),
    "arguments": Slotted(),
    "list": [1, 2],
    "set": {1, 2},
    "frozen set": frozenset([1]),
    "complex": 1j,
    "number": 1.5,
    "large number": 10**100,
    "text": "a" * 2000,
    "none": None,
    "range": range(3),
    "class": collections.Counter,
    "scalar": np.float32(1),
    "objects": np.array([{}, []], dtype=object),
    "records": np.zeros(2, dtype=[("x", "f4")]),
    "texts": np.array(["a"]),
    "dates": np.array(["2020-01-01"], "datetime64[D]"),
    "masked": np.ma.array([1.0]),
}
ENVELOPES = {
    "alone": lambda value: value,
    "in a dictionary": lambda value: {"a": np.zeros(2, "float32"), "b": value},
}
PICKLED = [
    pytest.param(envelope(value), protocol, id=f"{name} {place} {protocol}")
    for name, value in HARMFUL.items()
    for place, envelope in ENVELOPES.items()
    for protocol in (2, 3, 4)
]
HEAD = b"\x80\x04"
BOMB = b"".join(
    b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(200)
)
WRITTEN = {
    "nothing": b"",
    "only a dictionary's mark": b"(d.",
    "an old string": b"}S'a'\nI1\ns.",
    "an old instance": b"(ios\nsystem\n.",
    "an old object": b"(cos\nsystem\nS'true'\no.",
    "a persistent number": b"}" + text("a") + b"P1\ns.",
    "a persistent object": b"}" + text("a") + b"K\x01Qs.",
    "a registered class": b"}" + text("a") + b"\x82\x01s.",
    "a registered class of two bytes": b"}" + text("a") + b"\x83\x01\0s.",
    "a registered class of four bytes": b"}" + text("a") + b"\x84\x01\0\0\0s.",
    "a buffer of another place": b"}" + text("a") + b"\x97s.",
    "a changeable string": b"}" + text("a") + b"\x96\x01" + b"\0" * 7 + b"xs.",
    "an unknown opcode": b"}\xff.",
    "no end": b"}",
    "an end without an object": b".",
    "a mark as the object": b"(.",
    "items without a dictionary": text("a") + b"K\x01" + text("b") + b"s.",
    "items without a mark": b"}u.",
    "half an item": b"}(" + text("a") + b"u.",
    "a number as a name": b"}K\x01K\x02s.",
    "a name twice": b"}(" + text("a") + b"}" + text("a") + b"}u.",
    "a long name": b"}" + text("a" * 1001) + b"}s.",
    "a name of no text": b"}" + text("a")[:5] + b"\xff}s.",
    "bytes as a name": b"}C\x01a}s.",
    "an object that does not exist": b"}" + text("a") + b"h\x09s.",
    "a distant object": b"}r\xff\xff\xff\xff" + text("a") + b"j\xfe\xff\xff\xffs.",
    "bytes without an end": b"\x8e" + struct.pack("<Q", 2**62) + b".",
    "text without an end": b"\x8d" + struct.pack("<Q", 2**62) + b".",
    "bytes of four gigabytes": b"B\xff\xff\xff\xff.",
    "a frame without an end": b"\x95" + struct.pack("<Q", 2**63) + b"N.",
    "a module without an end": b"c" + b"a" * 5000,
    "a function without arguments": b"cnumpy\ndtype\nR.",
    "a function with others": b"}" + text("a") + b"cnumpy\ndtype\nK\x01\x85Rs.",
    "an array of another class": (
        b"}" + text("a") + b"cnumpy.core.multiarray\n_reconstruct\nK\x01K\0C\x01b\x87Rs."
    ),
    "an array without a state": (
        b"}" + text("a")
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87Rs."
    ),
    "a class as an array": b"}" + text("a") + b"cnumpy\nndarray\ns.",
    "a type as an array": b"}" + text("a") + b"cnumpy\ndtype\n" + text("f4") + b"\x85Rs.",
    "another encoding": (
        b"}" + text("a") + b"c_codecs\nencode\n" + text("AA==") + text("base64") + b"\x86Rs."
    ),
    "a state of nothing": b"}" + text("a") + b"NNbs.",
    "a state of a dictionary": b"}" + text("a") + b"}}bs.",
    "too few values": of_array((3,)),
    "too many values": of_array((1,)),
    "half a value": of_array((2,), b"\0" * 7),
    "a negative size": of_array((-2,)),
    "a size of text": of_array((text("2"),)),
    "a shape beyond memory": of_array((2**31 - 1, 2**31 - 1)),
    "a shape of too many axes": of_array((1,) * 65),
    "objects as values": of_array(kind="O8"),
    "raw values": of_array(kind="V4"),
    "values of no type": of_array(kind="f3"),
    "values of a long type": of_array(kind="f4," * 300),
    "an order of bytes that is none": of_array(order="!"),
    "many objects": b"N" * 1_100_000 + b".",
    "many marks": b"(" * 1_100_000 + b".",
    "deep tuples": b")" + b"\x85" * 990_000 + b".",
    "a tuple that doubles": b")q\0" + BOMB + b".",
    "a dictionary in itself": b"}q\0" + text("a") + b"h\0s" + text("b") + b"h\0\x85s.",
}  # fmt: skip


def assert_refused(path, folder):
    before, inside = set(sys.modules), sorted(os.listdir(folder))
    tracemalloc.start()
    said = message(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert len(said) < len(str(path)) + 200
    assert set(sys.modules) == before
    assert sorted(os.listdir(folder)) == inside
    return peak


def test_so_many_harmful_files():
    assert len(PICKLED) + len(WRITTEN) > 200


@pytest.mark.parametrize(("value", "protocol"), PICKLED)
def test_pickles_of_other_things(tmp_path, monkeypatch, value, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pdparams"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert assert_refused(path, tmp_path) < MEMORY


@pytest.mark.parametrize("name", WRITTEN)
def test_opcodes(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pdparams"
    path.write_bytes(HEAD + WRITTEN[name])
    # A million objects are the most there may be.
    assert assert_refused(path, tmp_path) < (100 * 2**20 if len(WRITTEN[name]) > 1e5 else MEMORY)


@pytest.mark.parametrize("path", GENUINE, ids=lambda path: path.stem)
def test_files_that_end_too_early(tmp_path, path):
    data = path.read_bytes()
    for length in range(2, len(data), 7):
        (tmp_path / "file.pdparams").write_bytes(data[:length])
        message(tmp_path / "file.pdparams")


@pytest.mark.parametrize("path", GENUINE, ids=lambda path: path.stem)
def test_damaged_files(tmp_path, path):
    """They are refused, or have the shapes of arrays."""
    data, chance = path.read_bytes(), random.Random(5)
    refused = 0
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(2, len(data))] = chance.randrange(256)
        (tmp_path / "file.pdparams").write_bytes(damaged)
        try:
            assert all(
                array.dtype.kind in "fiu" for array in arrays(tmp_path / "file.pdparams").values()
            )
        except ValueError:
            refused += 1
    assert refused > 50
