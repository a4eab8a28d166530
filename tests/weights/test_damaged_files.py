"""Damaged, foreign and hostile weights files: one clear line, and nothing wrong is kept.

Where the file is a published set's, it is at hand, in a mirror's folder, and its hash is right:
what is tested is all that comes after the download.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from damaged_sets import ARRAYS, ZIPS, Arrays, h5_file, zip_file
from disks import small_disk
from filelock import FileLock
from mistakes import refused
from safetensors.numpy import save

import keras_se
from keras_se.checkpoint import convert_file, described, load_checkpoint
from keras_se.weights import cache, caffe
from keras_se.weights.entries import Weights, get_weights
from keras_se.weights.variable_file import named_variables

pytestmark = pytest.mark.weights

ENTRY = get_weights("se_resnet20.osmr_cifar10")
UNIT = "cifarse_res_net/features/features/stage1/stage1/unit1"
KERNEL = f"{UNIT}/body/conv1/conv/conv/kernel"
GAMMA = f"{UNIT}/body/conv1/bn/gamma"


def place(weight: str) -> str:
    """Where a weight of the features lies in the file."""
    return f"features/{weight}:0"


def deeper(arrays: Arrays) -> Arrays:
    """A network of four units a stage instead of three."""
    fourth = {n.replace("unit3", "unit4"): array for n, array in arrays.items() if "unit3" in n}
    return arrays | fourth


def with_classes(arrays: Arrays, classes: int) -> Arrays:
    head = "output1|cifarse_res_net/output1"
    kernel, bias = np.ones((64, classes), "float32"), np.ones(classes, "float32")
    return arrays | {f"{head}/kernel": kernel, f"{head}/bias": bias}


def torch_arrays(arrays: Arrays) -> Arrays:
    """The same weights as pytorchcv names and stores them."""
    renamed = {
        "kernel": "weight", "gamma": "weight", "beta": "bias",
        "moving_mean": "running_mean", "moving_variance": "running_var",
    }  # fmt: skip
    result = {}
    for name, array in arrays.items():
        path = name.split("|")[1]
        *parts, variable = re.sub(r"([^/]+)/(?=\1/)", "", path).split("/")[1:]
        order = {2: (1, 0), 4: (3, 2, 0, 1)}.get(array.ndim, range(array.ndim))
        key = ".".join([*parts, renamed.get(variable, variable)])
        result[key] = np.ascontiguousarray(array.transpose(order))
    return result


TORCH = torch_arrays(ARRAYS)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def assert_nothing_left(folder: Path) -> None:
    """There are only lock files, which nobody holds."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    assert [path.name for path in files if path.suffix != ".lock"] == []
    assert [path for path in folder.rglob("*") if path.is_dir() and path.parent != folder] == []
    for path in files:
        with FileLock(path, timeout=0):
            pass


@pytest.fixture(scope="module")
def good() -> bytes:
    """A sound file of the set."""
    return h5_file(ARRAYS)


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    """The variables of the set's network."""
    network = keras_se.SEResNet20(weights=None)
    return {name: tuple(v.shape) for name, v in named_variables(network).items()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, which is empty."""
    for name in ("KERAS_SE_MIRROR", "KERAS_SE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


Publish = Callable[..., Weights]


@pytest.fixture
def mirror(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mirror"
    path.mkdir()
    monkeypatch.setenv("KERAS_SE_MIRROR", str(path))
    return path


@pytest.fixture
def publish(mirror: Path) -> Publish:
    """Makes bytes the published file of a set; the hash is that of `inner`, in a zip."""

    def publish(data: bytes, file: str = "set.h5", inner: bytes | None = None) -> Weights:
        (mirror / file).unlink(missing_ok=True)
        (mirror / file).write_bytes(data)
        return replace(ENTRY, file=file, sha=sha256(data if inner is None else inner))

    return publish


Convert = Callable[[Weights], Arrays]


@pytest.fixture
def convert(shapes: dict[str, tuple[int, ...]]) -> Convert:
    """All arrays of a set, which is converted first if need be."""

    def convert(entry: Weights) -> Arrays:
        with entry.arrays(shapes, described(entry)) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays}

    return convert


def assert_sound(converted: Arrays) -> None:
    """The arrays are those of the sound file."""
    assert len(converted) == len(ARRAYS)
    expected = {
        "stage2_block1_conv1/kernel": f"features|{KERNEL}",
        "stage2_block1_bn1/gamma": f"features|{GAMMA}",
        "predictions/bias": "output1|cifarse_res_net/output1/bias",
    }
    for ours, theirs in expected.items():
        np.testing.assert_array_equal(converted[ours], ARRAYS[theirs])


@pytest.mark.parametrize("kind", ["h5", "zip", "safetensors"])
def test_sound_file(kind: str, good: bytes, publish: Publish, convert: Convert, home: Path) -> None:
    counter = {"features.init_block.bn.num_batches_tracked": np.zeros((), "int64")}
    data = {
        "h5": lambda: good,
        "zip": lambda: zip_file(good=good),
        "safetensors": lambda: save(TORCH | counter),
    }[kind]()
    entry = publish(data, f"set.{kind}", good if kind == "zip" else data)
    first = convert(entry)
    assert_sound(first)
    path = cache.converted_path(entry)
    times = {file: file.stat().st_mtime_ns for file in home.rglob("*")}
    assert_sound(convert(entry))
    assert {file: file.stat().st_mtime_ns for file in home.rglob("*")} == times
    assert sorted(file for file in times if file.is_file()) == sorted(
        [path, path.with_suffix(".json"), path.with_name(f"{path.name}.lock")]
    )


def listed(*names: str) -> Callable[[h5py.File], None]:
    """More weights."""

    def spoil(file: h5py.File) -> None:
        attributes = file["features"].attrs
        attributes["weight_names"] = np.array([*attributes["weight_names"], *names], "S")
        for name in names:
            file[f"features/{name}"] = np.ones((3, 3, 16, 16), "float32")

    return spoil


def unlisted(file: h5py.File) -> None:
    """Without the first weight."""
    attributes = file["features"].attrs
    attributes["weight_names"] = attributes["weight_names"][1:]


def instead(make: Callable[[h5py.File, str], object]) -> Callable[[h5py.File], None]:
    """Something else in the place of a kernel."""

    def spoil(file: h5py.File) -> None:
        del file[place(KERNEL)]
        make(file, place(KERNEL))

    return spoil


def array(value: Any, kind: str = "float32", shape: tuple[int, ...] = (3, 3, 16, 16)) -> Any:
    return instead(lambda file, name: file.create_dataset(name, data=np.full(shape, value, kind)))


def virtual(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout((3, 3, 16, 16), "float32")
    layout[...] = h5py.VirtualSource("other.h5", "x", (3, 3, 16, 16))
    file.create_virtual_dataset(name, layout)


def external(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (3, 3, 16, 16), "float32", external=[("other.bin", 0, 9216)])


def link(target: object) -> Callable[[h5py.File], None]:
    return instead(lambda file, name: file.__setitem__(name, target))


def moved(target: Callable[[], object]) -> Callable[[h5py.File], None]:
    """A link in the place of a whole layer."""

    def spoil(file: h5py.File) -> None:
        file.move("output1", "elsewhere")
        file["output1"] = target()

    return spoil


# What is wrong with a file of Keras 2, and the words that the error must have.
SPOILT: dict[str, tuple[Callable[[h5py.File], None], tuple[str, ...]]] = {
    "missing": (unlisted, ("missing", "stem_conv/kernel")),
    "missing, but listed": (instead(lambda file, name: None), ("missing", KERNEL)),
    "extra": (listed("net/extra/kernel:0"), ("unexpected", "net/extra/kernel")),
    "twice": (listed(f"{KERNEL}:1"), ("twice", KERNEL)),
    "wrong shape": (array(1, shape=(3, 3, 16, 17)), ("(3, 3, 16, 16)", "(3, 3, 16, 17)")),
    "transposed": (array(1, shape=(16, 16, 3, 3)), ("(3, 3, 16, 16)", "(16, 16, 3, 3)")),
    "wrong rank": (array(1, shape=(3, 3, 256)), ("(3, 3, 16, 16)", "(3, 3, 256)")),
    "NaN": (lambda f: f[place(KERNEL)].__setitem__((0, 0, 0, 0), np.nan), (KERNEL, "finite")),
    "infinite": (lambda f: f[place(KERNEL)].__setitem__((0, 0, 0, 0), -np.inf), ("finite",)),
    "infinite as float32": (array(1e300, "float64"), (KERNEL, "finite")),
    "integers": (array(1, "int32"), (KERNEL, "int32", "floating point")),
    "text": (array("1", "S1"), (KERNEL, "floating point")),
    "no array": (
        instead(lambda f, name: f.__setitem__(name, h5py.Empty("float32"))), (KERNEL,),
    ),
    "group": (instead(lambda f, name: f.create_group(name)), (KERNEL, "not a dataset")),
    "dataset": (moved(lambda: np.ones(3)), ("output1", "not a group")),
    "soft link": (link(h5py.SoftLink(f"/{place(GAMMA)}")), (KERNEL, "link")),
    "external link": (link(h5py.ExternalLink("other.h5", "/x")), (KERNEL, "link")),
    "soft link to a layer": (moved(lambda: h5py.SoftLink("/elsewhere")), ("output1", "link")),
    "external link to a layer": (
        moved(lambda: h5py.ExternalLink("other.h5", "/x")), ("output1", "link"),
    ),
    "external storage": (instead(external), (KERNEL, "another file")),
    "virtual": (instead(virtual), (KERNEL, "another file")),
    "no layers": (lambda f: f.attrs.__delitem__("layer_names"), ("layer_names", "Keras 2")),
    "no weights": (lambda f: f["output1"].attrs.__delitem__("weight_names"), ("weight_names",)),
    "layers by number": (lambda f: f.attrs.__setitem__("layer_names", [1, 2]), ("'1'", "missing")),
    "number of layers": (lambda f: f.attrs.__setitem__("layer_names", 2), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_h5(
    name: str, good: bytes, publish: Publish, convert: Convert,
    mirror: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # What the links lead to is right: only that they lead elsewhere is wrong.
    monkeypatch.chdir(mirror)
    with h5py.File("other.h5", "w") as other:
        other["x"] = ARRAYS[f"features|{KERNEL}"]
    Path("other.bin").write_bytes(ARRAYS[f"features|{KERNEL}"].tobytes())
    spoil, words = SPOILT[name]
    entry = publish(h5_file(ARRAYS, spoil))
    refused(lambda: convert(entry), mirror / entry.file, *words)
    assert_nothing_left(home)
    assert_sound(convert(publish(good)))


def heap(data: bytes) -> bytes:
    """The names of the root group are gone."""
    return data.replace(b"HEAP", b"LEAP", 1)


# Other bytes in the place of a file of Keras 2.
BYTES: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "empty": (lambda data: b"", ("expected HDF5", "Received")),
    "random": (lambda data: np.random.default_rng(1).bytes(len(data)), ("expected HDF5",)),
    "web page": (lambda data: b"<!DOCTYPE html>\n<html>\n", ("expected HDF5", "a web page")),
    "signature only": (lambda data: data[:8], ()),
    "truncated": (lambda data: data[: len(data) // 2], ("truncated",)),
    "last byte missing": (lambda data: data[:-1], ("truncated",)),
    "damaged names": (heap, ()),
    "damaged tree": (lambda data: data.replace(b"TREE", b"FREE", 1), ()),
    "damaged entries": (lambda data: data.replace(b"SNOD", b"SNOW"), ()),
}


@pytest.mark.parametrize("name", BYTES)
def test_damaged_bytes(
    name: str, good: bytes, publish: Publish, convert: Convert,
    mirror: Path, home: Path,
) -> None:  # fmt: skip
    damage, words = BYTES[name]
    entry = publish(damage(good))
    refused(lambda: convert(entry), mirror / entry.file, *words)
    assert_nothing_left(home)
    assert_sound(convert(publish(good)))


@pytest.mark.parametrize(
    ("other", "word"), [(deeper(ARRAYS), "unexpected"), (with_classes(ARRAYS, 100), "(64, 100)")]
)
def test_another_network(
    other: Arrays, word: str, publish: Publish, convert: Convert, mirror: Path, home: Path
) -> None:
    entry = publish(h5_file(other))
    refused(lambda: convert(entry), mirror / entry.file, word)
    assert_nothing_left(home)


def spoilt_header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A safetensors file whose header tells something else of the same data."""

    def damage(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    return damage


def of_header(size: int) -> Callable[[bytes], bytes]:
    return lambda data: size.to_bytes(8, "little") + data[8:]


def repeated(data: bytes) -> bytes:
    """The same name a second time, for the data of another tensor."""
    text = data[8 : 8 + int.from_bytes(data[:8], "little")]
    first, second = b"features.stage1.unit2.body.conv1.bn", b"features.stage1.unit1.body.conv1.bn"
    text = text.replace(first, second)
    return len(text).to_bytes(8, "little") + text + data[8 + len(text) :]


BIAS = "output1.bias"
HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "longer than the file": of_header(2**20),
    "longer than any memory": of_header(2**62),
    "without a length": of_header(0),
    "cut": of_header(100),
    "beyond the data": spoilt_header(
        lambda header: header[BIAS].update(data_offsets=[2**40, 2**40 + 40])
    ),
    "negative": spoilt_header(lambda header: header[BIAS].update(data_offsets=[-40, 0])),
    "backwards": spoilt_header(lambda header: header[BIAS]["data_offsets"].reverse()),
    "overlap": spoilt_header(lambda header: header.update({BIAS: {
        **header[BIAS], "data_offsets": [0, 40],
    }})),
    "larger shape": spoilt_header(lambda header: header[BIAS].update(shape=[11])),
    "shape of many": spoilt_header(lambda header: header[BIAS].update(shape=[2**32, 2**32])),
    "wider type": spoilt_header(lambda header: header[BIAS].update(dtype="F64")),
    "unknown type": spoilt_header(lambda header: header[BIAS].update(dtype="F33")),
    "not of this tensor": spoilt_header(lambda header: header[BIAS].pop("shape")),
    "a list": lambda data: (2).to_bytes(8, "little") + b"{]" + data[8:],
    "same name": repeated,
    "no data": lambda data: data[: 8 + int.from_bytes(data[:8], "little")],
    "truncated": lambda data: data[:-1],
    "longer data": lambda data: data + bytes(4),
    "integers": spoilt_header(lambda header: header[BIAS].update(dtype="I32")),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_lying_header(
    name: str, publish: Publish, convert: Convert, mirror: Path, home: Path
) -> None:
    entry = publish(HEADERS[name](save(TORCH)), "set.safetensors")
    refused(lambda: convert(entry), mirror / entry.file)
    assert_nothing_left(home)


def test_type_that_numpy_lacks(
    publish: Publish, convert: Convert, mirror: Path, home: Path
) -> None:
    data = spoilt_header(lambda header: header[BIAS].update(dtype="F8_E4M3"))(
        save(TORCH | {BIAS: np.ones(10, "int8")})
    )
    entry = publish(data, "set.safetensors")
    refused(lambda: convert(entry), mirror / entry.file)
    assert_nothing_left(home)


@pytest.mark.parametrize("name", ZIPS)
def test_damaged_zip(
    name: str, good: bytes, publish: Publish, convert: Convert,
    mirror: Path, home: Path,
) -> None:  # fmt: skip
    make, words = ZIPS[name]
    entry = publish(make(good), "set.h5.zip", good)
    refused(lambda: convert(entry), mirror / entry.file, *words)
    assert_nothing_left(home)
    assert_sound(convert(publish(zip_file(set=good), "set.h5.zip", good)))


@pytest.mark.parametrize("name", ["../../evil.h5", "/evil.h5", "a/../../b.h5", "a\\..\\b.h5"])
def test_climbing_path_in_a_zip(
    name: str, good: bytes, publish: Publish, convert: Convert,
    tmp_path: Path, home: Path,
) -> None:  # fmt: skip
    entry = publish(zip_file(**{name: good}), "set.h5.zip", good)
    assert_sound(convert(entry))
    path = cache.converted_path(entry)
    record, lock = path.with_suffix(".json"), path.with_name(f"{path.name}.lock")
    files = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {path, record, lock, tmp_path / "mirror" / entry.file}
    assert not Path("/evil.h5").exists()


def test_no_name_in_a_zip(good: bytes, publish: Publish, convert: Convert) -> None:
    data = bytearray(zip_file(set=good))
    for lengths in (26, data.index(b"PK\x01\x02") + 28):
        data[lengths : lengths + 4] = b"\0\0\3\0"
    assert_sound(convert(publish(bytes(data), "set.h5.zip", good)))


def test_damage_in_a_zip_names_the_zip(
    publish: Publish, convert: Convert, mirror: Path, home: Path
) -> None:
    spoilt = h5_file(ARRAYS, SPOILT["NaN"][0])
    entry = publish(zip_file(set=spoilt), "set.h5.zip", spoilt)
    message = refused(lambda: convert(entry), mirror / entry.file, KERNEL, "finite")
    assert str(home) not in message
    assert_nothing_left(home)


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.backends
@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
@pytest.mark.parametrize("inside", [False, True])
def test_payload_in_a_pth(
    kind: str, inside: bool, publish: Publish, convert: Convert,
    tmp_path: Path, mirror: Path, home: Path,
) -> None:  # fmt: skip
    torch = pytest.importorskip("torch")
    payload, data = Payload(tmp_path / "evil"), io.BytesIO()
    state: Any = {name: torch.from_numpy(a) for name, a in TORCH.items()}
    state = {**state, "extra": payload} if inside else payload
    if kind == "bare pickle":
        pickle.dump(payload, data, protocol=2)
    else:
        torch.save(state, data, _use_new_zipfile_serialization=kind == "zip")
    entry = publish(data.getvalue(), "set.pth")
    # The reader of `.pdparams`, which runs nothing, gets every pickle that Torch would not write.
    reason = "only NumPy arrays are read" if kind == "bare pickle" else "not loaded"
    refused(lambda: convert(entry), mirror / entry.file, reason)
    assert_nothing_left(home)
    refused(lambda: load_checkpoint(mirror / entry.file, layout="osmr", model="SEResNet20"))
    assert not (tmp_path / "evil").exists()
    if kind == "bare pickle":
        pickle.loads(data.getvalue())
        assert (tmp_path / "evil").exists()


# What is in a .pth file in the place of its state dict, and the words of the error.
STATES: dict[str, tuple[Callable[[Any, dict[str, Any]], Any], tuple[str, ...]]] = {
    "tensor": (lambda torch, state: torch.ones(3), ("state dict",)),
    "list": (lambda torch, state: list(state.values()), ("state dict",)),
    "number among tensors": (lambda torch, state: {**state, BIAS: 1.5}, ("state dict",)),
    "empty": (lambda torch, state: {}, ("missing",)),
    "integers": (lambda torch, state: {**state, BIAS: state[BIAS].long()}, (BIAS, "int64")),
    "NaN": (lambda torch, state: {**state, BIAS: state[BIAS] * float("nan")}, (BIAS, "finite")),
    "sparse": (lambda torch, state: {**state, BIAS: state[BIAS].to_sparse()}, ()),
    "complex": (lambda torch, state: {**state, BIAS: state[BIAS].cfloat()}, (BIAS, "complex64")),
    "twice": (lambda torch, state: {f"module.{BIAS}": torch.ones(10), **state}, (BIAS, "twice")),
    "another depth": (
        lambda torch, state: {n.replace("unit3", "unit4"): t for n, t in state.items()},
        ("missing", "stage2_block3"),
    ),
}  # fmt: skip


@pytest.mark.backends
@pytest.mark.parametrize("name", STATES)
def test_spoilt_pth(
    name: str, publish: Publish, convert: Convert, mirror: Path, home: Path
) -> None:
    torch = pytest.importorskip("torch")
    make, words = STATES[name]
    data = io.BytesIO()
    torch.save(make(torch, {n: torch.from_numpy(a) for n, a in TORCH.items()}), data)
    entry = publish(data.getvalue(), "set.pth")
    refused(lambda: convert(entry), mirror / entry.file, *words)
    assert_nothing_left(home)


@pytest.mark.backends
@pytest.mark.parametrize("wrapped", [False, True])
def test_pth_of_parameters(wrapped: bool, publish: Publish, convert: Convert) -> None:
    torch = pytest.importorskip("torch")
    parameters = {
        f"module.{name}": torch.nn.Parameter(torch.from_numpy(array))
        for name, array in TORCH.items()
    }
    data = io.BytesIO()
    torch.save({"state_dict": parameters, "epoch": 3} if wrapped else parameters, data)
    assert_sound(convert(publish(data.getvalue(), "set.pth")))


# Bytes of a .pth file that are not what they should be.
PTH_BYTES: dict[str, tuple[bool, Callable[[bytes], bytes]]] = {
    "truncated": (True, lambda data: data[: len(data) // 2]),
    "signature only": (True, lambda data: data[:4]),
    "another zip": (True, lambda data: zip_file(set=b"no weights")),
    "damaged pickle": (True, lambda data: data.replace(b"tensor_v2", b"tensor_v7")),
    "damaged tensor": (True, lambda data: data.replace(b"FloatStorage", b"DoubleStorag")),
    "truncated, legacy": (False, lambda data: data[: len(data) // 2]),
    "signature only, legacy": (False, lambda data: data[:2]),
    "magic number only, legacy": (False, lambda data: data[:20]),
    "damaged key, legacy": (
        False, lambda data: re.sub(rb"\d{9,}", lambda key: key[0][::-1], data, count=1),
    ),
    "half a storage, legacy": (False, lambda data: data[:-100]),
    "another pickle, legacy": (False, lambda data: pickle.dumps([1, 2, 3], protocol=2)),
}  # fmt: skip


@pytest.mark.backends
@pytest.mark.parametrize("name", PTH_BYTES)
def test_damaged_pth(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    modern, damage = PTH_BYTES[name]
    data = io.BytesIO()
    torch.save({"x": torch.ones(9)}, data, _use_new_zipfile_serialization=modern)
    path = tmp_path / "set.pth"
    path.write_bytes(damage(data.getvalue()))
    refused(lambda: load_checkpoint(path, layout="osmr", model="SEResNet20"), path)


def caffe_file(*layers: tuple[str, str, list[tuple[tuple[int, ...], int]]]) -> bytes:
    """A .caffemodel of layers (name, type, arrays by their shape and number of values)."""
    net = caffe.net_parameter()(name="SE-ResNet-50")
    for name, kind, blobs in layers:
        layer = net.layer.add(name=name, type=kind)
        for shape, count in blobs:
            blob = layer.blobs.add(data=np.ones(count, "<f4").tobytes())
            blob.shape.dim.extend(shape)
    return net.SerializeToString()


STEM = ("conv1/7x7_s2", "Convolution", [((64, 3, 7, 7), 9408)])
NORM = ("conv1/7x7_s2/bn", "BatchNorm", [((64,), 64), ((64,), 64), ((1,), 1)])
CAFFE: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "truncated": (caffe_file(STEM, NORM)[:-200], ("not a valid .caffemodel",)),
    "text": (b"\nname: 'SE-ResNet-50'\n", ("not a valid .caffemodel",)),
    "too few values": (
        caffe_file(("conv1/7x7_s2", "Convolution", [((64, 3, 7, 7), 9407)])),
        ("conv1/7x7_s2", "37628 bytes", "(64, 3, 7, 7)"),
    ),
    "too many values": (
        caffe_file(("conv1/7x7_s2", "Convolution", [((64, 3, 7, 7), 9409)])), ("37636 bytes",),
    ),
    "no values": (caffe_file(("c", "InnerProduct", [((8, 8), 0)])), ("'c'", "0 bytes", "(8, 8)")),
    "negative shape": (
        caffe_file(("c", "InnerProduct", [((-8, -8), 64)])), ("'c'", "256 bytes", "(-8, -8)"),
    ),
    "enormous shape": (
        caffe_file(("c", "InnerProduct", [((2**62, 4), 0)])), ("'c'", "0 bytes"),
    ),
    "unknown type": (
        caffe_file(STEM, ("lstm", "LSTM", [((8, 8), 64)])), ("'lstm'", "unexpected type", "'LSTM'"),
    ),
    "BatchNorm of two": (
        caffe_file(("bn", "BatchNorm", [((8,), 8), ((8,), 8)])), ("'bn'", "2 arrays, not 3"),
    ),
    "too many arrays": (caffe_file(("c", "Scale", [((8,), 8)] * 3)), ("'c'", "3 arrays")),
    "twice": (caffe_file(STEM, STEM), ("conv1/7x7_s2", "twice")),
    "another network": (caffe_file(STEM, NORM), ("missing", "stem_bn/gamma")),
}  # fmt: skip


@pytest.mark.parametrize("name", CAFFE)
def test_damaged_caffemodel(name: str, tmp_path: Path) -> None:
    data, words = CAFFE[name]
    path = tmp_path / "set.caffemodel"
    path.write_bytes(data)
    refused(lambda: load_checkpoint(path, layout="caffe", model="SEResNet50"), path, *words)


STEM_KERNEL = "features.init_block.conv.weight"
# A user's own file, and the words of the error.
CHECKPOINTS: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "empty": (lambda: b"", ("expected HDF5",)),
    "another depth": (lambda: h5_file(deeper(ARRAYS)), ("do not match", "unexpected")),
    "missing": (lambda: h5_file(ARRAYS, SPOILT["missing"][0]), ("missing", "stem_conv")),
    "extra": (lambda: h5_file(ARRAYS, SPOILT["extra"][0]), ("unexpected", "net/extra")),
    "wrong shape": (lambda: h5_file(ARRAYS, SPOILT["wrong shape"][0]), ("(3, 3, 16, 17)",)),
    "NaN": (lambda: h5_file(ARRAYS, SPOILT["NaN"][0]), (KERNEL, "finite")),
    "external link": (lambda: h5_file(ARRAYS, SPOILT["external link"][0]), ("link",)),
    "damaged names": (lambda: heap(h5_file(ARRAYS)), ()),
    "stem of a vector": (lambda: save({STEM_KERNEL: np.ones(16, "float32")}), ("missing",)),
    "stem of a scalar": (lambda: save({STEM_KERNEL: np.ones((), "float32")}), ("missing",)),
    "stem of nothing": (
        lambda: save(TORCH | {STEM_KERNEL: np.ones((16, 0, 3, 3), "float32")}), (),
    ),
    "classifier of nothing": (
        lambda: save(
            TORCH | {"output1.weight": np.ones((0, 64), "f4"), BIAS: np.ones(0, "f4")}
        ), (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_load_checkpoint(name: str, tmp_path: Path) -> None:
    make, words = CHECKPOINTS[name]
    path = tmp_path / "own.weights"
    path.write_bytes(make())
    refused(lambda: load_checkpoint(path, layout="osmr", model="SEResNet20"), path, *words)


def test_no_such_checkpoint(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.h5", tmp_path):
        refused(lambda: load_checkpoint(path, layout="osmr", model="SEResNet20"), path)  # noqa: B023


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_conversion_of_a_damaged_file_leaves_the_target(
    suffix: str, good: bytes, tmp_path: Path
) -> None:
    source, target = tmp_path / "own.h5", tmp_path / f"own{suffix}"
    source.write_bytes(h5_file(ARRAYS, SPOILT["NaN"][0]))
    target.write_bytes(b"what was there")
    refused(
        lambda: convert_file(source, target, layout="osmr", model="SEResNet20"), source, "finite"
    )
    assert sorted(tmp_path.iterdir()) == sorted([source, target])
    assert target.read_bytes() == b"what was there"


# Keras leaves its HDF5 file open; that this cannot be closed, either, is said when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_full_disk_of_the_target(suffix: str, good: bytes, tmp_path: Path) -> None:
    source, folder = tmp_path / "own.h5", tmp_path / "disk"
    source.write_bytes(good)
    with small_disk(folder):
        target = folder / f"own{suffix}"
        refused(
            lambda: convert_file(source, target, layout="osmr", model="SEResNet20"),
            target, "No space left on device",
        )  # fmt: skip
        assert list(folder.iterdir()) == []
        gc.collect()
        assert shutil.disk_usage(folder).used == 0


@pytest.mark.parametrize("zipped", [False, True])
def test_full_disk(
    zipped: bool, good: bytes, publish: Publish, convert: Convert,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Not even what is in the zip fits, or the converted file does not."""
    data = zip_file(set=good) if zipped else good
    entry = publish(data, f"set.{'zip' if zipped else 'h5'}", good)
    with small_disk(tmp_path / "disk") as change:
        home = tmp_path / "disk" / "home"
        monkeypatch.setenv("KERAS_SE_HOME", str(home))
        refused(lambda: convert(entry), cache.converted_path(entry), "No space left on device")
        assert_nothing_left(home)
        assert shutil.disk_usage(home).used == 0
        change("size=8m")
        assert_sound(convert(entry))
        # What was unzipped meanwhile is gone.
        assert shutil.disk_usage(home).used < 1.3 * len(good)


def test_read_only_cache(
    good: bytes, publish: Publish, convert: Convert, mirror: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    entry, other = publish(good), publish(h5_file(with_classes(ARRAYS, 100)), "other.h5")
    with small_disk(tmp_path / "disk") as change:
        home = tmp_path / "disk" / "home"
        monkeypatch.setenv("KERAS_SE_HOME", str(home))
        change("size=8m")
        assert_sound(convert(entry))
        files = sorted(home.rglob("*"))
        shutil.rmtree(mirror)
        change("ro")
        assert_sound(convert(entry))
        refused(lambda: convert(other), home / "converted", "Read-only", "set KERAS_SE_HOME")
        assert sorted(home.rglob("*")) == files


def test_converter_of_another_version(
    good: bytes, publish: Publish, convert: Convert, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What an earlier release converted is neither used nor overwritten."""
    entry = publish(good)
    path = cache.converted_path(entry)
    convert(entry)
    path.write_bytes(b"earlier")
    monkeypatch.setattr(cache, "CONVERTER_VERSION", cache.CONVERTER_VERSION + 1)
    assert_sound(convert(entry))
    assert path.read_bytes() == b"earlier"


KILLED = """
import os, pickle, signal, sys
import h5py
from keras_se.checkpoint import described
from keras_se.weights import cache

with open(sys.argv[1], "rb") as file:
    entry, shapes, moments = pickle.load(file)
for home, owner, name, last in moments:
    child = os.fork()
    if not child:
        os.environ["KERAS_SE_HOME"] = home
        owner = {"os": os, "h5py": h5py.Group}[owner]
        original, calls = getattr(owner, name), []

        def call(*arguments, **options):
            calls.append(name)
            if len(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, call)
        with entry.arrays(shapes, described(entry)):
            os._exit(1)
    print(os.waitpid(child, 0)[1])
"""
# Writing an array; giving the arrays, their record, and both together their names.
MOMENTS = [("h5py", "create_dataset", 70), ("os", "replace", 1), ("os", "replace", 2),
           ("os", "replace", 3)]  # fmt: skip


def test_killed_conversion(
    good: bytes, publish: Publish, convert: Convert,
    shapes: dict[str, tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    entry = publish(zip_file(set=good), "set.h5.zip", good)
    convert(entry)
    expected = cache.converted_path(entry).read_bytes()
    moments = [(str(tmp_path / f"{name}{last}"), o, name, last) for o, name, last in MOMENTS]
    (tmp_path / "job").write_bytes(pickle.dumps((entry, shapes, moments)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "job")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(moments)
    for home, *_ in moments:
        monkeypatch.setenv("KERAS_SE_HOME", home)
        path = cache.converted_path(entry)
        assert not path.exists()
        assert_sound(convert(entry))
        assert path.read_bytes() == expected
        # What the killed process could not remove, the next one does.
        assert sorted(path.parent.iterdir()) == sorted(
            [path, path.with_suffix(".json"), path.with_name(f"{path.name}.lock")]
        )
