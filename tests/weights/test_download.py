"""Published sets by way of servers that fail in every way: one clear line, or the right file."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import urllib3.util.retry
from command_line import Run, assert_mistake
from damaged_sets import ARRAYS, ZIPS, h5_file, zip_file
from disks import small_disk
from file_servers import (
    DATA,
    HALF,
    PAGE,
    Answer,
    Handler,
    Serve,
    Server,
    cut,
    ranged,
    stalling,
    status,
    whole,
)  # fmt: skip
from filelock import FileLock
from mistakes import refused

import keras_se
from keras_se.checkpoint import described
from keras_se.weights import cache, download, entries
from keras_se.weights.entries import Weights, get_weights

pytestmark = pytest.mark.weights

# What may be lost of what a server has sent when the connection breaks.
BUFFER = 2**16
SHA = hashlib.sha256(DATA).hexdigest()
ENTRY = replace(
    get_weights("se_resnet20.osmr_cifar10"), file="folder/a set.h5", sha=f"sha256:{SHA}"
)


@pytest.fixture(autouse=True)
def home(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache; nobody waits for a server."""
    monkeypatch.setattr(download, "RETRY", download.RETRY.new(backoff_factor=0))
    return empty_cache


@pytest.fixture(scope="module")
def genuine() -> bytes:
    """A sound file of the set."""
    return h5_file(ARRAYS)


def published(server: Server, **fields: Any) -> Weights:
    """The set that the server has."""
    return replace(ENTRY, url=f"{server.url}/set", **fields)


def files(home: Path) -> list[str]:
    """The names of the files in the cache, without the locks, which must be free."""
    found = [path for path in home.rglob("*") if path.is_file()]
    for path in found:
        if path.suffix == ".lock":
            with FileLock(path, timeout=0):
                pass
    return sorted(str(path.relative_to(home)) for path in found if path.suffix != ".lock")


NAME = "published/folder/a set.h5"


def assert_fetched(entry: Weights, home: Path) -> None:
    """The right file is there, and nothing else."""
    assert cache.fetched(entry) == home / NAME
    assert (home / NAME).read_bytes() == DATA
    assert files(home) == [NAME]


def assert_refused(server: Server, home: Path, *words: object) -> None:
    """A clear error, no file nor a part of one; when the server has recovered, the right file."""
    entry = published(server)
    refused(lambda: cache.fetched(entry), entry.url, *words)
    assert files(home) == []
    server.answers = [ranged()]
    assert_fetched(entry, home)


def test_sound_file(serve: Serve, home: Path) -> None:
    server = serve(whole())
    assert_fetched(published(server), home)
    assert_fetched(published(server), home)
    assert server.ranges == [None]
    assert server.asked[0]["Accept-Encoding"] == "identity"


def test_wrong_hash(serve: Serve, home: Path) -> None:
    wrong = bytes(len(DATA))
    received = hashlib.sha256(wrong).hexdigest()
    assert_refused(
        serve(whole(wrong)), home, f"expected sha256:{SHA}", f"Received: sha256:{received}"
    )


def test_first_digits_of_a_hash(serve: Serve, home: Path) -> None:
    server = serve(whole())
    wrong = published(server, sha=f"sha256:{SHA[:7]}{'0' if SHA[7] != '0' else '1'}")
    refused(lambda: cache.fetched(wrong), wrong.url, wrong.sha)
    assert files(home) == []
    assert_fetched(published(server, sha=f"sha256:{SHA[:8]}"), home)


def test_shorter_file(serve: Serve, home: Path) -> None:
    received = hashlib.sha256(DATA[:HALF]).hexdigest()
    assert_refused(serve(whole(DATA[:HALF])), home, SHA, received)


def test_end_without_a_length(serve: Serve, home: Path) -> None:
    def answer(handler: Handler) -> None:
        handler.start()
        handler.wfile.write(DATA[:HALF])
        handler.drop()

    assert_refused(serve(answer), home, SHA)


def test_unknown_length(serve: Serve, home: Path) -> None:
    def answer(handler: Handler) -> None:
        handler.start(Transfer_Encoding="chunked")
        for start in range(0, len(DATA), 100_000):
            chunk = DATA[start : start + 100_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    assert_fetched(published(serve(answer)), home)


@pytest.mark.parametrize("reset", [False, True])
def test_fewer_bytes_than_promised(serve: Serve, home: Path, reset: bool) -> None:
    """A server that always breaks off at the same byte, and cannot continue."""
    server = serve(cut(reset=reset))
    entry = published(server)
    refused(lambda: cache.fetched(entry), entry.url, "broke", f"of {len(DATA)} bytes")
    assert 2 <= len(server.asked) <= 10
    server.answers = [whole()]
    assert_fetched(entry, home)


@pytest.mark.parametrize("reset", [False, True])
def test_resumed(serve: Serve, home: Path, reset: bool) -> None:
    server = serve(cut(reset=reset), ranged())
    assert_fetched(published(server), home)
    first, second = server.ranges
    assert first is None
    start = int(str(second).removeprefix("bytes=").removesuffix("-"))
    assert HALF - BUFFER < start <= HALF


def test_resumed_as_long_as_bytes_come(serve: Serve, home: Path) -> None:
    server = serve(ranged(most=100_000))
    assert_fetched(published(server), home)
    starts = [int(str(r).removeprefix("bytes=").removesuffix("-")) for r in server.ranges[1:]]
    assert starts == sorted(set(starts))
    assert len(starts) < len(DATA) / (100_000 - BUFFER)


def test_resumed_by_a_later_run(serve: Serve, home: Path) -> None:
    server = serve(ranged(most=HALF), ranged(most=0))
    entry = published(server)
    refused(lambda: cache.fetched(entry), entry.url)
    assert files(home) == [f"{NAME}.unchecked.part"]
    server.answers, before = [ranged()], len(server.asked)
    assert_fetched(entry, home)
    assert server.ranges[before:] == server.ranges[before - 1 : before]
    assert int(str(server.ranges[-1]).removeprefix("bytes=").removesuffix("-")) > HALF - BUFFER


def part(home: Path, data: bytes) -> None:
    path = home / f"{NAME}.unchecked.part"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def test_server_without_ranges(serve: Serve, home: Path) -> None:
    part(home, DATA[:1000])
    server = serve(whole())
    assert_fetched(published(server), home)
    assert server.ranges == ["bytes=1000-"]


def elsewhere(handler: Handler) -> None:
    """The range from 0, whatever was asked for."""
    asked = handler.headers["Range"]
    length = f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
    handler.start(206 if asked else 200, len(DATA), **({"Content_Range": length} if asked else {}))
    handler.wfile.write(DATA)
    handler.drop()


def nowhere(handler: Handler) -> None:
    """A range, of which it is not said where it is."""
    handler.start(206 if handler.headers["Range"] else 200, len(DATA))
    handler.wfile.write(DATA)
    handler.drop()


@pytest.mark.parametrize("answer", [elsewhere, nowhere])
def test_server_that_continues_elsewhere(serve: Serve, home: Path, answer: Answer) -> None:
    part(home, DATA[:1000])
    server = serve(answer)
    assert_fetched(published(server), home)
    assert server.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize("left", [DATA, DATA + b"more", b"\0" * len(DATA)])
def test_range_beyond_the_file(serve: Serve, home: Path, left: bytes) -> None:
    part(home, left)
    server = serve(ranged())
    assert_fetched(published(server), home)
    assert server.ranges == [f"bytes={len(left)}-", None]


def test_endless_416(serve: Serve, home: Path) -> None:
    part(home, DATA[:1000])
    server = serve(status(416))
    assert_refused(server, home, "416")


def test_part_of_another_file(serve: Serve, home: Path) -> None:
    part(home, bytes(1000))
    assert_refused(serve(ranged()), home, SHA)


@pytest.mark.parametrize(
    ("code", "reason"), [(404, "Not Found"), (403, "Forbidden"), (410, "Gone"), (204, "No Content")]
)
def test_refusal(serve: Serve, home: Path, code: int, reason: str) -> None:
    server = serve(status(code))
    assert_refused(server, home, code, reason)
    assert len(server.asked) == 2


def test_refusal_with_control_characters(serve: Serve, home: Path) -> None:
    """A server's words must not reach the terminal as commands."""

    def answer(handler: Handler) -> None:
        handler.send_response(404, "\x1b[2JNo")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    message = refused(lambda: cache.fetched(published(serve(answer))), "404 ?[2JNo")
    assert message.isprintable()


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_refusal_for_the_moment(serve: Serve, home: Path, code: int) -> None:
    server = serve(status(code), status(code), whole())
    assert_fetched(published(server), home)
    assert len(server.asked) == 3


def test_refusal_for_good(serve: Serve, home: Path) -> None:
    server = serve(status(503))
    assert_refused(server, home, 503, "Service Unavailable")
    assert 3 <= len(server.asked) <= 10


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "TEXT/HTML"])
def test_web_page(serve: Serve, home: Path, kind: str) -> None:
    server = serve(whole(PAGE, Content_Type=kind))
    assert_refused(server, home, "a web page")
    assert len(server.asked) == 2


def test_web_page_in_disguise(serve: Serve, home: Path) -> None:
    server = serve(whole(PAGE, Content_Type="application/octet-stream"))
    assert_refused(server, home, SHA, hashlib.sha256(PAGE).hexdigest())


def test_more_than_can_be_right(serve: Serve, home: Path) -> None:
    """Refused by its length, before it is loaded."""
    assert_refused(serve(lambda handler: handler.start(200, 2**33)), home, 2**33, "at most")


@pytest.mark.parametrize("length", [None, 100])
def test_endless_file(serve: Serve, tmp_path: Path, length: int | None) -> None:
    def answer(handler: Handler) -> None:
        handler.start(200, length)
        while True:
            handler.wfile.write(DATA)

    def get(most: int = 2_000_000) -> None:
        download.download(server.url, tmp_path / "file", most, lambda done, total: None)

    server = serve(answer)
    if length:
        get()
        assert (tmp_path / "file").read_bytes() == DATA[:length]
        return
    refused(get, server.url, "2000000 bytes")
    # It would be continued, and refused, for ever.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ZIPS)
def test_damaged_zip(serve: Serve, home: Path, genuine: bytes, name: str) -> None:
    make, words = ZIPS[name]
    server = serve(whole(make(genuine)))
    sha = f"sha256:{hashlib.sha256(genuine).hexdigest()}"
    entry = published(server, file="set.h5.zip", sha=sha)
    refused(lambda: cache.fetched(entry), entry.url, *words)
    assert files(home) == []
    server.answers = [whole(zip_file(set=genuine))]
    cache.fetched(entry)
    assert files(home) == ["published/set.h5.zip"]


def test_slow_server(serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (5, 1))

    def answer(handler: Handler) -> None:
        handler.start(200, len(DATA))
        for start in range(0, len(DATA), 110_000):
            handler.wfile.write(DATA[start : start + 110_000])
            handler.wfile.flush()
            time.sleep(0.15)

    server = serve(answer)
    assert_fetched(published(server), home)
    assert len(server.asked) == 1


@pytest.mark.parametrize("sent", [None, 0, HALF])
def test_stalled_server(
    serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch, sent: int | None
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (5, 0.1))
    server = serve(stalling(sent))
    entry = published(server)
    refused(lambda: cache.fetched(entry), entry.url, "time")
    assert len(server.asked) <= 10
    monkeypatch.setattr(download, "TIMEOUT", (5, 5))
    server.answers = [ranged()]
    assert_fetched(entry, home)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_no_network(home: Path) -> None:
    entry = replace(ENTRY, url=f"http://127.0.0.1:{closed_port()}/set")
    refused(lambda: cache.fetched(entry), entry.url, "no connection")
    assert files(home) == []


def test_no_network_is_told_soon(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(urllib3.util.retry.time, "sleep", waited.append)
    monkeypatch.setattr(download, "RETRY", download.RETRY.new(backoff_factor=0.5))
    entry = replace(ENTRY, url=f"http://127.0.0.1:{closed_port()}/set")
    refused(lambda: cache.fetched(entry), entry.url)
    assert sum(waited) <= 30


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/set", "http://", "http://a b/", "http://127.0.0.1:99999/", "file:///set"],
)
def test_address_that_is_none(home: Path, url: str) -> None:
    entry = replace(ENTRY, url=url)
    refused(lambda: cache.fetched(entry), url)
    assert files(home) == []


@pytest.mark.parametrize("failing", [errno.EDQUOT, errno.EIO, errno.EFBIG])
def test_disk_that_fails(
    serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(failing, os.strerror(failing))

    server = serve(whole())
    with monkeypatch.context() as patched:
        patched.setattr(download.os, "fsync", fail)
        refused(lambda: cache.fetched(published(server)), home / NAME, os.strerror(failing))
    assert not (home / NAME).exists()
    server.answers = [ranged()]
    assert_fetched(published(server), home)


def test_full_disk(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(whole())
    with small_disk(tmp_path / "disk") as change:
        home = tmp_path / "disk" / "home"
        monkeypatch.setenv("KERAS_SE_HOME", str(home))
        refused(lambda: cache.fetched(published(server)), server.url, home / NAME, "space")
        assert files(home) == []
        assert shutil.disk_usage(home).used == 0
        change("size=4m")
        assert_fetched(published(server), home)


def test_read_only_cache(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(whole())
    with small_disk(tmp_path / "disk") as change:
        home = tmp_path / "disk" / "home"
        monkeypatch.setenv("KERAS_SE_HOME", str(home))
        change("size=4m,ro")
        message = refused(lambda: cache.fetched(published(server)), home, "set KERAS_SE_HOME")
        assert "Read-only" in message
        change("rw")
        assert_fetched(published(server), home)
        change("ro")
        assert cache.fetched(published(server)) == home / NAME
        other = published(server, file="other.h5")
        refused(lambda: cache.fetched(other), home, "Read-only", "set KERAS_SE_HOME")
    assert len(server.asked) == 1


def test_cache_below_a_file(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "file"))
    refused(lambda: cache.fetched(published(serve(whole()))), tmp_path / "file", "KERAS_SE_HOME")


HOMES: dict[str, Callable[[Path], str]] = {
    "a device": lambda path: "/dev/full",
    "a link to itself": lambda path: (path / "loop").symlink_to("loop") or str(path / "loop"),
    "too long": lambda path: str(path / ("x" * 300)),
    "a pipe": lambda path: os.mkfifo(path / "pipe") or str(path / "pipe"),  # type: ignore[func-returns-value]
    "a line break": lambda path: (path / "file").touch() or str(path / "file" / "two\nlines"),
}


@pytest.mark.parametrize("name", HOMES)
def test_cache_that_cannot_be(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Any bad value fails at once, in one line that shows the value."""
    monkeypatch.setenv("KERAS_SE_HOME", HOMES[name](tmp_path))
    with pytest.raises(OSError, match=r"set KERAS_SE_HOME|name too long") as caught:
        cache.fetched(published(serve(whole())))
    assert name == "a line break" or "\n" not in str(caught.value)


def test_relative_cache(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is below the working directory, as other programs have it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_SE_HOME", "cache")
    assert cache.fetched(published(serve(whole()))).resolve() == tmp_path / "cache" / NAME


def script(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


FETCH = """
import pickle, sys
from keras_se.weights import cache
with open(sys.argv[1], "rb") as file:
    print(cache.fetched(pickle.load(file)))
"""


def test_killed_download(serve: Serve, home: Path, tmp_path: Path) -> None:
    server = serve(stalling(HALF))
    entry = published(server)
    (tmp_path / "entry").write_bytes(pickle.dumps(entry))
    left = home / f"{NAME}.unchecked.part"
    with subprocess.Popen(script(FETCH, tmp_path / "entry")) as process:
        deadline = time.monotonic() + 60
        while not server.asked and time.monotonic() < deadline:
            time.sleep(0.02)
        deadline = time.monotonic() + 30
        while not (left.exists() and left.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -9
    assert not (home / NAME).exists()
    server.answers = [ranged()]
    assert_fetched(entry, home)
    # It was continued.
    assert int(str(server.ranges[-1]).removeprefix("bytes=").removesuffix("-")) > 0


EIGHT = """
import hashlib, os, pickle, sys
import keras_se
from keras_se.weights import cache

builder = keras_se.SEResNet20
with open(sys.argv[1], "rb") as file:
    entry = pickle.load(file)
waiting, all_there = os.pipe()
children = []
for _ in range(8):
    child = os.fork()
    if not child:
        os.close(all_there)
        os.read(waiting, 1)
        cache.fetched(entry)
        network = builder(weights=entry)
        values = b"".join(variable.numpy().tobytes() for variable in network.weights)
        os.write(1, f"{hashlib.sha256(values).hexdigest()}\\n".encode())
        os._exit(0)
    children.append(child)
os.close(all_there)
print([os.waitpid(child, 0)[1] for child in children], file=sys.stderr)
"""


def test_eight_processes_at_once(serve: Serve, home: Path, tmp_path: Path, genuine: bytes) -> None:
    server = serve(whole(zip_file(set=genuine)))
    sha = f"sha256:{hashlib.sha256(genuine).hexdigest()}"
    entry = published(server, file="set.h5.zip", sha=sha)
    (tmp_path / "entry").write_bytes(pickle.dumps(entry))
    done = subprocess.run(
        script(EIGHT, tmp_path / "entry"), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stderr.splitlines()[-1] == str([0] * 8), done.stderr
    lines = done.stdout.split()
    assert len(lines) == 8
    assert len(set(lines)) == 1
    assert server.paths == ["/set"]
    path = cache.converted_path(entry).relative_to(home)
    assert files(home) == sorted(
        map(str, (path, path.with_suffix(".json"), "published/set.h5.zip"))
    )


BACKENDS = {"keras", "tensorflow", "jax", "torch"}


def test_download_needs_no_backend() -> None:
    code = f"import sys, keras_se.weights.cache; print({BACKENDS} & set(sys.modules))"
    done = subprocess.run(script(code), capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "set()"


def test_failure_in_one_process_does_not_stop_the_next_run_in_it(serve: Serve, home: Path) -> None:
    """As in a notebook, where the last error, and what it refers to, stays."""
    server = serve(status(404))
    kept = []
    for _ in range(2):
        try:
            cache.fetched(published(server))
        except OSError as error:
            kept.append(error)
    server.answers = [whole()]
    assert_fetched(published(server), home)
    assert len(kept) == 2


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Using the network fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_sockets_are_refused(no_sockets: None) -> None:
    with pytest.raises(AssertionError, match="a socket was opened"):
        cache.fetched(replace(ENTRY, url="http://127.0.0.1:9/set"))


OFFLINE = replace(ENTRY, url="https://example.org/releases/a%20set.h5")


@pytest.mark.parametrize("mirror", ["", "https://mirror.example.org/sets"])
def test_offline(
    no_sockets: None, home: Path, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("KERAS_SE_OFFLINE", "1")
    monkeypatch.setenv("KERAS_SE_MIRROR", mirror)
    message = refused(
        lambda: cache.fetched(OFFLINE),
        OFFLINE.name, "KERAS_SE_OFFLINE", OFFLINE.url, str(home / NAME),
    )  # fmt: skip
    assert message.endswith(f"{home / NAME}'")
    (home / NAME).parent.mkdir(parents=True)
    (home / NAME).write_bytes(DATA[:-1])
    refused(lambda: cache.fetched(OFFLINE), home / NAME, SHA)
    (home / NAME).write_bytes(DATA)
    assert_fetched(OFFLINE, home)


@pytest.mark.parametrize("value", ["", "0"])
def test_not_offline(serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("KERAS_SE_OFFLINE", value)
    assert_fetched(published(serve(whole())), home)


def test_offline_with_a_converted_set(
    no_sockets: None, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, genuine: bytes
) -> None:
    """A file that was put there by hand is converted; then the published file may go."""
    monkeypatch.setenv("KERAS_SE_OFFLINE", "1")
    entry = replace(OFFLINE, sha=f"sha256:{hashlib.sha256(genuine).hexdigest()}")
    monkeypatch.setattr(entries, "_registry", lambda: {entry.name: entry})
    message = refused(lambda: keras_se.SEResNet20(weights=entry.name), entry.url, entry.name)
    path = Path(message.split("'")[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(genuine)
    first = keras_se.SEResNet20(weights="cifar10")
    path.unlink()
    again = keras_se.SEResNet20(weights=entry.name)
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror's folder, where the file lies."""
    path = tmp_path / "mirror"
    (path / ENTRY.file).parent.mkdir(parents=True)
    (path / ENTRY.file).write_bytes(DATA)
    monkeypatch.setenv("KERAS_SE_MIRROR", str(path))
    return path


@pytest.mark.parametrize("offline", ["0", "1"])
def test_folder_as_mirror(
    folder: Path, home: Path, no_sockets: None, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    monkeypatch.setenv("KERAS_SE_OFFLINE", offline)
    assert cache.fetched(OFFLINE) == folder / ENTRY.file
    assert files(home) == []


def test_folder_in_the_home_as_mirror(
    folder: Path, no_sockets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("KERAS_SE_MIRROR", "~/mirror/")
    assert cache.fetched(OFFLINE) == folder / ENTRY.file


def test_the_cache_comes_before_the_mirror(folder: Path, home: Path, no_sockets: None) -> None:
    (home / NAME).parent.mkdir(parents=True)
    (home / NAME).write_bytes(DATA)
    (folder / ENTRY.file).write_bytes(b"")
    assert_fetched(OFFLINE, home)


def test_published_folder_of_a_cache_as_mirror(
    serve: Serve, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_fetched(published(serve(whole())), home)
    monkeypatch.setenv("KERAS_SE_MIRROR", str(home / "published"))
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "other"))
    assert cache.fetched(OFFLINE) == home / NAME


def test_folder_without_the_file(folder: Path, home: Path, no_sockets: None) -> None:
    (folder / ENTRY.file).unlink()
    refused(lambda: cache.fetched(OFFLINE), ENTRY.name, "KERAS_SE_MIRROR", folder / ENTRY.file)
    (folder / ENTRY.file).mkdir()
    refused(lambda: cache.fetched(OFFLINE), ENTRY.name, "KERAS_SE_MIRROR", folder / ENTRY.file)
    shutil.rmtree(folder)
    refused(lambda: cache.fetched(OFFLINE), ENTRY.name, "KERAS_SE_MIRROR", folder / ENTRY.file)
    assert files(home) == []


def test_wrong_file_in_the_folder(folder: Path, home: Path, no_sockets: None) -> None:
    (folder / ENTRY.file).write_bytes(DATA[:-1])
    refused(lambda: cache.fetched(OFFLINE), folder / ENTRY.file, SHA)
    assert files(home) == []


@pytest.mark.parametrize("path", ["", "/", "/sets", "/sets/"])
def test_server_as_mirror(
    serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    server = serve(status(404), whole(b"another"), whole())
    monkeypatch.setenv("KERAS_SE_MIRROR", f"{server.url}{path}")
    url = f"{server.url}{path.rstrip('/')}/folder/a%20set.h5"
    refused(lambda: cache.fetched(OFFLINE), url, "404")
    assert files(home) == []
    refused(lambda: cache.fetched(OFFLINE), url, SHA)
    assert files(home) == []
    assert_fetched(OFFLINE, home)
    assert server.paths == [url.removeprefix(server.url)] * 3


HUB = {"sha": None, "revision": "0123456789abcdef"}


@pytest.mark.parametrize("etag", [f'"{SHA}"', SHA, f'"{SHA.upper()}"'])
def test_hash_that_the_server_states(serve: Serve, home: Path, etag: str) -> None:
    store = serve(cut(), ranged())
    hub = serve(status(302, Location=f"{store.url}/blob", X_Linked_Etag=etag))
    entry = published(hub, **HUB)
    assert cache.fetched(entry) == home / NAME
    assert (home / NAME).read_bytes() == DATA
    assert files(home) == [NAME, f"{NAME}.sha256"]
    noted = (home / f"{NAME}.sha256").read_text("utf-8")
    assert noted == f"{SHA}  a set.h5\n"
    # Later the note is what the file is checked against.
    assert cache.fetched(entry) == home / NAME
    (home / NAME).write_bytes(DATA[:-1])
    refused(lambda: cache.fetched(entry), home / NAME, SHA)
    assert len(store.asked) == 2


def test_md5_that_the_server_states(serve: Serve, home: Path) -> None:
    """As Google's storage does, in base 64, beside another checksum."""
    digest = hashlib.md5(DATA, usedforsecurity=False)
    stated = base64.b64encode(digest.digest()).decode()
    server = serve(whole(X_Goog_Hash=f"crc32c=n03x6A==,md5={stated}"))
    entry = published(server, sha=None, revision=None)
    assert cache.fetched(entry) == home / NAME
    assert (home / f"{NAME}.md5").read_text("utf-8") == f"{digest.hexdigest()}  a set.h5\n"
    assert cache.fetched(entry) == home / NAME
    (home / NAME).write_bytes(DATA[:-1])
    refused(lambda: cache.fetched(entry), home / NAME, digest.hexdigest())
    (home / NAME).unlink()
    server.answers = [whole(DATA[:-1], X_Goog_Hash=f"md5={stated}")]
    refused(lambda: cache.fetched(entry), entry.url, digest.hexdigest())
    assert not (home / NAME).exists()


def test_wrong_hash_that_the_server_states(serve: Serve, home: Path) -> None:
    store = serve(whole())
    hub = serve(status(302, Location=f"{store.url}/blob", X_Linked_Etag=f'"{"0" * 64}"'))
    entry = published(hub, **HUB)
    refused(lambda: cache.fetched(entry), entry.url, "0" * 64, SHA)
    assert files(home) == []
    hub.answers = [whole(X_Linked_Etag=SHA)]
    assert cache.fetched(entry) == home / NAME


@pytest.mark.parametrize("etag", [None, "", '"0123456789abcdef0123456789abcdef01234567"'])
def test_no_hash(
    serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch, genuine: bytes, etag: str | None
) -> None:
    server = serve(whole(genuine, **({} if etag is None else {"X_Linked_Etag": etag})))
    entry = published(server, **HUB)
    refused(lambda: cache.fetched(entry), entry.url, "no hash")
    assert files(home) == []
    monkeypatch.setenv("KERAS_SE_MIRROR", server.url)
    assert cache.fetched(entry) == home / NAME
    assert (home / NAME).read_bytes() == genuine
    assert files(home) == [NAME]


def test_wrong_hash_that_a_mirror_states(
    serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(whole(X_Linked_Etag="0" * 64), whole(X_Linked_Etag=SHA))
    monkeypatch.setenv("KERAS_SE_MIRROR", server.url)
    entry = replace(OFFLINE, **HUB)
    refused(lambda: cache.fetched(entry), server.url, "0" * 64, SHA)
    assert files(home) == []
    assert cache.fetched(entry) == home / NAME


@pytest.mark.parametrize("wrong", [PAGE, b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_no_weights_from_a_mirror_without_hashes(
    serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch, genuine: bytes, wrong: bytes
) -> None:
    """What is plainly no file of weights is not kept, hash or no hash."""
    server = serve(whole(wrong), whole(genuine))
    monkeypatch.setenv("KERAS_SE_MIRROR", server.url)
    entry = replace(OFFLINE, **HUB)
    refused(lambda: keras_se.SEResNet20(weights=entry))
    assert not (home / NAME).exists()
    assert keras_se.SEResNet20(weights=entry).count_params() == entry.params_total


class Response(requests.Response):
    """An answer without a server."""

    def __init__(self, url: str, *before: str) -> None:
        super().__init__()
        self.status_code, self.url, self.asked = 200, url, False
        self.headers["Content-Length"] = "3"
        for address in before:
            self.history.append(Response(address))

    def iter_content(self, *_: object, **__: object) -> Iterator[bytes]:  # type: ignore[override]
        self.asked = True
        yield b"abc"

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("before", "last", "secure"),
    [
        ([], "https://a/set", True),
        (["https://a/set"], "https://b/set", True),
        (["https://a/set"], "http://a/set", False),
        (["https://a/set", "https://b/set"], "http://c/set", False),
        (["https://a/set", "http://b/set"], "https://c/set", False),
    ],
)
def test_redirects(before: list[str], last: str, secure: bool, tmp_path: Path) -> None:
    """Once over https, always over https."""

    class Session(requests.Session):
        def get(self, *_: object, **__: object) -> Response:  # type: ignore[override]
            return response

    response, path = Response(last, *before), tmp_path / "part"

    def transfer() -> None:
        download._transfer(Session(), "https://a/set", path, 10, lambda done, total: None)

    if secure:
        transfer()
        assert path.read_bytes() == b"abc"
        return
    insecure = next(url for url in [*before, last] if url.startswith("http:"))
    refused(transfer, "insecure", insecure)
    assert not response.asked
    assert not path.exists()


def test_endless_redirects(serve: Serve, home: Path) -> None:
    server = serve(status(302, Location="/set"))
    assert_refused(server, home, "redirects")


def test_insecure_mirror_may_redirect(serve: Serve, home: Path) -> None:
    """What is asked for over http is checked by its hash alone."""
    store = serve(whole())
    assert_fetched(published(serve(status(301, Location=f"{store.url}/x"))), home)


@pytest.fixture
def sets(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> dict[str, Weights]:
    """A registry of four sets, of which one is part of the package."""
    server = serve(ranged())
    plain = replace(published(server), file="plain.h5")
    entries_ = [
        plain,
        replace(plain, name="se_resnet20.osmr_svhn", dataset="svhn", file="b.h5"),
        replace(plain, name="se_resnet20.other", default=False, file="c.h5"),
        replace(plain, name="se_resnet20.ours", dataset="ours", url=None, file="d.h5"),
    ]
    registry = {entry.name: entry for entry in entries_}
    monkeypatch.setattr(entries, "_registry", lambda: registry)
    return registry


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["se_resnet20.osmr_cifar10"], ["plain.h5"]),
        (["se_resnet20.osmr_*"], ["plain.h5", "b.h5"]),
        (["*.other", "se_resnet20.osmr_svhn"], ["c.h5", "b.h5"]),
        (["SEResNet20"], ["plain.h5", "b.h5"]),
        (["SEResNet20", "*"], ["plain.h5", "b.h5", "c.h5"]),
    ],
)
def test_download_command(
    run: Run, sets: dict[str, Weights], home: Path, names: list[str], expected: list[str]
) -> None:
    code, out, err = run("download", *names, "--json")
    assert (code, err) == (0, "")
    by_file = {entry.file: name for name, entry in sets.items()}
    rows = [{"name": by_file[f], "path": str(home / "published" / f)} for f in expected]
    assert json.loads(out) == rows
    assert files(home) == sorted(f"published/{file}" for file in expected)
    code, out, err = run("download", *names)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [list(row.values()) for row in rows]


@pytest.mark.parametrize(
    "name", ["se_resnet20.osmr_cifar11", "*.qubvel*", "SEResNet50", "se_resnet20.ours", "", "["]
)
def test_download_command_without_a_set(
    run: Run, sets: dict[str, Weights], home: Path, name: str
) -> None:
    assert_mistake(run("download", "se_resnet20.other", name), repr(name), "published")
    assert files(home) == []


def test_download_command_that_fails(
    run: Run, sets: dict[str, Weights], serve: Serve, home: Path
) -> None:
    missing = replace(published(serve(status(404))), file="missing.h5")
    sets[missing.name] = missing
    result = run("download", "se_resnet20.*")
    assert_mistake(result, missing.url, 404)
    assert result[1] == ""
    assert "published/missing.h5" not in files(home)


def test_verify_command(run: Run, sets: dict[str, Weights], home: Path) -> None:
    assert run("verify", "--json") == (0, "[]\n", "")
    run("download", "*")
    code, out, err = run("verify", "--json")
    assert (code, err) == (0, "")
    paths = [str(home / "published" / file) for file in ("plain.h5", "b.h5", "c.h5")]
    assert json.loads(out) == [{"path": path, "error": None} for path in paths]
    (home / "published" / "b.h5").write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    result = run("verify", "--json")
    assert_mistake(result, "1 of 3", home, printed=True)
    errors = [row["error"] for row in json.loads(result[1])]
    assert errors[::2] == [None, None]
    assert SHA in errors[1]
    result = run("verify")
    assert_mistake(result, "1 of 3", "delete", printed=True)
    assert [line.split()[0] == "sound" for line in result[1].splitlines()] == [True, False, True]


def flip(path: Path, position: int, bits: int = 255) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(data)


# In the compressed data, from their beginning, and in the list of members.
@pytest.mark.parametrize(
    ("position", "bits"), [(33, 1), (33, 2), (33, 4), (700_000, 255), (-27, 1)]
)
def test_verify_command_finds_damage_in_a_zip(
    run: Run, sets: dict[str, Weights], home: Path, genuine: bytes, position: int, bits: int
) -> None:
    sha = f"sha256:{hashlib.sha256(genuine).hexdigest()}"
    entry = replace(OFFLINE, file="set.h5.zip", sha=sha)
    sets[entry.name] = entry
    path = home / "published" / entry.file
    path.parent.mkdir(parents=True)
    path.write_bytes(zip_file(set=genuine))
    assert run("verify")[0] == 0
    flip(path, position, bits)
    result = run("verify", "--json")
    assert_mistake(result, "1 of 1", printed=True)
    assert str(path) in json.loads(result[1])[0]["error"]


NOTES = [b"", b"\n", b"\xff\xfe", b"no hash", b"0" * 64]


@pytest.mark.parametrize("note", NOTES)
def test_verify_command_finds_a_damaged_note(
    run: Run, sets: dict[str, Weights], serve: Serve, home: Path, note: bytes
) -> None:
    """The hash that a server stated, which lies beside the file."""
    sets.clear()
    entry = published(serve(whole(X_Linked_Etag=SHA)), **HUB)
    sets[entry.name] = entry
    cache.fetched(entry)
    assert run("verify")[0] == 0
    (home / f"{NAME}.sha256").write_bytes(note)
    result = run("verify", "--json")
    assert_mistake(result, "1 of 1", printed=True)
    assert str(home / NAME) in json.loads(result[1])[0]["error"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, genuine: bytes) -> tuple[Path, Weights]:
    """A cache with a converted set only."""
    home = tmp_path_factory.mktemp("converted")
    entry = replace(OFFLINE, sha=f"sha256:{hashlib.sha256(genuine).hexdigest()}")
    (home / NAME).parent.mkdir(parents=True)
    (home / NAME).write_bytes(genuine)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KERAS_SE_HOME", str(home))
        keras_se.SEResNet20(weights=entry)
    shutil.rmtree(home / "published")
    return home, entry


# What is done to a converted file and its record.
DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "first byte": lambda path, record: flip(path, 0),
    "a byte": lambda path, record: flip(path, 500_000),
    "last byte": lambda path, record: flip(path, -1),
    "truncated": lambda path, record: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path, record: path.write_bytes(b""),
    "no record": lambda path, record: record.unlink(),
    "empty record": lambda path, record: record.write_bytes(b""),
    "truncated record": lambda path, record: record.write_bytes(record.read_bytes()[:90]),
    "binary record": lambda path, record: record.write_bytes(b"\xff\xfe"),
    "record of another kind": lambda path, record: record.write_bytes(b"[]"),
    "record without a hash": lambda path, record: record.write_bytes(b"{}"),
    "record without digits": lambda path, record: record.write_bytes(b'{"sha": "sha256:"}'),
    "record of few digits": lambda path, record: record.write_text(
        json.dumps({"sha": json.loads(record.read_text())["sha"][:12]})
    ),
    "record of no hash": lambda path, record: record.write_bytes(b'{"sha": ""}'),
    "record of a number": lambda path, record: record.write_bytes(b'{"sha": 5}'),
    "record of an unknown hash": lambda path, record: record.write_bytes(b'{"sha": "crc:12"}'),
    "record of another file": lambda path, record: record.write_text(
        json.dumps({"sha": f"sha256:{SHA}"})
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_command_finds_a_damaged_conversion(
    run: Run, sets: dict[str, Weights], converted: tuple[Path, Weights],
    no_sockets: None, home: Path, name: str,
) -> None:  # fmt: skip
    shutil.copytree(converted[0], home)
    entry = converted[1]
    sets.clear()
    sets[entry.name] = entry
    assert run("verify")[0] == 0
    path = cache.converted_path(entry)
    DAMAGES[name](path, path.with_suffix(".json"))
    result = run("verify", "--json")
    assert_mistake(result, "1 of 1", home, printed=True)
    rows = json.loads(result[1])
    assert [row["path"] for row in rows] == [str(path)]
    assert str(path) in rows[0]["error"]
    # Nor is it used.
    refused(lambda: entry.arrays({}, described(entry)).__enter__(), path)
