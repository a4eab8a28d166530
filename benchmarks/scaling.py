"""Two processes on a core each beside one process on one core: the same global batch.

    python benchmarks/scaling.py

SE-ResNet-50, 224 x 224, float32, synchronised BatchNorm, `MultiWorkerMirroredStrategy` over the
loopback. All sides in turn, several times, each in fresh processes; the efficiency is the time of
one process over twice the time of two. Beside them two processes that have nothing to do with each
other, with half of the batch each: what they lose is lost to the machine, not to the strategy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

BATCH, SIZE, CLASSES = 32, 224, 10
# Steps that are not counted, and those that are.
WARM_UP, STEPS = 1, 4
TURNS = 2
# Number of processes, and whether they train one network together.
SIDES = {"one process": (1, False), "two": (2, True), "two, each alone": (2, False)}


def train(batch: int) -> None:
    """In one of the processes: print the seconds of each step, of the batch of all of them."""
    import keras
    import numpy as np

    from keras_se.data.labelled import Pictures
    from keras_se.recipes import get_recipe
    from keras_se.training.compilation import compile_for_training
    from keras_se.training.networks import network
    from keras_se.training.recipe_data import training_batches
    from keras_se.training.strategies import distributed, resolve_strategy

    steps = WARM_UP + STEPS
    settings = ("model=SEResNet50", f"batch={batch}", "shift=0", "cutout=0")
    recipe = get_recipe("fashion_mnist").changed(settings)
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (batch * steps, SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.arange(len(pictures)) % CLASSES
    data = Pictures(pictures, labels, [str(n) for n in range(CLASSES)])
    ends: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter())

    with distributed(resolve_strategy("auto")) as devices:
        model = network(recipe, data)
        devices.prepare(model)
        compile_for_training(model, recipe, steps, labels)
        batches = devices.batches(lambda part: training_batches(data, recipe, 0, 0, part), batch)
        model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[Clock()])
    seconds = [later - sooner for sooner, later in itertools.pairwise(ends)]
    print(json.dumps(seconds[WARM_UP - 1 :]))


def run(processes: int, together: bool) -> list[float]:
    """Seconds of the steps, as the first process saw them."""
    cores = sorted(os.sched_getaffinity(0))[:processes]
    batch = BATCH if together else BATCH // processes
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    started = []
    for index, core in enumerate(cores):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        environment.pop("TF_CONFIG", None)
        if together:
            task = {"type": "worker", "index": index}
            cluster = {"cluster": {"worker": hosts}, "task": task}
            environment["TF_CONFIG"] = json.dumps(cluster)
        started.append(
            subprocess.Popen(
                [sys.executable, __file__, "--train", str(batch)],
                env=environment,
                preexec_fn=lambda core=core: os.sched_setaffinity(0, {core}),
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a process failed")
    return list(map(float, json.loads(outputs[0].splitlines()[-1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=int, help=argparse.SUPPRESS)
    batch = parser.parse_args().train
    if batch:
        train(batch)
        return
    from keras_se.benchmarking.timing import conditions, described, quartiles

    print(described(conditions()), flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(TURNS):
        for name, side in SIDES.items():
            seconds[name] += run(*side)
    medians = {}
    for name, values in seconds.items():
        low, medians[name], high = quartiles(values)
        print(f"{name:<16}{medians[name]:6.2f} s a step  ({low:.2f} to {high:.2f})")
    one, two, alone = medians.values()
    print(f"efficiency {one / (2 * two):.2f}; of two, each alone {one / (2 * alone):.2f}")


if __name__ == "__main__":
    main()
