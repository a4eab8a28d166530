"""Two processes on a core each beside one process on one core: the same global batch.

    python benchmarks/scaling.py

SE-ResNet-50, 224 x 224, float32, synchronised BatchNorm, `MultiWorkerMirroredStrategy` over the
loopback. Both sides in turn, several times, each in fresh processes; the efficiency is the time of
one process over twice the time of two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

BATCH, SIZE, CLASSES = 32, 224, 10
# Steps that are not counted, and those that are.
WARM_UP, STEPS = 1, 4
TURNS = 3


def train() -> None:
    """In one of the processes: print the seconds of each step."""
    import keras
    import numpy as np

    from keras_se.training import multiworker
    from keras_se.training.batches import Pictures
    from keras_se.training.networks import network
    from keras_se.training.recipe import get_recipe
    from keras_se.training.run import compile_for_training
    from keras_se.training.strategies import distributed, resolve_strategy

    steps = WARM_UP + STEPS
    settings = ("model=SEResNet50", f"batch={BATCH}", "shift=0", "cutout=0")
    recipe = get_recipe("fashion_mnist").changed(settings)
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (BATCH * steps, SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.arange(len(pictures)) % CLASSES
    data = Pictures(pictures, labels, [str(n) for n in range(CLASSES)])
    ends: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter())

    with distributed(resolve_strategy("auto")) as devices:
        model = network(recipe, data)
        devices.prepare(model)
        compile_for_training(model, recipe, steps)
        if devices.processes:
            multiworker.is_built(model)
        batches = devices.batches(lambda part: data.training(recipe, 0, 0, part), BATCH)
        model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[Clock()])
    seconds = [later - sooner for sooner, later in itertools.pairwise(ends)]
    print(json.dumps(seconds[WARM_UP - 1 :]))


def run(processes: int) -> list[float]:
    """Seconds of the steps, as the first process saw them."""
    cores = sorted(os.sched_getaffinity(0))[:processes]
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    started = []
    for index, core in enumerate(cores):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        environment.pop("TF_CONFIG", None)
        if processes > 1:
            task = {"type": "worker", "index": index}
            cluster = {"cluster": {"worker": hosts}, "task": task}
            environment["TF_CONFIG"] = json.dumps(cluster)
        started.append(
            subprocess.Popen(
                [sys.executable, __file__, "--train"],
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
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().train:
        train()
        return
    from keras_se.benchmarking.timing import conditions, described

    print(described(conditions()), flush=True)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(TURNS):
        for processes, values in seconds.items():
            values += run(processes)
    for processes, values in seconds.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{processes} process(es): {median:.2f} s a step ({low:.2f} to {high:.2f})")
    one, two = (statistics.median(values) for values in seconds.values())
    print(f"efficiency {one / (2 * two):.2f}")


if __name__ == "__main__":
    main()
