"""Tables of scores: what is in them, and that no kill, shard or odd name changes a row."""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from command_line import Run, assert_mistake
from filelock import FileLock
from picture_files import UNREADABLE, noise
from PIL import Image

import keras_se
from keras_se.scoring import journal, run, tables
from keras_se.scoring.run import score_pictures
from keras_se.scoring.shards import Shard, join
from keras_se.scoring.tables import Columns, table_format

WEIGHTS = "se_resnet20.fashion_mnist"
SUFFIXES = (".csv", ".parquet")
# Pictures per batch, in all and damaged: three batches and a part of the fourth.
BATCH, COUNT, BAD = 4, 14, 2
# Two batch sizes of one float32 network.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network is loaded once; every batch is committed; no test waits for the disk."""
    monkeypatch.setattr(run, "get_model", load)
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(journal, "COMMIT_SECONDS", 0.0)


@functools.cache
def load(weights: str) -> keras.Model:
    return keras_se.get_model(weights)


def write(folder: Path, count: int = COUNT) -> Path:
    """Pictures in nested folders, every seventh of which is damaged, and other files."""
    for n in range(count):
        path = folder / "abc"[n % 3] / f"{n:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(28 + n, 28, 1)).save(path)
        if n % 7 == 0:
            path.write_bytes(UNREADABLE["truncated png"]())
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("hidden")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.png").write_text("hidden")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "pictures")


def score(folder: Path, out: Path, **options: Any) -> Any:
    return score_pictures(WEIGHTS, [str(folder)], out, **{"batch_size": BATCH} | options)


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    from pyarrow import parquet

    return list(parquet.read_table(path).to_pylist())


def beside(path: Path) -> list[str]:
    """Names of the files that are not pictures, without the account."""
    return sorted(
        p.name for p in path.parent.iterdir() if p.is_file() and ".run.json" not in p.name
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_a_table_has(suffix: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / f"scores{suffix}"
    lines: list[str] = []
    scored = score(folder, out, report=lines.append)
    assert (scored.path, scored.pictures, scored.bad, scored.new) == (out, COUNT, BAD, COUNT)
    assert lines == [f"{folder}: left out, other files: 1 .txt"]
    assert beside(out) == [out.name]
    found = rows(out)
    assert list(found[0]) == ["file", "label", "score", "error", *map(str, range(10))]
    expected = sorted(p.relative_to(folder).as_posix() for p in folder.glob("[abc]/*.png"))
    assert [row["file"] for row in found] == expected
    labels = keras_se.describe(load(WEIGHTS)).labels
    pictures, written = [], []
    for row in found:
        values = [row[str(n)] for n in range(10)]
        if row["error"]:
            with pytest.raises(ValueError, match="picture") as caught:
                keras_se.load_image(folder / row["file"], WEIGHTS)
            assert row["error"] == str(caught.value).split(": ", 1)[1]
            assert not any([row["label"], row["score"], *values])
            continue
        pictures.append(keras_se.load_image(folder / row["file"], WEIGHTS))
        written.append(np.array(values, "float32"))
        assert row["label"] == labels[written[-1].argmax()]
        assert row["score"] == values[written[-1].argmax()]
    scores = load(WEIGHTS)(np.concatenate(pictures))
    np.testing.assert_allclose(written, scores, rtol=0, atol=TOLERANCE)


def test_both_formats_have_the_same_numbers(folder: Path, tmp_path: Path) -> None:
    """Nine digits are exact."""
    from pyarrow import parquet, types

    one, other = tmp_path / "s.csv", tmp_path / "s.parquet"
    score(folder, one)
    score(folder, other)
    for text, values in zip(rows(one), rows(other), strict=True):
        for name, value in values.items():
            if name in ("file", "label", "error"):
                assert text[name] == (value or "")
            else:
                assert text[name] == ("" if value is None else f"{value:.9g}")
    schema = parquet.read_schema(other)
    assert all(types.is_float32(schema.field(name).type) for name in ("score", "0", "9"))


@pytest.mark.parametrize("kind", ["embeddings", "logits", "values", "channels first"])
def test_other_answers(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(WEIGHTS)
    pictures = [p for p in sorted(folder.glob("[abc]/*.png")) if int(p.stem) % 7]
    batch = np.concatenate([keras_se.load_image(path, model) for path in pictures])
    names = None if kind in ("embeddings", "values") else ["label", "score"]
    if kind == "embeddings":
        expected = keras_se.embeddings(model, batch)
    elif kind == "logits":
        expected = np.asarray(model(batch))
        model = keras_se.get_model(WEIGHTS, classifier_activation=None)
        keras_se.inspection.tell(model, size=28, labels=list("abcdefghij"), scores="softmax")
    elif kind == "values":
        model = keras.Model(model.inputs[0], keras.layers.Dense(3)(model.outputs[0]))
        expected = np.asarray(model(batch))
    else:
        inputs = keras.Input((1, 28, 28))
        moved = keras.layers.Permute((2, 3, 1))(inputs)
        model = keras.Model(inputs, model(moved))
        expected = np.asarray(model(np.moveaxis(batch, -1, 1)))
    monkeypatch.setattr(run, "get_model", lambda weights: model)
    score(folder, tmp_path / "s.csv", features=kind == "embeddings")
    found = rows(tmp_path / "s.csv")
    assert list(found[0])[1 : -expected.shape[1]] == [*(names or []), "error"]
    values = [list(row.values())[-expected.shape[1] :] for row in found if not row["error"]]
    np.testing.assert_allclose(np.array(values, "float32"), expected, atol=TOLERANCE)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Kill the run before a given step to disk, counted from 0."""
    steps = [0]

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            steps[0] -= 1
            if steps[0] == -1:
                raise Killed
            return function(*arguments, **options)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    return lambda n: steps.__setitem__(0, n)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_killed_at_every_step(suffix: str, tmp_path: Path, kill: Callable[[int], None]) -> None:
    """Whatever is on the disk, the same command ends with the same file."""
    count = 2 * BATCH
    folder = write(tmp_path / "pictures", count)
    whole = tmp_path / f"whole{suffix}"
    kill(10**6)
    score(folder, whole)
    out, kills = tmp_path / f"s{suffix}", 0
    for step in range(100):
        kill(step)
        try:
            score(folder, out)
            break
        except Killed:
            kills += 1
        if (partial := tmp_path / f"{out.name}.partial").exists():
            # Written and not counted.
            with open(partial, "a") as file:
                file.write('half "a row')
        (tmp_path / f"{out.name}.run.json.1.tmp").write_text("{")
        kill(10**6)
        scored = score(folder, out)
        assert (scored.pictures, scored.bad) == (count, BAD)
        assert out.read_bytes() == whole.read_bytes(), step
        assert beside(out) == [out.name, whole.name]
        assert len([*tmp_path.glob("*.tmp")]) == 0
        for path in (out, journal.account_path(out)):
            path.unlink()
    # Three steps for each commit: at the begin, after each batch and at the end.
    assert kills >= 3 * 4


def test_a_resumed_run_scores_only_the_rest(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls = load(WEIGHTS), []

    def predict(batch: Any) -> Any:
        if len(calls) == 3:
            calls.append("killed")
            raise Killed
        calls.append(len(batch))
        return keras.Model.predict_on_batch(model, batch)

    monkeypatch.setattr(model, "predict_on_batch", predict)
    with pytest.raises(Killed):
        score(folder, tmp_path / "s.csv")
    done: list[tuple[int, int]] = []
    scored = score(folder, tmp_path / "s.csv", progress=lambda *both: done.append(both))
    # One batch size.
    assert calls == [BATCH] * 3 + ["killed", BATCH]
    assert done == [(12, COUNT), (COUNT, COUNT)]
    assert (scored.new, scored.bad) == (COUNT - 12, BAD)
    again = score(folder, tmp_path / "s.csv")
    assert (again.new, again.pictures, again.bad) == (0, COUNT, BAD)


CHANGES: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "file added": (lambda p: (p / "a" / "x.png").write_bytes(b""), {}, "list of files"),
    "file gone": (lambda p: (p / "a" / "03.png").unlink(), {}, "list of files"),
    "file changed": (lambda p: (p / "a" / "03.png").write_bytes(b"x"), {}, "one of their sizes"),
    "strict": (lambda p: None, {"strict": True}, "value of strict"),
    "batch size": (lambda p: None, {"batch_size": 5}, "batch size"),
    "embeddings": (lambda p: None, {"features": True}, "kind of answers"),
    "shard": (lambda p: None, {"shard": Shard(1, 1)}, "shard"),
}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("name", [*CHANGES, "network"])
def test_another_run(
    name: str, finished: bool, folder: Path, tmp_path: Path, kill: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "s-1-of-1.csv"
    kill(10**6 if finished else 5)
    with contextlib.nullcontext() if finished else pytest.raises(Killed):
        score(folder, out)
    kill(10**6)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    change, options, words = CHANGES.get(name, (lambda p: None, {}, "another network"))
    change(folder)
    if name == "network":
        other = keras.models.clone_model(load(WEIGHTS))
        other.set_weights([0.5 * array for array in load(WEIGHTS).get_weights()])
        monkeypatch.setattr(run, "get_model", lambda weights: other)
    whole = tmp_path / "s.csv" if "shard" in options else out
    with pytest.raises(ValueError, match=words) as caught:
        score(folder, whole, **options)
    assert "delete" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {n: (tmp_path / n).read_bytes() for n in before} == before


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards(count: int, suffix: str, folder: Path, tmp_path: Path) -> None:
    """Joined they are the whole table, bit for bit, wherever the pictures lie."""
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"s{suffix}"
    score(folder, whole)
    paths = []
    for number in range(1, count + 1):
        there = tmp_path / f"machine{number}"
        folder = folder.rename(there)
        paths.append(score(folder, out, shard=Shard(number, count)).path)
        assert paths[-1].name == f"s-{number}-of-{count}{suffix}"
    assert sum(len(rows(path)) for path in paths) == COUNT
    assert join(out, paths[::-1]) == COUNT
    assert out.read_bytes() == whole.read_bytes()
    # The joined table is as if this command had written it.
    assert score(folder, out).new == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_shards_that_do_not_fit(suffix: str, folder: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / f"s{suffix}"
    one, two = (score(folder, out, shard=Shard(n, 2)).path for n in (1, 2))
    other = score(folder, tmp_path / f"o{suffix}", shard=Shard(2, 2), strict=True).path
    third = score(folder, out, shard=Shard(3, 3)).path
    whole = score(folder, tmp_path / f"w{suffix}").path
    assert_mistake(run("join", out, one), "each of the 2 shards once", "'2/2'")
    assert_mistake(run("join", out, one, two, two), "each of the 2 shards once", "twice")
    assert_mistake(run("join", out, one, other), "another value of strict")
    assert_mistake(run("join", out, one, third), "each of the 2 shards once")
    assert_mistake(run("join", out, one, whole), "a whole table")
    assert_mistake(run("join", out, one, tmp_path / "none.csv"), "finished shards")
    assert_mistake(run("join", one, one, two), "`out` must be a new file")
    assert_mistake(run("join", tmp_path / "x" / f"s{suffix}", one, two), "existing folder")
    assert_mistake(run("join", tmp_path / "s.txt", one, two), ".csv or .parquet")
    account = journal.account_path(two)
    text = account.read_text("utf-8")
    changed = json.loads(text)
    changed["done"]["batches"] = 1
    account.write_text(json.dumps(changed), "utf-8")
    assert_mistake(run("join", out, one, two), "1 of 2 batches")
    account.write_text(text, "utf-8")
    # Rows of another shard, and one row fewer.
    data = two.read_bytes()
    two.write_bytes(one.read_bytes())
    assert_mistake(run("join", out, one, two), "rows")
    if suffix == ".csv":
        two.write_bytes(data[: data.rindex(b"\n", 0, -1) + 1])
        assert_mistake(run("join", out, one, two), "expected more rows")
    two.write_bytes(data)
    assert not out.exists()
    code, text, _ = run("join", out, one, two)
    assert (code, text) == (0, f"{out}: {COUNT} pictures of 2 shards\n")


NAMES = [
    b"comma,.png", b'quote".png', b"new\nline.png", b"return\r.png", b" space .png",
    b"\xff\xfe.png", "umlaut-\u00e4-\u65e5.PNG".encode(), b"=1+1.png", b"back\\slash.jpeg",
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_odd_names(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    deep = folder / "new\nfolder, \udcff"
    deep.mkdir(parents=True)
    for name in NAMES:
        path = deep / os.fsdecode(name)
        Image.fromarray(noise(28, 28, 1)).save(path, "PNG")
    (deep / "bad\n,\udcff.png").write_bytes(b"no picture")
    whole = tmp_path / f"whole{suffix}"
    score(folder, whole)
    found = rows(whole)
    top = "new\nfolder, \\xff/"
    assert {row["file"] for row in found if not row["error"]} == {
        top + name.decode("utf-8", "backslashreplace") for name in NAMES
    }
    (bad,) = (row for row in found if row["error"])
    assert bad["file"] == top + "bad\n,\\xff.png"
    assert len(bad["error"].splitlines()) == 1
    paths = [score(folder, tmp_path / f"s{suffix}", shard=Shard(n, 2)).path for n in (1, 2)]
    join(tmp_path / f"s{suffix}", paths)
    assert (tmp_path / f"s{suffix}").read_bytes() == whole.read_bytes()
    # What is written for a byte can also be a name.
    Image.fromarray(noise(28, 28, 1)).save(deep / "\\xff\\xfe.png")
    with pytest.raises(ValueError, match="distinct files"):
        score(folder, tmp_path / f"t{suffix}")


def test_links(folder: Path, tmp_path: Path) -> None:
    """They are followed, but for loops; what cannot be read has a row."""
    elsewhere = write(tmp_path / "elsewhere", 3)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "b" / "file.png").symlink_to(elsewhere / "b" / "01.png")
    (folder / "b" / "gone.png").symlink_to("nowhere")
    (folder / "b" / "itself.png").symlink_to("itself.png")
    os.mkfifo(folder / "b" / "pipe.png")
    (folder / "c" / "folder.png").mkdir()
    lines: list[str] = []
    score(folder, tmp_path / "s.csv", report=lines.append)
    found = {row["file"]: row["error"] for row in rows(tmp_path / "s.csv")}
    assert len(found) == COUNT + 3 + 4
    assert found["linked/b/01.png"] == found["b/file.png"] == ""
    assert found["b/gone.png"] == "No such file or directory"
    assert "symbolic links" in found["b/itself.png"]
    assert "expected a picture of 1 to" in found["b/pipe.png"]
    assert f"{folder / 'a' / 'loop'}: left out, a link to a folder that it is in" in lines


def test_two_processes_at_once(folder: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / "s.csv.lock"), pytest.raises(ValueError, match="another process"):
        score(folder, tmp_path / "s.csv")
    assert beside(tmp_path / "s.csv") == ["s.csv.lock"]
    score(folder, tmp_path / "s.csv")
    assert beside(tmp_path / "s.csv") == ["s.csv"]


@pytest.fixture
def command(run: Run) -> Run:
    return lambda *words: run("predict", *words, "--weights", WEIGHTS)


def test_the_command(command: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    code, text, err = command(folder, "--out", out)
    assert code == 0
    assert text.startswith(f"{out}: {COUNT} pictures, {BAD} with errors; ")
    assert text.endswith(" pictures/s\n")
    assert err == f"{folder}: left out, other files: 1 .txt\n"
    assert command(folder, "--out", out)[1].endswith("; complete before\n")
    code, text, _ = command(folder, "--out", out, "--shard", "2/3", "--json")
    report = json.loads(text)
    # The second of three parts of one batch of 32 is empty.
    assert (report["path"], report["pictures"]) == (str(tmp_path / "s-2-of-3.csv"), 0)
    files = sorted(folder.glob("a/*.png"))
    code, _, _ = command(*files[::-1], "--out", tmp_path / "e.csv", "--embeddings")
    assert code == 0
    found = rows(tmp_path / "e.csv")
    assert [row["file"] for row in found] == [*map(str, files[::-1])]
    assert list(found[0]) == ["file", "error", *map(str, range(64))]
    assert [str(file) for file in files if not int(file.stem) % 7] == [
        row["file"] for row in found if row["error"]
    ]


def test_mistakes(
    command: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, empty = tmp_path / "s.csv", tmp_path / "empty"
    empty.mkdir()
    (empty / ".x.png").write_bytes(b"")
    assert_mistake(command(folder, "--out", "s.txt"), "`out` must be a .csv or .parquet file")
    assert_mistake(
        command(folder, "--out", "masks"), "masks go into a folder, and are made of files"
    )
    assert_mistake(command(folder), "`out` must name a table, .csv or .parquet")
    assert_mistake(command(folder, "--out", ""), "`out` must be")
    assert_mistake(command(folder, "--out", tmp_path / "no" / "s.csv"), "an existing folder")
    assert_mistake(command(empty, "--out", out), "a folder with pictures")
    assert_mistake(command(folder, empty, "--out", out), "one folder, or files")
    assert_mistake(command(tmp_path / "no", "--out", out), f"{tmp_path / 'no'}: no such file")
    file = folder / "a" / "03.png"
    assert_mistake(command(file, tmp_path / "no.png", "--out", out), "no.png: no such file")
    assert_mistake(command(file, file, "--out", out), "distinct files")
    for shard in ("0/3", "4/3", "1", "a/b", "1/3/5", "-1/3"):
        assert_mistake(command(folder, "--out", out, "--shard", shard), "`shard` must be", shard)
    for option in (["--heatmap", tmp_path / "m.png"], ["--top", "3"]):
        assert_mistake(command(folder, "--out", out, *option), "`out` cannot be given with")
    for option in (["--embeddings"], ["--shard", "1/2"], ["--batch-size", "4"]):
        assert_mistake(command(file, *option), "`out` must be given")
    out.write_text("precious")
    assert_mistake(command(folder, "--out", out), "`out` must be a new file")
    assert out.read_text() == "precious"
    journal.account_path(tmp_path / "t.csv").write_text("[1]")
    assert_mistake(command(folder, "--out", tmp_path / "t.csv"), "the account of a run")
    (tmp_path / "f.csv").mkdir()
    assert_mistake(command(folder, "--out", tmp_path / "f.csv"), "`out` must be")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    assert_mistake(command(folder, "--out", tmp_path / "s.parquet"), "keras-se[parquet]")


def test_networks_of_any_size(run: Run, folder: Path, tmp_path: Path) -> None:
    """The error says what to do, and names no argument that the command has not."""
    path = tmp_path / "any.keras"
    keras_se.SEResNet18(weights=None, input_shape=(None, None, 3), classes=2).save(path)
    for out in ([], ["--out", tmp_path / "s.csv"]):
        found = run("predict", folder / "a" / "03.png", "--weights", path, *out)
        assert_mistake(found, "error: The network must have a known picture size; build it with")


def test_a_single_sigmoid() -> None:
    """Its score is that of its one class, high or low."""
    columns = Columns.of([("t", "tumour")], 1, True)
    rows = columns.rows(["a", "b"], ["", ""], np.float32([[0.125], [0.75]]))
    assert rows == "a,tumour,0.125,,0.125\nb,tumour,0.75,,0.75\n"


def test_networks_without_a_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(WEIGHTS)
    maps = keras.Model(model.inputs, model.get_layer("stage4_block3_relu").output)
    monkeypatch.setattr(run, "get_model", lambda weights: maps)
    with pytest.raises(ValueError, match="one output, \\(batch, values\\)"):
        score(folder, tmp_path / "s.csv")
    score(folder, tmp_path / "s.csv", features=True)
    assert len(rows(tmp_path / "s.csv")[0]) == 66


def test_a_full_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and the run goes on once there is space."""
    score(folder, tmp_path / "whole.csv")
    fsync, out = os.fsync, tmp_path / "s.csv"
    calls: list[int] = []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot be written \(No space left on device\)"):
            score(folder, out)
    assert score(folder, out).new < COUNT
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_folder_that_disappears(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures do not count as damaged, and the run goes on when it is back."""
    calls: list[int] = []
    read = run.read_picture

    def unmounted(path: Path, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            folder.rename(tmp_path / "away")
        return read(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run, "read_picture", unmounted)
        with pytest.raises(OSError, match="the folder is gone"):
            score(folder, tmp_path / "s.csv")
    (tmp_path / "away").rename(folder)
    assert score(folder, tmp_path / "s.csv").bad == BAD


@pytest.mark.parametrize(
    "fault", [OSError(errno.ESTALE, "Stale file handle"), OSError(errno.EMFILE, "x"), MemoryError()]
)
def test_passing_faults(
    fault: Exception, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is away for a moment damages no picture: the run ends, and goes on later."""
    fetch = Path.read_bytes

    def stale(path: Path) -> bytes:
        if path.name == "10.png":
            raise fault
        return fetch(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", stale)
        with pytest.raises(type(fault)):
            score(folder, tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()
    assert score(folder, tmp_path / "s.csv").bad == BAD


@pytest.mark.parametrize(
    "identifiers", [["error", "x"], ["x", "x"], ["file", "label"], ["score", "x"]], ids=str
)
def test_class_names_that_cannot_be_columns(identifiers: list[str]) -> None:
    columns = Columns.of([(name, name.upper()) for name in identifiers], 2, True)
    assert columns.header() == "file,label,score,error,0,1\n"
    text = columns.rows(["a", "b"], ["", "bad, very"], np.array([[0.25, 0.5], [0, 0]], "float32"))
    assert text == f'a,{identifiers[1].upper()},0.5,,0.25,0.5\nb,,,"bad, very",,\n'


def test_numbers_of_a_parquet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of the network, in several row groups and whatever they are."""
    random = np.random.default_rng(0)
    values = random.integers(0, 2**32, (9000, 3), "uint32").view("float32")
    values[:4, 0] = np.nan, np.inf, -np.inf, -0.0
    columns = Columns.of(None, 3, False)
    names = [f"{n},\n" for n in range(len(values))]
    text = columns.header() + columns.rows(names, [""] * len(values), values)
    (tmp_path / "rows").write_text(text, newline="")
    out = tmp_path / "s.parquet"
    monkeypatch.setattr(tables, "GROUP_VALUES", 5 * 4096)
    table_format(out).finish(tmp_path / "rows", out)
    found = rows(out)
    assert [row["file"] for row in found] == names
    np.testing.assert_array_equal([[row[n] for n in "012"] for row in found], values)
    for size in (1000, 4096, 5000):
        blocks = list(table_format(out).blocks(out, size))
        assert [len(block) for block, _ in blocks[:-1]] == [size] * (len(blocks) - 1)
        assert [name for block, _ in blocks for name in block] == names
