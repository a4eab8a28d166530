"""`keras-se doctor`: facts, findings, and servers of all kinds."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from configparser import ConfigParser
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import requests
from command_line import Run
from file_servers import (
    DATA,
    PAGE,
    Answer,
    Handler,
    Serve,
    Server,
    ranged,
    stalling,
    status,
    whole,
)  # fmt: skip
from packaging.specifiers import SpecifierSet
from places import ROOT

from keras_se import checks
from keras_se.benchmarking import timing
from keras_se.diagnosis import backend, installation, publishers, surroundings
from keras_se.diagnosis.known_faults import KNOWN_FAULTS, KNOWN_SETTINGS
from keras_se.tables import as_text
from keras_se.weights import entries
from keras_se.weights.entries import Weights, get_weights, known_weights

SHA = hashlib.sha256(DATA).hexdigest()
ENTRY = replace(get_weights("se_resnet20.osmr_cifar10"), file="a set.h5", sha=f"sha256:{SHA}")
# Seconds that a test may wait for a server that never answers; the timeouts are tenths.
BOUND = 10


@pytest.fixture(autouse=True)
def home(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache; no other variable that the doctor knows is set."""
    known = {*surroundings.VARIABLES, *(variable for variable, _ in KNOWN_SETTINGS)}
    for name in list(os.environ):
        if name.upper() in known and name != "KERAS_SE_HOME":
            monkeypatch.delenv(name)
    return empty_cache


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that starts at once."""
    started = {"backend": "tensorflow", "accelerators": ["H9"]}
    monkeypatch.setattr(backend, "start", lambda: started)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Installed versions by name; the requirements are some of the package's own."""
    found = {"keras-se": "0.1.0", "keras": "3.99", "numpy": "2.4.6", "matplotlib": "3.10"}
    needed = {
        "keras-se": ["keras>=3.15", "numpy>=1.26", 'jinja2>=3.1; extra == "report"',
                     'matplotlib>=3.9; extra == "train"', 'matplotlib>=3.9; extra == "report"'],
        "keras": ["numpy", "h5py<3; python_version < '3'"],
    }  # fmt: skip

    def version(name: str) -> str:
        if name not in found:
            raise PackageNotFoundError(name)
        return found[name]

    def requires(name: str) -> list[str]:
        version(name)
        return needed[name]

    monkeypatch.setattr(installation, "version", version)
    monkeypatch.setattr(installation, "requires", requires)
    return found


def assert_wrong(result: tuple[int, str, str], *words: object) -> None:
    """Exit code 1, a report, and one line that says what is wrong."""
    code, out, err = result
    assert code == 1
    assert out
    assert len(err.splitlines()) == 1
    assert err.startswith("keras-se: error: ")
    for word in words:
        assert str(word) in err


def test_report(run: Run, works: None, packages: dict[str, str], home: Path) -> None:
    (home / "published").mkdir(parents=True)
    (home / "published" / "set.h5").write_bytes(bytes(1500))
    code, out, err = run("doctor", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["backend"]["accelerators"] == ["H9"]
    assert report["machine"]["cores"] == timing.cores()
    assert report["machine"]["memory"] > 2**28
    assert report["packages"] == {"keras": "3.99", "numpy": "2.4.6", "jax": None, "torch": None}
    cache = report["cache"]
    assert (cache["folder"], cache["files"], cache["bytes"]) == (str(home), 1, 1500)
    assert (cache["free"] > 0, cache["writable"]) == (True, True)
    assert report["environment"] == {"KERAS_SE_HOME": str(home)}
    missing = {extra["extra"]: extra["missing"] for extra in report["extras"]}
    assert missing == {"train": "", "report": "jinja2>=3.1"}
    assert report["findings"] == []
    assert "publishers" not in report
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    for row in ("accelerators H9", "numpy 2.4.6", "files in it 1.5 kB in 1 files"):
        assert row in rows
    assert any(row.startswith("report ") and row.endswith("lacks jinja2>=3.1") for row in rows)


def test_names_that_look_like_markup(
    run: Run, works: None, packages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rich would refuse the first and draw the second."""
    name = str(tmp_path / "[/b] [red] :smile:")
    monkeypatch.setenv("KERAS_SE_HOME", name)
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert name in out
    assert name in as_text(("folder",), [(name,)])


def test_memory_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(timing, "MEMORY_LIMIT", limit)
    whole = timing.memory()
    limit.write_text("max\n")
    assert timing.memory() == whole
    limit.write_text("1048576\n")
    assert timing.memory() == 2**20


BROKEN = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split()))
from keras_se.diagnosis import backend
backend.start = lambda: {"error": "No module named 'keras'"}
from keras_se.cli import main
main()
"""


def test_broken_installation() -> None:
    """Most packages that are required may be missing."""
    missing = "keras tensorflow h5py requests urllib3 filelock google.protobuf safetensors PIL"
    command = [sys.executable, "-c", BROKEN, missing, "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert_wrong((done.returncode, done.stdout, done.stderr), "Keras does not start")


@pytest.mark.weights
def test_the_backend_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert backend.start() == {"backend": "tensorflow", "accelerators": []}


def test_a_backend_that_does_not_start(
    run: Run, packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    assert_wrong(run("doctor"), "Keras does not start", "nonsense")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("kill -ILL $$", "Illegal instruction"),
        ("sleep 60", "no answer"),
        ("exit 3", "no message"),
        ("echo Hello", "Hello"),
        (r"printf '\377\nImportError: no\033 library\n\n' >&2; exit 1", "ImportError: no"),
    ],
)
def test_a_process_that_ends_badly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(backend.sys, "executable", str(python))
    monkeypatch.setattr(backend, "PATIENCE", 1)
    assert error in backend.start()["error"]


FINDINGS = [
    ({"keras": None}, True, "keras-se needs keras>=3.15", "pip install 'keras>=3.15'"),
    ({"keras": "3.14"}, True, "keras 3.14 is installed", "pip install 'keras>=3.15'"),
    ({"numpy": "1.25"}, True, "keras-se needs numpy>=1.26", "pip install 'numpy>=1.26'"),
    ({"keras": "3.15.1"}, False, "issue 20585", "multiworker"),
    ({"torch": "2.13.0+cpu"}, False, "SavedModel", "TensorFlow"),
    ({"tensorflow-datasets": "4.9.10"}, False, "download_and_prepare", "keras-se[tfds]"),
    ({"keras-se": None}, False, "not installed", "pip install"),
]


@pytest.mark.parametrize(("changed", "blocks", "what", "remedy"), FINDINGS)
def test_findings(
    packages: dict[str, Any], changed: dict[str, str | None], blocks: bool, what: str, remedy: str
) -> None:
    assert list(installation.findings()) == []
    packages.update({name: version for name, version in changed.items() if version})
    for name in [name for name in changed if changed[name] is None]:
        del packages[name]
    found = [finding for finding in installation.findings() if what in finding.what]
    assert [finding.blocks for finding in found] == [blocks]
    assert remedy in found[0].remedy


def test_a_fault_that_another_package_mends(packages: dict[str, str]) -> None:
    packages |= {"tensorflow-datasets": "4.9.10", "importlib-resources": "7"}
    assert list(installation.findings()) == []


def test_a_setting(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    (finding,) = installation.findings()
    assert "TF_ENABLE_ONEDNN_OPTS=0" in finding.what


def test_known_faults_are_data() -> None:
    for fault in KNOWN_FAULTS:
        assert str(SpecifierSet(fault.versions)) == fault.versions
        assert fault.what
        assert fault.remedy


def test_the_fault_of_biases_is_still_there() -> None:
    """If this fails, Keras has mended it, and its entry needs an upper version."""
    layer = keras.layers.Conv2D(4, 1, data_format="channels_first", bias_initializer="ones")
    layer.build((None, 3, 4, 4))
    layer.bias.assign([1, 2, 3, 4])
    outputs = np.asarray(layer(np.zeros((1, 3, 4, 4), "float32")))
    right = outputs[0, :, 0, 0].tolist() == [1, 2, 3, 4]
    assert right == (keras.backend.backend() != "tensorflow")


def test_extras_are_those_of_the_package() -> None:
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    assert set(installation.EXTRAS) <= set(setup["options.extras_require"])
    installed = {one.name for one in installation.required("keras-se")}
    assert {"keras", "tensorflow", "h5py"} <= installed


def test_cache_that_cannot_be_written(
    run: Run, works: None, packages: dict[str, str], home: Path
) -> None:
    home.write_bytes(b"")
    assert_wrong(run("doctor"), home, "cannot be written")
    cache = surroundings.cache()
    (finding,) = surroundings.findings({**cache, "files": 2})
    assert not finding.blocks
    (finding,) = surroundings.findings({**cache, "writable": True, "free": 10**9})
    assert (finding.blocks, "1.0 GB" in finding.what) == (False, True)


def test_mirror(
    run: Run, works: None, packages: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_SE_MIRROR", str(home / "absent"))
    assert_wrong(run("doctor"), "KERAS_SE_MIRROR", home / "absent")
    monkeypatch.setenv("KERAS_SE_MIRROR", "https://user:secret@example.org/sets")
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy:3128")
    code, out, err = run("doctor", "--json")
    assert (code, err) == (0, "")
    assert "secret" not in out
    assert json.loads(out)["environment"]["https_proxy"] == "http://***@proxy:3128"


def asked(server: Server, **fields: Any) -> publishers.Answer:
    """The server's answer about a set."""
    (answer,) = publishers.ask([replace(ENTRY, url=f"{server.url}/set?key=secret", **fields)])
    return answer


def test_sound_server(serve: Serve) -> None:
    server = serve(whole(X_Linked_Etag=SHA))
    answer = asked(server)
    assert (answer.publisher, answer.set, answer.url) == ("osmr", ENTRY.name, f"{server.url}/set")
    assert (answer.status, answer.size, answer.hash) == (200, len(DATA), f"sha256:{SHA}")
    assert (answer.redirects, answer.error) == ((), None)
    assert server.methods == ["HEAD"]


@pytest.mark.parametrize("code", [403, 405, 501])
def test_server_without_head(serve: Serve, code: int) -> None:
    """It sends the first kilobytes, or all of the file, which is not read."""
    send = [status(code, Allow="GET"), ranged()]
    answer = asked(server := serve(*send))
    assert (answer.status, answer.size, answer.error) == (206, len(DATA), None)
    assert server.methods == ["HEAD", "GET"]
    assert server.ranges == [None, "bytes=0-2047"]
    assert asked(serve(send[0], whole())).size == len(DATA)


def test_redirects_are_shown_without_signatures(serve: Serve) -> None:
    store = serve(whole(ETag='"abc"'))
    second = serve(status(302, Location=f"{store.url}/blob?signature=secret"))
    answer = asked(serve(status(302, Location=f"{second.url}/next", X_Linked_Size="1099999")))
    assert answer.redirects == (f"{second.url}/next", f"{store.url}/blob")
    # Size and hash are those of the file, not of the redirect.
    assert (answer.size, answer.hash, answer.error) == (1_099_999, '"abc"', None)


def test_slow_server(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishers, "TIMEOUT", (5, 0.2))
    start = time.monotonic()
    assert asked(serve(stalling(None))).error == "the server timed out"
    assert time.monotonic() - start < BOUND


def test_server_that_sends_a_byte_now_and_then(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(handler: Handler) -> None:
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(b"X")
            handler.wfile.flush()

    monkeypatch.setattr(publishers, "DEADLINE", 0.5)
    monkeypatch.setattr(publishers, "REQUESTS", (("GET", "bytes=0-2047"),))
    start = time.monotonic()
    slow, good = (replace(ENTRY, url=f"{serve(a).url}/set") for a in (answer, whole()))
    answers = publishers.ask([slow, good])
    assert [found.error for found in answers] == ["the server timed out", None]
    assert time.monotonic() - start < BOUND


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"\0" * 99)
    handler.drop()


MD5 = base64.b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode()
LIES: dict[str, tuple[Answer, dict[str, Any], str]] = {
    "other size": (whole(DATA[:-1]), {"size": len(DATA)}, f"expected {len(DATA)} bytes"),
    "too large": (lambda handler: handler.start(200, 2**40), {}, str(2**40)),
    "too small": (whole(b"version https://git-lfs.github.com/spec/v1\n"), {}, "Received: 43"),
    "other hash": (whole(X_Linked_Etag="0" * 64), {}, f"expected sha256:{SHA}"),
    "other md5": (whole(X_Goog_Hash=f"md5={MD5}"), {"sha": f"md5:{'0' * 32}"}, "expected md5:000"),
    "no hash": (whole(), {"sha": None}, "no hash"),
    "web page": (whole(PAGE, Content_Type="text/html"), {}, "a web page"),
    "absent": (status(404), {}, "404 Not Found"),
    "unavailable": (status(503), {}, "503"),
    "to nowhere": (status(302, Location="file:///etc/passwd"), {}, "file:///etc/passwd"),
    "in circles": (status(302, Location="/set"), {}, "redirects"),
    "not HTTP": (no_http, {}, "no connection"),
}


@pytest.mark.parametrize("name", LIES)
def test_server_that_lies(serve: Serve, name: str) -> None:
    answer, fields, error = LIES[name]
    found = asked(serve(answer), **fields)
    assert error in str(found.error)
    assert "\n" not in str(found.error)


def test_hash_of_what_is_in_a_zip_is_not_compared(serve: Serve) -> None:
    server = serve(whole(X_Linked_Etag="0" * 64))
    assert asked(server, file="set.h5.zip").error is None


def test_control_characters(serve: Serve) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(404, "\x1b[31mNo")
        handler.send_header("ETag", "\x1b[2J" + "x" * 1000)
        handler.send_header("Content-Length", "9" * 5000)
        handler.end_headers()

    found = asked(serve(answer))
    assert found.error == "the server sent 404 ?[31mNo"
    assert found.hash == ("?[2J" + "x" * 1000)[: checks.READABLE]
    assert found.size is None


def test_insecure_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    response = requests.Response()
    response.status_code, response.url, response.raw = 200, "http://b/set", io.BytesIO()
    first = requests.Response()
    first.url = "https://a/set"
    response.history = [first]
    monkeypatch.setattr(requests.Session, "request", lambda *_, **__: response)
    (answer,) = publishers.ask([replace(ENTRY, url=first.url)])
    assert "insecure" in str(answer.error)
    assert answer.redirects == ("http://b/set",)


def test_samples_are_of_each_publisher_and_server(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = publishers.samples(known_weights())
    assert sorted((entry.publisher, entry.url.split("/")[2]) for entry in chosen if entry.url) == [
        ("caffe", "storage.openvinotoolkit.org"), ("keras", "storage.googleapis.com"),
        ("mmpretrain", "download.openmmlab.com"),
        ("osmr", "github.com"), ("qubvel", "github.com"), ("timm", "github.com"),
        ("timm", "huggingface.co"), ("zfturbo", "github.com"),
    ]  # fmt: skip
    monkeypatch.setenv("KERAS_SE_MIRROR", "https://mirror.example.org/sets")
    assert len(publishers.samples(known_weights())) == 7


@pytest.fixture
def registry(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> dict[str, Weights]:
    """Two publishers, one of which has a web page for a file."""
    pages = [whole(), whole(PAGE, Content_Type="text/html")]
    found = {
        name: replace(ENTRY, publisher=name, url=f"{serve(page).url}/set")
        for name, page in zip(("good", "[/bad]"), pages, strict=True)
    }
    monkeypatch.setattr(entries, "_registry", lambda: found)
    return found


def test_network(
    run: Run, works: None, packages: dict[str, str], registry: dict[str, Weights]
) -> None:
    result = run("doctor", "--network", "--json")
    assert_wrong(result, registry["[/bad]"].url, "web page")
    rows = {row["publisher"]: row for row in json.loads(result[1])["publishers"]}
    assert rows["good"]["size"] == len(DATA)
    assert [row["error"] is None for row in rows.values()] == [True, False]
    result = run("doctor", "--network")
    assert_wrong(result, "web page")
    (line,) = (line for line in result[1].splitlines() if line.startswith("[/bad]"))
    assert "web page" in line
    del registry["[/bad]"]
    assert run("doctor", "--network")[0] == 0


def test_no_network(
    run: Run, works: None, packages: dict[str, str], registry: dict[str, Weights],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One line, whatever the fault; and `KERAS_SE_OFFLINE` opens no connection."""
    registry["good"] = replace(ENTRY, url="http://127.0.0.1:9/set")
    assert_wrong(run("doctor", "--network"), "no connection", "and 1 more")
    monkeypatch.setenv("KERAS_SE_OFFLINE", "1")
    monkeypatch.setattr(publishers, "ask", None)
    code, out, err = run("doctor", "--network")
    assert (code, out) == (2, "")
    assert "KERAS_SE_OFFLINE" in err
    assert run("doctor")[0] == 0
    # Without the packages that requests need, none is made.
    monkeypatch.delenv("KERAS_SE_OFFLINE")
    del packages["keras"]
    assert_wrong(run("doctor", "--network"), "keras-se needs keras")
