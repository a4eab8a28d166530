"""Batches, sizes, precisions and threads as axes of one report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, assert_mistake

import keras_se
from keras_se.benchmarking import benchmark, plan, runtimes
from keras_se.benchmarking.plan import Exports
from keras_se.serving.formats import FORMATS

SMALL = ("SEResNet20", "--rounds", 2)


def report_of(run: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = run("benchmark", *SMALL, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_ratio_is_to_the_first_of_its_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = Exports._write
    monkeypatch.setattr(Exports, "_write", lambda self, *a: written.append(a[0]) or write(self, *a))
    sizes = ("--size", 28, "--size", "16x24")
    report = report_of(run, "--plain", "--runtime", "keras", "--batch", 1, "--batch", 2, *sizes)
    # Two twins at two sizes, for both batches.
    assert len(written) == 4
    shapes = [[1, 28, 28, 3], [1, 16, 24, 3], [2, 28, 28, 3], [2, 16, 24, 3]]
    lines = report["lines"]
    assert [line["pictures"] for line in lines] == [shape for shape in shapes for _ in range(2)]
    assert [line["size"] for line in lines[:4]] == [[28, 28], [28, 28], [16, 24], [16, 24]]
    assert [line["ratio"] for line in lines[::2]] == [1] * 4
    assert all(len(line["milliseconds"]) == 2 for line in lines)


def test_ratio_to_the_twin(run: Run) -> None:
    code, out, _ = run("benchmark", *SMALL, "--plain", "--runtime", "keras", "--size", 28)
    header, twin, network = out.splitlines()[:3]
    assert code == 0
    assert header.split()[-2:] == ["to", "plain"]
    assert len(twin.split()) == len(network.split()) + 1
    # The twin is the first line of each runtime.
    assert network.split()[-1] == network.split()[-2]


def test_int8_and_what_is_skipped(run: Run) -> None:
    report = report_of(
        run, "--size", 28, "--runtime", "litert", "--runtime", "keras",
        "--precision", "float32", "--precision", "int8",
    )  # fmt: skip
    pairs = [(line["runtime"], line["precision"]) for line in report["lines"]]
    assert pairs == [("litert", "float32"), ("litert", "int8"), ("keras", "float32")]
    assert report["skipped"] == ["keras in int8"]
    assert "noise" in report["conditions"]["int8"]


def test_a_twin_beside_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "peer"
    keras_se.SEResNet20(weights=None, input_shape=(28, 28, 3)).export(path, verbose=False)
    report = report_of(run, path, "--plain", "--runtime", "keras", "--size", 28)
    found = [(line["network"], line["precision"]) for line in report["lines"]]
    names = ("SEResNet20 without SE", "SEResNet20")
    assert found == [*((name, "float32") for name in names), (str(path), "own")]


@pytest.mark.export
def test_int8_in_every_runtime(run: Run) -> None:
    names = ("onnx", "openvino", "litert")
    options = [part for name in names for part in ("--runtime", name)]
    report = report_of(run, "--size", 28, *options, "--precision", "int8")
    pairs = [(line["runtime"], line["precision"]) for line in report["lines"]]
    assert pairs == [(name, "int8") for name in names]


def test_precisions_are_those_of_exports() -> None:
    for name, chosen in FORMATS.items():
        quantised = chosen.quantises is not None
        assert ("int8" in runtimes.RUNTIMES[name].precisions) == quantised


@pytest.mark.export
def test_several_thread_counts(run: Run) -> None:
    options = ("--runtime", "keras", "--size", 28, "--threads", 1, "--threads", 2)
    report = report_of(run, *options)
    assert [line["threads"] for line in report["lines"]] == [1, 2]
    assert [line["ratio"] for line in report["lines"]] == [1, 1]
    assert report["conditions"]["threads"] == "1, 2"


def _end(setting: object, rounds: int) -> None:
    os._exit(1)


def _refuse(setting: object, rounds: int) -> None:
    raise ValueError("no such picture")


@pytest.mark.export
@pytest.mark.parametrize(("work", "kind", "words"), [
    (_end, OSError, "threads=2 ended before"),
    (_refuse, ValueError, "no such picture"),
])  # fmt: skip
def test_a_process_that_fails(
    work: Any, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "measure", work)
    with pytest.raises(kind, match=words):
        benchmark._elsewhere(plan.Setting(2, None, ()), 1)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--precision", "int8", "--runtime", "keras"], ["'int8'", "openvino, onnx, litert", "keras"]),
    (["--precision", "float32", "--precision", "bfloat16"], ["'bfloat16'", "openvino"]),
    (["--size", "28x"], ["`size`", "HEIGHTxWIDTH", "'28x'"]),
    (["--batch", "1", "--batch", "0"], ["`batch`", "at least 1"]),
    (["--out", "missing/report.json"], ["--out", "existing folder"]),
    (["--out", ""], ["--out"]),
    (["--out", "."], ["--out", "must be a file"]),
    (["--plot", "figure.bmp"], [".png"]),
])  # fmt: skip
def test_mistakes(run: Run, arguments: list[str], words: list[str]) -> None:
    assert_mistake(run("benchmark", *SMALL, *arguments), *words)


@pytest.mark.parametrize(("arguments", "name"), [
    ({"whats": "SEResNet20"}, "what"),
    ({"runtimes": []}, "runtime"),
    ({"precisions": ()}, "precision"),
    ({"batches": []}, "batch"),
    ({"sizes": [28]}, "size"),
])  # fmt: skip
def test_mistakes_in_python(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        benchmark.benchmark(**{"whats": ["SEResNet20"]} | arguments)


def test_a_module_that_8_bits_need(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "nncf" else object()
    )
    options = ("--runtime", "openvino", "--precision", "int8")
    assert_mistake(run("benchmark", *SMALL, *options), "nncf", "pip install 'keras-se[export]'")
