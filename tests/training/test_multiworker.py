"""Several processes train together: what one does, and what a process that is lost costs."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing

import fashion_mnist_files
import h5py
import keras
import numpy as np
import pytest
import training_runs

from keras_se.training import multiworker
from keras_se.training.strategies import resolve_strategy

PROCESSES = 2
# Longer than TensorFlow needs to notice that a process is lost.
LONGEST = 300


def configuration(index, hosts):
    cluster = {"worker": hosts}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def start(folder, data, *settings):
    """Two processes on ports of their own."""
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        sockets = one, other
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, training_runs.__file__, folder, data, 1, *settings]
    return [
        subprocess.Popen(
            list(map(str, command)), env=environment | {"TF_CONFIG": configuration(n, hosts)},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for n in range(PROCESSES)
    ]  # fmt: skip


def wait(processes):
    """Their exit codes, and what they printed."""
    try:
        outputs = [process.communicate(timeout=LONGEST)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], outputs


def wait_for(process, line):
    for received in process.stdout:
        if received.strip() == line:
            return
    pytest.fail(f"never printed: {line}")


def alone(folder, data, *settings):
    command = [sys.executable, training_runs.__file__, folder, data, 1, *settings]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fashion_mnist_files.write(tmp_path_factory.mktemp("data") / "fashion")


def arrays(folder):
    found = {}
    with h5py.File(folder / "last.weights.h5") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


@pytest.mark.training
def test_two_processes_do_what_one_does(data, tmp_path):
    """20 steps in double precision; the last batch of the nine that validate has one picture."""
    settings = ("epochs=4", "held_out=9", 'variant={"blocks":[1,1,1]}', "precision=float64")
    alone(tmp_path / "one", data, *settings)
    codes, outputs = wait(start(tmp_path / "two", data, *settings))
    assert codes == [0, 0], outputs[0][-3000:]
    # The chief alone speaks.
    assert "epoch 4/4" in outputs[0]
    assert "epoch" not in outputs[1]
    one, two = arrays(tmp_path / "one"), arrays(tmp_path / "two")
    assert len(one) > 50
    assert one.keys() == two.keys()
    for name, value in one.items():
        scale = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-9 * scale)
    tables = []
    for folder in ("one", "two"):
        with open(tmp_path / folder / "metrics.csv", encoding="utf-8") as file:
            tables.append(list(csv.DictReader(file)))
    for row, other in zip(*tables, strict=True):
        for name in row.keys() - {"pictures_per_second"}:
            # Keras counts in single precision.
            assert float(row[name]) == pytest.approx(float(other[name]), rel=1e-6, abs=1e-6)
    results = [
        json.loads((tmp_path / f / "results.json").read_text())["test"] for f in ("one", "two")
    ]
    assert results[1] == pytest.approx(results[0], rel=1e-6)


@pytest.mark.training
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_lost_process(data, tmp_path, number):
    """The one that is not the chief ends; both go on, to the same bits."""
    codes, outputs = wait(start(tmp_path / "whole", data))
    assert codes == [0, 0], outputs[0][-3000:]
    processes = start(tmp_path / "run", data)
    wait_for(processes[0], "step 1 3")
    processes[1].send_signal(number)
    codes, outputs = wait(processes)
    if number == signal.SIGTERM:
        assert codes == [143, 143], outputs
    else:
        assert codes[1] == -9
        assert codes[0] != 0
    codes, outputs = wait(start(tmp_path / "run", data))
    assert codes == [0, 0], outputs[0][-3000:]
    assert "resuming from epoch 2, step" in outputs[0]
    values, expected = (training_runs.final_values(tmp_path / f) for f in ("run", "whole"))
    assert values == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 1), (configuration(0, ["a:1"]), 1), (configuration(1, ["a:1", "b:1"]), 2)],
)
def test_workers(monkeypatch, text, number):
    monkeypatch.setenv("TF_CONFIG", text)
    assert multiworker.workers() == number


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '{"cluster": []}', '{"cluster": 2}'])
def test_bad_configuration(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG must be JSON such as") as error:
        resolve_strategy("multiworker")
    assert "\n" not in str(error.value)


def test_no_configuration(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG or Slurm to name at least two processes"):
        resolve_strategy("multiworker")


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 3)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_moments(axes, keepdims):
    """Of the replica that a process without a strategy is; the gradient, too."""
    import tensorflow as tf

    x = tf.constant(np.random.default_rng(0).normal(3, 2, (3, 5, 7, 6)).astype("float32"))
    values = []
    for function in (multiworker.moments, tf.nn.moments):
        with tf.GradientTape() as tape:
            tape.watch(x)
            mean, variance = function(x, axes, keepdims=keepdims)
            loss = tf.reduce_sum(tf.sin(mean) + variance**2)
        values.append([mean, variance, tape.gradient(loss, x)])
    for value, expected in zip(*values, strict=True):
        assert value.shape == expected.shape
        # Variance is a difference of squares here.
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_one_message(monkeypatch):
    """Synchronised BatchNorm sends one forth and one back, and only while that is wanted."""
    import tensorflow as tf
    from keras.src.backend.tensorflow import nn

    sent = []
    context = type(tf.distribute.get_replica_context())
    all_reduce = context.all_reduce

    def counted(self, *arguments, **options):
        sent.append(arguments)
        return all_reduce(self, *arguments, **options)

    monkeypatch.setattr(context, "all_reduce", counted)
    original = nn._compute_moments_sync
    layer = keras.layers.BatchNormalization(synchronized=True)
    x = tf.random.stateless_normal((4, 3, 5, 2), (0, 1))
    layer.build(x.shape)
    with multiworker.repaired(), tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True) ** 3)
        assert len(sent) == 1
        tape.gradient(loss, x)
    assert len(sent) == 2
    assert nn._compute_moments_sync is original


def test_other_keras(monkeypatch):
    monkeypatch.setattr(multiworker, "REPAIRED", "3.14.")
    with pytest.raises(ValueError, match=r"needs Keras 3\.14\.x"):
        resolve_strategy("multiworker")


def test_configuration_chooses_the_strategy(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", configuration(0, ["a:1", "b:1"]))
    assert resolve_strategy("auto") == "multiworker"
