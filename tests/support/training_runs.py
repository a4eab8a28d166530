"""Runs for tests, in this process and, as a program, in one that can be killed.

    python tests/support/training_runs.py RUN_FOLDER DATA_FOLDER REPLICAS [NAME=VALUE...]

It goes on with the run if there is one, and prints a line at every step.
"""

import csv
import os
import signal
import sys
from pathlib import Path

import h5py

SETTINGS = (
    "held_out=8", "batch=8", "epochs=3", "checkpoint_steps=2", "learning_rate=0.1",
    'variant={"blocks":[1,1,1],"dropout":0.2,"stochastic_depth":0.2}', "ema=0.9", "mixup=0.2",
    "cutmix=1.0", "repeats=2", "rand_augment=1",
    "random_erasing=0.5",
)  # fmt: skip


def recipe(data, *settings):
    """SE-ResNet-8 with everything random, on files that `fashion_mnist_files` wrote."""
    from keras_se.recipes import get_recipe

    return get_recipe("fashion_mnist").changed((*SETTINGS, f"data_dir={data}", *settings))


def final_values(folder):
    """The bytes of all variables in the newest checkpoint, and what each epoch measured."""
    newest = sorted((folder / "checkpoints").glob("*.h5"))[-1]
    with h5py.File(newest) as file:
        values = {name: file[name][()].tobytes() for name in file}
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        row.pop("pictures_per_second")
    return values | {"metrics": rows}


def whole_and_resumed(recipe, folder, at=(1, 3)):
    """Final values of a run that nobody stops, and of one that is told to end, which goes on.

    It is told after a step of an epoch, `at`.
    """
    from keras_se.training.run import Interrupted, Run

    def step(run, epoch, done):
        if (epoch, done) == at:
            os.kill(os.getpid(), signal.SIGTERM)

    Run(recipe, folder / "whole").train()
    try:
        Run(recipe, folder / "run", progress=step).train()
    except Interrupted:
        Run(recipe, folder / "run").train(resume=True)
        return final_values(folder / "whole"), final_values(folder / "run")
    raise AssertionError("the run was not interrupted")


def main():
    folder, data, replicas, *settings = sys.argv[1:]
    if int(replicas) > 1:
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        devices = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
        tf.config.set_logical_device_configuration(cpu, devices)
    from keras_se.training.run import Interrupted, Run

    def step(run, epoch, done):
        print("step", epoch, done, flush=True)

    try:
        run = Run(recipe(data, *settings), Path(folder), progress=step)
        run.train(resume=(Path(folder) / "recipe.json").exists())
    except Interrupted as error:
        sys.exit(error.exit_code)
    except (OSError, ValueError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
