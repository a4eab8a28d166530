"""Runs that are killed at any moment end in the same bits; replicas do what one device does."""

import os
import random
import signal
import subprocess
import sys
import time

import fashion_mnist_files
import h5py
import numpy as np
import pytest
import training_runs
from disks import small_disk

from keras_se.training.run import Interrupted, Run

pytestmark = pytest.mark.training

KILLS = 20
# Seconds that are long enough for the slowest step, the evaluation and the checkpoints of an epoch.
LONGEST = 1.0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fashion_mnist_files.write(tmp_path_factory.mktemp("data") / "fashion")


def start(folder, data, replicas, *settings, **environment):
    environment = (
        os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""} | environment
    )
    arguments = [sys.executable, training_runs.__file__, folder, data, replicas, *settings]
    return subprocess.Popen(
        list(map(str, arguments)), env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(folder, data, replicas, *settings, **environment):
    process = start(folder, data, replicas, *settings, **environment)
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return out


def kill_again_and_again(folder, data, replicas, kills, **environment):
    """Kill -9 at random moments after the first step, and go on each time.

    Where a run comes to its end the next one begins. Gives the folders of all, which have ended.
    """
    moments = random.Random(11)
    killed, folders = 0, [folder / "0"]
    while killed < kills:
        process = start(folders[-1], data, replicas, **environment)
        for line in process.stdout:
            if line.startswith("step"):
                break
        time.sleep(moments.uniform(0, LONGEST))
        process.kill()
        code = process.wait()
        assert code in (0, -9), process.stderr.read()[-3000:]
        killed += code == -9
        if code == 0:
            folders.append(folder / str(len(folders)))
    finish(folders[-1], data, replicas, **environment)
    return folders


BACKENDS = [
    pytest.param("tensorflow", 1, KILLS, id="tensorflow"),
    pytest.param("tensorflow", 2, KILLS // 4, id="mirrored"),
    pytest.param("jax", 1, KILLS // 4, id="jax"),
]


@pytest.mark.parametrize(("backend", "replicas", "kills"), BACKENDS)
def test_killed_run_goes_on_bit_for_bit(data, tmp_path, backend, replicas, kills):
    environment = {"KERAS_BACKEND": backend}
    finish(tmp_path / "whole", data, replicas, **environment)
    expected = training_runs.final_values(tmp_path / "whole")
    for folder in kill_again_and_again(tmp_path / "run", data, replicas, kills, **environment):
        assert training_runs.final_values(folder) == expected


def test_truncated_newest_checkpoint(data, tmp_path):
    finish(tmp_path / "whole", data, 1)
    kill_after(tmp_path / "run", data, "step 1 4")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("*.h5"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    out = finish(tmp_path / "run", data, 1)
    assert f"{newest}: damaged; falling back to the previous one" in out
    values, expected = (training_runs.final_values(tmp_path / f) for f in ("run", "whole"))
    assert values == expected


def kill_after(folder, data, line):
    process = start(folder, data, 1)
    for received in process.stdout:
        if received.strip() == line:
            break
    process.kill()
    process.wait()


def printed(program):
    """The lines that a program prints, in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout.splitlines()


REPLICAS_DRAW = """
import keras
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_se.training.strategies import distributed, resolve_strategy
assert resolve_strategy("auto") == "mirrored"
with distributed("mirrored") as devices:
    assert devices.replicas == 2
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5, seed=1)])
    for prepared in (False, True):
        if prepared:
            devices.prepare(model)
        strategy = tf.distribute.get_strategy()
        draw = tf.function(lambda: model(tf.ones((1, 1000)), training=True))
        masks = [strategy.experimental_local_results(strategy.run(draw)) for _ in range(2)]
        same = [float(tf.reduce_mean(tf.cast(a == b, tf.float32))) for a, b in masks]
        other = float(tf.reduce_mean(tf.cast(masks[0][0] == masks[1][0], tf.float32)))
        print(prepared, *(round(value, 1) for value in (*same, other)))
"""


def test_replicas_draw_other_numbers():
    # Keras alone: equal masks. Prepared: half of the elements agree, as by chance.
    assert printed(REPLICAS_DRAW) == ["False 1.0 1.0 0.5", "True 0.5 0.5 0.5"]


METRIC_VALUES = """
import keras
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_se.training.strategies import Devices, distributed
assert Devices().metric_values([]) == []
with distributed("mirrored") as devices:
    metric = keras.metrics.Mean()
    values = [[1.0, 3.0], [0.1, 2.0]]
    devices.assign_metric_values(metric.variables, values)
    print(devices.metric_values(metric.variables), float(metric.variables[1].numpy()))
    metric.variables[1].assign(7)
    devices.assign_metric_values(metric.variables, [[1.0, 1.0]])
    print(devices.metric_values(metric.variables)[0][1])
"""


def test_metric_values_of_replicas():
    """Each replica gets its own; those of another number of replicas change nothing."""
    # 0.1 in single precision.
    assert printed(METRIC_VALUES) == ["[[1.0, 3.0], [0.10000000149011612, 2.0]] 5.0", "3.5"]


def test_full_disk(data, tmp_path):
    finish(tmp_path / "whole", data, 1)
    with small_disk(tmp_path / "disk") as remount:
        # Three checkpoints of a megabyte do not fit.
        remount("size=2500k")
        process = start(tmp_path / "disk" / "run", data, 1)
        _, err = process.communicate()
        assert process.returncode == 2
        assert "cannot be written" in err.splitlines()[-1]
        remount("size=50m")
        finish(tmp_path / "disk" / "run", data, 1)
        values = training_runs.final_values(tmp_path / "disk" / "run")
    assert values == training_runs.final_values(tmp_path / "whole")


REPLICAS = [
    # In double precision, since a step of BatchNorm multiplies what rounding leaves.
    pytest.param("tensorflow", ("precision=float64",), {}, 1e-9, id="mirrored"),
    pytest.param("tensorflow", ("precision=float64", "swa=0.5"), {}, 1e-9, id="mirrored mean"),
    pytest.param("tensorflow", ("precision=float64", "ema=0.9"), {}, 1e-9, id="mirrored average"),
    pytest.param("tensorflow", ("learning_rate=0.001",), {}, 1e-5, id="mirrored float32"),
    pytest.param(
        "jax", ("learning_rate=0.001",),
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, 1e-5, id="jax float32",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("backend", "settings", "environment", "tolerance"), REPLICAS)
def test_replicas_do_what_one_device_does(
    data, tmp_path, backend, settings, environment, tolerance
):
    """20 steps; the last batch of the nine pictures that validate has fewer than the replicas."""
    settings = ["epochs=4", "held_out=9", "ema=null", 'variant={"blocks":[1,1,1]}', *settings]
    values = []
    for replicas in (1, 2):
        folder = tmp_path / str(replicas)
        own = environment if replicas > 1 else {}
        number = replicas if backend == "tensorflow" else 1
        finish(folder, data, number, *settings, KERAS_BACKEND=backend, **own)
        with h5py.File(folder / "last.weights.h5") as file:
            arrays = {}
            file.visititems(
                lambda name, item, arrays=arrays: arrays.update(
                    {name: item[()]} if isinstance(item, h5py.Dataset) else {}
                )
            )
        values.append(arrays)
    assert len(values[0]) > 50
    assert values[0].keys() == values[1].keys()
    for name, value in values[0].items():
        scale = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(values[1][name], value, rtol=0, atol=tolerance * scale)


KILLED_AT = """
import os, sys
import training_runs
name, replace = sys.argv.pop(1), os.replace
def killing(source, target):
    if os.path.basename(target) == name:
        # Half of it is written.
        os.truncate(source, os.path.getsize(source) // 2)
        os.kill(os.getpid(), 9)
    replace(source, target)
os.replace = killing
training_runs.main()
"""


def changed_run(code, argument, folder, data):
    """A run in a process that does something first."""
    return subprocess.run(
        [sys.executable, "-c", code, argument, folder, data, "1"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    finish(folder, data, 1)
    return folder


@pytest.mark.parametrize(
    "name",
    ["recipe.json", "files.json.gz", "last.keras", "metrics.csv", "results.json", "curves.png"],
)
def test_killed_while_a_file_is_written(data, whole, tmp_path, name):
    """It goes on, or begins anew, to the same end; nothing half-written is left."""
    folder = tmp_path / "run"
    process = changed_run(KILLED_AT, name, folder, data)
    assert process.returncode == -9, process.stderr[-3000:]
    assert not (folder / name).exists()
    assert len(list(folder.glob(f"{name}.*"))) == 1
    finish(folder, data, 1)
    assert training_runs.final_values(folder) == training_runs.final_values(whole)
    names, expected = ({path.name for path in run.iterdir()} for run in (folder, whole))
    assert names == expected
    for file in ("results.json", "README.md", "curves.png"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes()


def test_read_only_disk(data, whole, tmp_path):
    with small_disk(tmp_path / "disk") as remount:
        remount("size=50m")
        kill_after(tmp_path / "disk" / "run", data, "step 1 4")
        remount("ro")
        process = start(tmp_path / "disk" / "run", data, 1)
        _, err = process.communicate()
        assert process.returncode == 2, err[-3000:]
        assert "Read-only file system" in err.splitlines()[-1]
        remount("rw")
        finish(tmp_path / "disk" / "run", data, 1)
        values = training_runs.final_values(tmp_path / "disk" / "run")
    assert values == training_runs.final_values(whole)


SMALL_FILES = """
import resource, sys
import training_runs
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
training_runs.main()
"""


@pytest.mark.parametrize("size", [100, 40_000, 400_000])
def test_files_that_may_not_grow(data, whole, tmp_path, size):
    """One line says which file, and the run goes on where they may; HDF5 would crash."""
    folder = tmp_path / "run"
    process = changed_run(SMALL_FILES, str(size), folder, data)
    assert process.returncode == 2, process.stderr[-3000:]
    assert "cannot be written (File too large)" in process.stderr.splitlines()[-1]
    finish(folder, data, 1)
    assert training_runs.final_values(folder) == training_runs.final_values(whole)


def test_clock_that_is_set_back(data, whole, tmp_path, monkeypatch):
    """By a day at every look at it, and before the run goes on."""
    now = [time.time()]

    def earlier():
        now[0] -= 86400
        return now[0]

    monkeypatch.setattr(time, "time", earlier)

    def step(run, epoch, done):
        if (epoch, done) == (1, 3):
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        Run(training_runs.recipe(data), folder, progress=step).train()
    again = Run(training_runs.recipe(data), folder, report=lambda _: None)
    again.train(resume=True)
    assert all(row["pictures_per_second"] > 0 for row in again.history)
    assert training_runs.final_values(folder) == training_runs.final_values(whole)
