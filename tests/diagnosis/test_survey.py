"""`keras-se verify --all`: each set is proven, one at a time, whatever is wrong with the others."""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import Run, assert_mistake
from damaged_sets import ARRAYS, h5_file, zip_file
from file_servers import PAGE, Answer, Handler, Serve, ranged, stalling, status, whole
from filelock import FileLock

import keras_se
from keras_se.diagnosis import report, survey
from keras_se.weights import cache, download, entries
from keras_se.weights.entries import Weights, get_weights

GENUINE = h5_file(ARRAYS)
SHA = hashlib.sha256(GENUINE).hexdigest()
ENTRY = replace(
    get_weights("se_resnet20.osmr_cifar10"), file="first.h5", sha=f"sha256:{SHA}", size=len(GENUINE)
)


@pytest.fixture(autouse=True)
def home(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache; the working directory is empty, too, and nobody waits for a server."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(download, "RETRY", download.RETRY.new(total=0, read=0))
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    return empty_cache


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Weights]:
    """The registry, which is empty."""
    registry: dict[str, Weights] = {}
    monkeypatch.setattr(entries, "_registry", lambda: registry)
    return registry


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is built."""
    monkeypatch.setattr(keras_se, "get_model", lambda entry: None)
    monkeypatch.setattr(survey, "_answer", lambda model, entry: "class 1: 0.5000")


def add(sets: dict[str, Weights], name: str, url: str | None, **fields: object) -> Weights:
    sets[name] = replace(ENTRY, name=name, file=f"{name}.h5", url=url, **fields)  # type: ignore[arg-type]
    return sets[name]


def files(home: Path) -> list[str]:
    """The names of the files in the cache, without locks."""
    found = [path for path in home.rglob("*") if path.suffix != ".lock" and not path.is_dir()]
    return sorted(str(path.relative_to(home)) for path in found)


def rows(path: Path = Path("verified.csv")) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return {row["set"]: row for row in csv.DictReader(file)}


def results() -> dict[str, str]:
    return {name: row["result"] for name, row in rows().items()}


def assert_failed(result: tuple[int, str, str], *words: object) -> None:
    code, out, err = result
    assert (code, bool(out), len(err.splitlines())) == (1, True, 1)
    for word in ("keras-se: error: ", *words):
        assert str(word) in err


@pytest.mark.weights
def test_downloads_one_set_at_a_time(
    run: Run, sets: dict[str, Weights], serve: Serve, home: Path
) -> None:
    """Zipped or not; converted, built, run, and deleted before the next one."""
    seen: list[set[str]] = []

    def watched(data: bytes) -> Answer:
        def answer(handler: Handler) -> None:
            seen.append({Path(name).name.split(".")[0] for name in files(home)})
            whole(data)(handler)

        return answer

    zipped = zip_file(set=GENUINE)
    for name, data in (("a", GENUINE), ("b", zipped), ("c", GENUINE)):
        entry = add(sets, name, f"{serve(watched(data)).url}/set", size=len(data))
        sets[name] = replace(entry, file=f"{name}.h5{'.zip' if name == 'b' else ''}")
    code, out, err = run("verify", "--all", "--download")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [["sound", name] for name in sets]
    assert seen == [set(), set(), set()]
    assert files(home) == []
    found = rows()
    assert list(found) == ["a", "b", "c"]
    assert (found["a"]["bytes"], found["a"]["sha256"]) == (str(len(GENUINE)), SHA)
    assert found["b"]["sha256"] == hashlib.sha256(zipped).hexdigest()
    assert {row["answer"] for row in found.values()} == {found["a"]["answer"]}
    assert found["a"]["source"] == "127.0.0.1"
    page = Path("verified.md").read_text("utf-8")
    assert "3 of 3 sets are sound" in page
    assert "| osmr | 3 | 0 | 0 |" in page


@pytest.mark.weights
def test_what_the_cache_has_is_checked_and_kept(
    run: Run, sets: dict[str, Weights], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published file, and a converted one whose published file is gone; no connection."""

    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    add(sets, "absent", "http://127.0.0.1:9/set")
    published = add(sets, "published", "http://127.0.0.1:9/set")
    converted = add(sets, "converted", "http://127.0.0.1:9/set")
    for entry in (published, converted):
        path = cache.published_path(entry)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GENUINE)
    keras_se.SEResNet20(weights=converted)
    cache.published_path(converted).unlink()
    before = files(home)
    code, out, err = run("verify", "--all", "--json")
    assert (code, err) == (0, "")
    found = {row["set"]: row for row in json.loads(out)}
    assert [(row["set"], row["source"], row["bytes"]) for row in found.values()] == [
        ("published", "cache", str(len(GENUINE))), ("converted", "cache", ""),
    ]  # fmt: skip
    assert files(home) == before
    assert list(Path().iterdir()) == []
    cache.published_path(published).write_bytes(GENUINE[:-1])
    result = run("verify", "--all")
    assert_failed(result, "1 of 2", "published")
    # The user's file is named, not the link to it.
    assert f"{cache.published_path(published)}: expected sha256:{SHA}" in result[1]
    assert "survey" not in result[1]
    assert files(home) == before


BAD: dict[str, tuple[Answer, str]] = {
    "other_hash": (
        whole(OTHER := GENUINE[:-1] + b"X"),
        f"expected sha256:{SHA}. Received: sha256:{hashlib.sha256(OTHER).hexdigest()}",
    ),
    "shorter": (whole(GENUINE[:-1]), f"expected sha256:{SHA}"),
    "page": (whole(PAGE, Content_Type="text/html"), "a web page"),
    "disguised_page": (whole(PAGE), f"expected sha256:{SHA}"),
    "absent": (status(404), "404 Not Found"),
    "elsewhere": (status(302, Location="file:///etc/passwd"), "/etc/passwd"),
    "slow": (stalling(None), "the server timed out"),
    "stalled": (stalling(1000), "the server timed out"),
}


def test_goes_on_after_faulty_sets(
    run: Run, sets: dict[str, Weights], serve: Serve, home: Path, quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(download, "TIMEOUT", (5, 0.2))
    for name, (answer, _) in BAD.items():
        add(sets, name, f"{serve(answer).url}/set")
    add(sets, "nobody", "http://127.0.0.1:9/set")
    add(sets, "other_size", f"{serve(whole(GENUINE)).url}/set", size=len(GENUINE) + 1)
    left: list[list[str]] = []
    good = serve(lambda handler: left.append(files(home)) or whole(GENUINE)(handler))
    add(sets, "good", f"{good.url}/set")
    result = run("verify", "--all", "--download")
    assert left == [[]]
    assert_failed(result, "10 of 11 sets", "other_hash")
    found = rows()
    for name, (_, error) in BAD.items():
        assert error in found[name]["error"], name
    assert "no connection" in found["nobody"]["error"]
    assert f"expected {len(GENUINE) + 1} bytes" in found["other_size"]["error"]
    assert results() == {name: "sound" if name == "good" else "failed" for name in sets}
    assert files(home) == []
    assert "| osmr | 1 | 10 | 0 |" in Path("verified.md").read_text("utf-8")
    # A second call has nothing to check, but the failures still count.
    assert run("verify", "--all", "--download")[0] == 1


@pytest.mark.parametrize("error", [RuntimeError("out\nof memory"), MemoryError(), ImportError("x")])
def test_any_error_is_one_of_the_set(
    run: Run, sets: dict[str, Weights], quick: None, monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:  # fmt: skip
    def fail(model: object, entry: Weights) -> str:
        if entry.name == "bad":
            raise error
        return "class 1"

    monkeypatch.setattr(survey, "_answer", fail)
    monkeypatch.setattr(Weights, "fetch", lambda entry: None)
    add(sets, "bad", None)
    add(sets, "good", None)
    code, out, _ = run("verify", "--all")
    assert code == 1
    assert out.splitlines()[0].split()[0] == f"{type(error).__name__}:"
    assert out.splitlines()[1].split() == ["sound", "good"]


def test_resumed(
    run: Run, sets: dict[str, Weights], serve: Serve, home: Path, quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It skips sets with a row, checks interrupted ones last, and deletes leftovers."""
    server = serve(ranged(GENUINE))
    for name in ("a", "b", "c"):
        add(sets, name, f"{server.url}/{name}")

    def interrupt(model: object, entry: Weights) -> str:
        if entry.name == "b":
            raise KeyboardInterrupt
        return "class 1"

    with monkeypatch.context() as patched:
        patched.setattr(survey, "_answer", interrupt)
        assert run("verify", "--all", "--download")[0] == 130
    assert results() == {"a": "sound", "b": "interrupted"}
    assert files(home) == []
    (home / "survey" / "published").mkdir(parents=True)
    (home / "survey" / "published" / "b.h5.unchecked.part").write_bytes(bytes(100))
    code, out, err = run("verify", "--all", "--download")
    assert (code, err) == (0, "")
    assert [line.split()[1] for line in out.splitlines()] == ["c", "b"]
    assert server.paths == ["/a", "/b", "/c", "/b"]
    assert results() == dict.fromkeys("abc", "sound")
    assert files(home) == []
    assert run("verify", "--all", "--download") == (0, "", "")
    assert len(server.paths) == 4
    assert run("verify", "--all", "--download", "--again")[0] == 0
    assert server.paths[4:] == ["/a", "/b", "/c"]


def test_a_converted_set_is_no_proof_of_a_download(
    run: Run, sets: dict[str, Weights], serve: Serve, home: Path, quick: None
) -> None:
    server = serve(whole(GENUINE))
    path = cache.converted_path(add(sets, "a", f"{server.url}/a"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"converted")
    assert run("verify", "--all", "--download")[0] == 0
    assert server.paths == ["/a"]
    assert rows()["a"]["sha256"] == SHA
    assert path.read_bytes() == b"converted"


COMMAND = """
import pickle, sys
from keras_se.weights import entries
with open(sys.argv.pop(1), "rb") as file:
    registry = pickle.load(file)
entries._registry = lambda: registry
from keras_se.cli import main
main()
"""


@pytest.mark.weights
def test_killed(
    run: Run, sets: dict[str, Weights], serve: Serve, home: Path, quick: None, tmp_path: Path
) -> None:
    server = serve(stalling(1000))
    add(sets, "a", f"{server.url}/set")
    add(sets, "b", f"{serve(whole(GENUINE)).url}/set")
    (tmp_path / "sets").write_bytes(pickle.dumps(sets))
    command = [sys.executable, "-c", COMMAND, tmp_path / "sets", "verify", "--all", "--download"]
    with subprocess.Popen(list(map(str, command))) as process:
        deadline = time.monotonic() + 100
        while not list(home.rglob("*.part")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert results() == {"a": "interrupted"}
    server.answers = [whole(GENUINE)]
    code, out, _ = run("verify", "--all", "--download")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["b", "a"]
    assert files(home) == []


def test_mirror_folder(
    run: Run, sets: dict[str, Weights], home: Path, tmp_path: Path, quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It needs no connection, and keeps its files."""
    add(sets, "a", "http://127.0.0.1:9/set")
    monkeypatch.setenv("KERAS_SE_OFFLINE", "1")
    assert_mistake(run("verify", "--all", "--download"), "KERAS_SE_OFFLINE")
    assert not Path("verified.csv").exists()
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.h5").write_bytes(GENUINE)
    monkeypatch.setenv("KERAS_SE_MIRROR", str(tmp_path / "mirror"))
    assert run("verify", "--all", "--download")[0] == 0
    assert (rows()["a"]["source"], rows()["a"]["sha256"]) == ("mirror", SHA)
    assert (tmp_path / "mirror" / "a.h5").read_bytes() == GENUINE


def test_mirror_with_a_password(
    run: Run, sets: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing secret, nor what a terminal would obey, is in a report that others read."""
    add(sets, "a", "https://example.org/set")
    monkeypatch.setenv("KERAS_SE_MIRROR", "http://user:secret@127.0.0.1:9/sets")
    result = run("verify", "--all", "--download")
    assert_failed(result, "a")
    assert rows()["a"]["source"] == "127.0.0.1"
    assert rows()["a"]["error"] == "http://***@127.0.0.1:9/sets/a.h5: no connection"
    assert "secret" not in result[1] + result[2] + Path("verified.md").read_text()


def test_one_survey_at_a_time(run: Run, sets: dict[str, Weights], home: Path, quick: None) -> None:
    home.mkdir()
    with FileLock(home / "survey.lock"):
        assert_mistake(run("verify", "--all"), home / "survey", "another process")
    assert run("verify", "--all") == (0, "", "")


@pytest.mark.parametrize("option", [["--download"], ["--again"], ["--report", "a.csv"]])
def test_options_of_a_survey(run: Run, option: list[str]) -> None:
    assert_mistake(run("verify", *option), "needs --all", option[0])


HEADER = ",".join(report.COLUMNS)
REPORTS = {
    "other columns": b"a,b\n1,2\n",
    "empty": b"",
    "not text": b"\xff\xfe\0",
    "a long row": f"{HEADER}\n{',' * 20}\n".encode(),
    "an open quote": f'{HEADER}\n"a\n'.encode(),
}


@pytest.mark.parametrize("name", REPORTS)
def test_file_that_is_no_report(
    run: Run, sets: dict[str, Weights], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "report.csv"
    path.write_bytes(REPORTS[name])
    assert_mistake(run("verify", "--all", "--report", path), path, "use another file")
    assert_mistake(run("verify", "--all", "--again", "--report", path), path, "use another file")
    assert path.read_bytes() == REPORTS[name]


def test_page_of_another_kind(run: Run, sets: dict[str, Weights], tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# Mine\n")
    assert_mistake(run("verify", "--all", "--report", page.with_suffix(".csv")), page)
    assert page.read_text() == "# Mine\n"


@pytest.mark.parametrize("path", ["report.json", "absent/report.csv", ""])
def test_report_that_cannot_be(run: Run, sets: dict[str, Weights], path: str) -> None:
    assert_mistake(run("verify", "--all", "--report", path), "report")


def test_report_with_awkward_text(tmp_path: Path) -> None:
    found = report.Report(tmp_path / "report.csv")
    row = report.Row("a", report.FAILED, "cache", error='a, "b" | c')
    found.add(row)
    assert report.Report(tmp_path / "report.csv").rows == {"a": row}
    assert 'a, "b" \\| c |' in (tmp_path / "report.md").read_text("utf-8")


def test_answers_that_are_wrong() -> None:
    entry = get_weights("se_resnet20.fashion_mnist")
    model = keras_se.SEResNet20(weights=entry, classifier_activation=None)
    with pytest.raises(ValueError, match="probabilities of 10"):
        survey._answer(model, entry)
    head = model.get_layer("predictions")
    head.bias.assign(np.full(10, np.nan))
    with pytest.raises(ValueError, match="finite"):
        survey._answer(model, entry)


@pytest.mark.weights
@pytest.mark.parametrize("order", ["channels_first", "channels_last"])
def test_sets_of_the_package(run: Run, home: Path, order: str) -> None:
    """In both data formats, and without a classifier."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(order)
    try:
        code, out, err = run("verify", "--all")
        features = keras_se.SEResNet20(weights="fashion_mnist", include_top=False)
        entry = replace(get_weights("se_resnet20.fashion_mnist"), classes=0)
        shape = "64x7x7" if order == "channels_first" else "7x7x64"
        assert survey._answer(features, entry) == f"features {shape}"
    finally:
        keras.config.set_image_data_format(before)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["sound", "sound"]


def test_set_for_volumes() -> None:
    """No picture file is one; the network gets a small volume."""
    entry = get_weights("se_resnet18.zfturbo_imagenet_3d")
    inputs = keras.Input((None, None, None, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling3D()(inputs))
    assert survey._answer(model, entry) == "features 3"
