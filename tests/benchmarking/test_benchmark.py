"""Timing in turn, on a clock that the test sets; the command on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exported
import keras
import numpy as np
import pytest
from command_line import Run, assert_mistake

import keras_se
from keras_se.benchmarking import networks, runtimes, timing
from keras_se.benchmarking.benchmark import subject
from keras_se.benchmarking.plan import noise
from keras_se.serving.exporting import FORMATS

SHAPE = (2, 33, 31, 3)

EACH_RUNTIME = pytest.mark.parametrize("name", [
    "tf_saved_model",
    "litert",
    pytest.param("onnx", marks=pytest.mark.export),
    pytest.param("openvino", marks=pytest.mark.export),
])  # fmt: skip


class Clock:
    """A clock that things move forward, and what they did."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def thing(self, name: str, *seconds: float) -> Callable[[], None]:
        """Something that takes so long at its first call, its second, ..."""
        durations = iter(seconds)

        def run() -> None:
            self.calls.append(name)
            self.now += next(durations)

        return run


def test_in_turn() -> None:
    clock = Clock()
    things = {"a": clock.thing("a", 9, 1, 2, 3), "b": clock.thing("b", 9, 2, 2, 9)}
    times = timing.timed(things, rounds=3, warm_up=1, clock=lambda: clock.now)
    assert clock.calls == list("abababab")
    assert times == {"a": [1, 2, 3], "b": [2, 2, 9]}
    # 2, 1 and 3 within the rounds; of the medians it would be 1.
    assert timing.ratio(times["b"], times["a"]) == 2
    assert timing.quartiles(times["b"]) == (2, 2, 5.5)


def test_untimed_calls() -> None:
    clock = Clock()
    things = {"a": clock.thing("a", *[5, 1] * 3), "b": clock.thing("b", *[7, 2] * 3)}
    times = timing.timed(things, rounds=2, warm_up=1, untimed=1, clock=lambda: clock.now)
    assert clock.calls == list("aabb" * 3)
    assert times == {"a": [1, 1], "b": [2, 2]}


def test_one_round() -> None:
    assert timing.quartiles([3.0]) == (3, 3, 3)


def test_measure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"first": [0.1, 0.2, 0.3], "second": [0.2, 0.4, 0.9]}
    monkeypatch.setattr(timing, "timed", lambda *arguments: times)
    timing.measure({}, 3)
    first, second = capsys.readouterr().out.splitlines()
    assert " ".join(first.split()) == "first 200.0 ms (150.0 to 250.0) 1.00 of the first"
    assert " ".join(second.split()) == "second 400.0 ms (300.0 to 650.0) 2.00 of the first"


def test_conditions() -> None:
    found = timing.conditions(["keras"])
    assert list(found) == ["processor", "cores", "Python", "keras"]
    assert found["keras"] == keras.__version__
    text = timing.described({"processor": "P", "cores": 2, "Python": "3", "keras": "4"})
    assert text == "2 cores of P, Python 3, keras 4"


@pytest.mark.parametrize("what", ["SEShuffleNet", "keras.applications.MobileNetV3Small"])
def test_statistics_as_of_pictures(what: str) -> None:
    keras.utils.set_random_seed(0)
    model = networks.build(what, 64)
    norms = [v for v in model.layers if isinstance(v, keras.layers.BatchNormalization)]
    assert all(norm.momentum > 0 for norm in norms)
    for norm in norms:
        assert np.abs(norm.beta).max() > 0
        assert np.all(np.asarray(norm.gamma) != 0)
    outputs = [norm.output for norm in norms]
    x = np.random.default_rng(1).uniform(0, 255, (4, 64, 64, 3)).astype("float32")
    tiny = np.finfo("float32").tiny
    for y in map(np.asarray, keras.Model(model.input, outputs)(x, training=False)):
        # Of unit scale: nothing dies out, nothing explodes, nothing is denormal.
        assert 0.01 < y.std() < 100
        assert not ((y != 0) & (np.abs(y) < tiny)).any()


def test_nested_networks_settle() -> None:
    inner = keras_se.SEResNet20(weights=None, include_top=False)
    model = keras.Sequential([inner, keras.layers.GlobalAveragePooling2D()])
    networks.settle(model, model.input_shape)
    norms = [v for v in inner.layers if isinstance(v, keras.layers.BatchNormalization)]
    assert all(np.abs(norm.moving_mean).max() > 0 for norm in norms)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return exported.small_network(SHAPE[1:])


@EACH_RUNTIME
def test_runtimes_answer(name: str, network: keras.Model, tmp_path: Path) -> None:
    images = noise(SHAPE)
    path = tmp_path / f"net{FORMATS[name].suffix}"
    keras_se.export(network, path, name, image_bytes=False)
    assert runtimes.runtime_of(path) == name
    found = subject("net", name, path, images, 1, "float32")
    assert found.pictures == SHAPE
    expected = np.asarray(network(images))
    for _ in range(2):
        np.testing.assert_allclose(found.answer(), expected, atol=exported.TOLERANCE)


def test_files_of_other_packages_answer(network: keras.Model, tmp_path: Path) -> None:
    network.export(tmp_path / "peer", verbose=False)
    found = subject("peer", "tf_saved_model", tmp_path / "peer", noise(SHAPE), 1, "float32")
    expected = np.asarray(network(noise(SHAPE)))
    np.testing.assert_allclose(found.answer(), expected, atol=exported.TOLERANCE)


def test_graph(network: keras.Model) -> None:
    images = noise(SHAPE)
    answer = runtimes.graph(network, images)
    np.testing.assert_allclose(answer(), np.asarray(network(images)), atol=exported.TOLERANCE)


@pytest.fixture(scope="module")
def saved(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "net.keras"
    network.save(path)
    return path


def test_json(run: Run) -> None:
    arguments = ("SEResNet20", "--plain", "--runtime", "keras", "--batch", 2, "--rounds", 3)
    code, out, err = run("benchmark", *arguments, "--no-fuse", "--json")
    assert (code, err) == (0, "")
    report: dict[str, Any] = json.loads(out)
    assert [line["network"] for line in report["lines"]] == ["SEResNet20 without SE", "SEResNet20"]
    assert report["lines"][0]["ratio"] == 1
    for line in report["lines"]:
        assert (line["runtime"], line["precision"]) == ("keras", "float32")
        assert line["pictures"] == [2, 32, 32, 3]
        assert 0 < line["low"] <= line["median"] <= line["high"]
        assert line["pictures_per_second"] == pytest.approx(2000 / line["median"])
        assert line["ratio"] > 0
    conditions = report["conditions"]
    assert conditions["tensorflow"]
    assert conditions["processor"]
    assert (conditions["rounds"], conditions["fused"]) == (3, "no")
    assert conditions["threads"] == timing.cores()


def test_table(run: Run, saved: Path) -> None:
    arguments = (saved, "--runtime", "keras", "--runtime", "litert", "--rounds", 1)
    code, out, err = run("benchmark", *arguments)
    assert code == 0, err
    columns, *lines, blank = out.splitlines()[:4]
    assert columns.split()[:4] == ["network", "runtime", "precision", "pictures"]
    names = [str(saved), "keras", "float32", "1x33x31x3"], [str(saved), "litert", "float32"]
    assert lines[0].split()[:4] == names[0]
    assert lines[0].split()[-1] == "1.00"
    assert lines[1].split()[:3] == names[1]
    assert not blank
    conditions = dict(row.split(None, 1) for row in out.splitlines()[4:])
    assert conditions["rounds"].strip() == "1"
    assert conditions["fused"].strip() == "yes"


@pytest.mark.export
def test_threads() -> None:
    command = [sys.executable, "-c", "from keras_se.cli import main; main()", "benchmark"]
    options = ["SEResNet20", "--runtime", "keras", "--no-fuse", "--rounds", "1", "--threads", "1"]
    done = subprocess.run(
        [*command, *options, "--json"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["conditions"]["threads"] == 1


@pytest.mark.usefixtures("network")
def test_threads_once_tensorflow_runs(run: Run) -> None:
    arguments = ("SEResNet20", "--runtime", "keras", "--threads", 1)
    assert_mistake(run("benchmark", *arguments), "`threads`")


@pytest.mark.export
def test_every_runtime_beside_a_peer(run: Run, tmp_path: Path) -> None:
    ours, peer = tmp_path / "ours.keras", tmp_path / "peer"
    network = exported.small_network((32, 32, 3))
    network.save(ours)
    network.export(peer, verbose=False)
    names = (runtimes.KERAS, *runtimes.RUNTIMES)
    options = [part for name in names for part in ("--runtime", name)]
    code, out, err = run(
        "benchmark", peer, ours, *options, "--size", 32, "--batch", 2, "--rounds", 2, "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert [line["runtime"] for line in report["lines"]] == ["tf_saved_model", *names]
    assert [line["network"] for line in report["lines"]] == [str(peer)] + [str(ours)] * len(names)
    assert all(line["pictures"] == [2, 32, 32, 3] for line in report["lines"])
    assert report["conditions"]["openvino"]
    assert report["conditions"]["onnxruntime"]


@EACH_RUNTIME
def test_other_size(run: Run, name: str, network: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / f"net{FORMATS[name].suffix}"
    if name == "tf_saved_model":
        network.export(path, verbose=False)
    else:
        keras_se.export(network, path, name)
    assert_mistake(run("benchmark", path, "--size", 224), f"`size` must be that of {path}, 33x31")
    with pytest.raises(ValueError, match=rf"runtime '{name}' cannot run .* 1x224x224x3"):
        subject("net", name, path, noise((1, 224, 224, 3)), 1, "float32")


@pytest.mark.parametrize(("arguments", "words"), [
    (["SEReNet50"], ["`what`", "Did you mean 'SEResNet50'?"]),
    (["keras.applications.ResNet5000"], ["`what`"]),
    (["SEResNet20", "--runtime", "onxx"], ["`runtime`", "Did you mean 'onnx'?"]),
    (["SEResNet20", "--rounds", "0"], ["`rounds` must be an integer of at least 1"]),
    (["SEResNet20", "--batch", "0"], ["`batch` must be an integer of at least 1"]),
    (["SEResNet20", "--size", "-1"], ["`size` must be an integer of at least 1"]),
    (["SEResNet20", "--threads", "0"], ["`threads` must be an integer of at least 1"]),
    (["SEResNet20", "--batch", "many"], ["'many'"]),
    (["SEResNet20", "--precision", "float16"], ["`precision`", "Did you mean 'bfloat16'?"]),
    (["SEResNet20", "--precision", "bfloat16"], ["openvino"]),
    (["se_resnet20.fashion_mnist", "--plain"], ["`plain`"]),
    (["se_resnet20.fashion_mnist", "--size", "64"], ["`size`", "28x28"]),
    ([], ["WHAT"]),
])  # fmt: skip
def test_mistakes(run: Run, arguments: list[str], words: list[str]) -> None:
    assert_mistake(run("benchmark", *arguments), *words)


def test_runtime_that_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("benchmark", "SEResNet20", "--runtime", "openvino")
    assert_mistake(result, "openvino", "pip install 'keras-se[export]'")


def test_saved_model_without_pictures(run: Run, network: keras.Model, tmp_path: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(network)
    signature = [keras.InputSpec(shape=(None, *SHAPE[1:]), dtype="float32")] * 2
    archive.add_endpoint("serve", lambda x, y: network(x) + network(y), signature)
    archive.write_out(tmp_path / "two", verbose=False)
    assert_mistake(run("benchmark", tmp_path / "two"), "must take float32 pictures")


def test_cpu_without_half_precision(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(runtimes, "precisions", lambda name: ["float32"])
    arguments = ("SEResNet20", "--runtime", "openvino", "--precision", "bfloat16")
    assert_mistake(run("benchmark", *arguments), "this CPU")
