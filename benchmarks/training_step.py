"""A training step of SE networks beside their plain twins and beside other packages.

    python benchmarks/training_step.py              # SE-ResNet-50, 224 x 224, batch 16
    python benchmarks/training_step.py --beside timm --beside "timm, compiled"
    python benchmarks/training_step.py --small      # SE-ResNet-20, 28 x 28 x 1, batch 128
    python benchmarks/training_step.py --small --beside "Keras' BatchNorm"
    python benchmarks/training_step.py --one-thread # CPU time of one thread, on a busy machine

Float32, SGD with momentum, on the processor; each side in a process of its own, in turn, one step
each a round. The other packages come with the extra `peers`, and timm with Torch. Torch has its
channels last. Multiply-adds of ResNet-50 are in the ratio 1.002; what a step costs more is memory
traffic: each block reads its feature maps twice more forward.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_se.benchmarking.timing import PACKAGES, conditions, cores, described, quartiles, ratio

Step = Callable[[], object]
WARM_UP = 3


@dataclass(frozen=True)
class Task:
    """The network of this package and the pictures that every side trains on."""

    builder: str
    batch: int
    shape: tuple[int, int, int]
    classes: int

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and classes."""
        random = np.random.default_rng(0)
        pictures = random.uniform(0, 255, (self.batch, *self.shape)).astype("float32")
        return pictures, random.integers(0, self.classes, self.batch)


LARGE = Task("SEResNet50", 16, (224, 224, 3), 1000)
SMALL = Task("SEResNet20", 128, (28, 28, 1), 10)


def _keras_step(keras: Any, model: Any, task: Task) -> Step:
    """A step of a model whose outputs are logits; `keras` is its version of Keras."""
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    x, y = task.data()
    return lambda: model.train_on_batch(x, y)


def _ours(task: Task, **options: Any) -> Any:
    import keras_se

    if task is SMALL:
        options["include_preprocessing"] = False
    return getattr(keras_se, task.builder)(
        weights=None, classifier_activation=None, input_shape=task.shape, **options
    )


def _se(task: Task) -> Step:
    import keras

    return _keras_step(keras, _ours(task), task)


def _plain(task: Task) -> Step:
    import keras

    return _keras_step(keras, _ours(task, se=None), task)


def _keras_batch_norm(task: Task) -> Step:
    import keras

    from keras_se.layers import BatchNormalization

    def exchanged(layer: keras.layers.Layer) -> keras.layers.Layer:
        own = type(layer) is BatchNormalization
        kind = keras.layers.BatchNormalization if own else type(layer)
        return kind.from_config(layer.get_config())

    model = keras.models.clone_model(_ours(task), clone_function=exchanged)
    return _keras_step(keras, model, task)


def _applications(task: Task) -> Step:
    import keras

    model = keras.applications.ResNet50(weights=None, classifier_activation=None)
    return _keras_step(keras, model, task)


def _zero(task: Task) -> Step:
    import keras
    from zeromodels.models.senet import SENetImageClassify

    model = SENetImageClassify(depths=[3, 4, 6, 3], classifier_activation="linear")
    return _keras_step(keras, model, task)


def _image_classifiers(task: Task) -> Step:
    import tf_keras
    from classification_models.tfkeras import Classifiers

    model = Classifiers.get("seresnet50")[0](input_shape=task.shape, weights=None)
    # Its last layer is a softmax of the one before.
    return _keras_step(tf_keras, tf_keras.Model(model.input, model.layers[-2].output), task)


def _timm(task: Task, compiled: bool = False) -> Step:
    import torch
    from peers import timm_seresnet50

    torch.set_num_threads(cores())
    model = timm_seresnet50().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    x, y = (torch.from_numpy(values) for values in task.data())
    x = x.permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(x), y).backward()
        optimizer.step()

    return step


@dataclass(frozen=True)
class Side:
    """A network to train.

    Attributes:
        step: Builds it; gives a function that takes one step.
        tasks: What it is there for.
        package: What must be installed.
        environment: Variables of its process.
    """

    step: Callable[[Task], Step]
    tasks: tuple[Task, ...] = (LARGE,)
    package: str = "keras"
    environment: Mapping[str, str] = field(default_factory=dict)


FIRST = "SE"
SIDES = {
    FIRST: Side(_se, (LARGE, SMALL)),
    "plain": Side(_plain, (LARGE, SMALL)),
    "Keras' BatchNorm": Side(_keras_batch_norm, (LARGE, SMALL)),
    "keras.applications": Side(_applications),
    "ZeroModels": Side(_zero, package="zeromodels"),
    "image-classifiers": Side(
        _image_classifiers, package="classification_models",
        environment={"TF_USE_LEGACY_KERAS": "1"},
    ),
    "timm": Side(_timm, package="timm"),
    "timm, compiled": Side(functools.partial(_timm, compiled=True), package="timm"),
}  # fmt: skip


def work(name: str, task: Task, one_thread: bool) -> None:
    """Take a step for each line of the standard input, and print its seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if one_thread:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    step = SIDES[name].step(task)
    clock = time.process_time if one_thread else time.perf_counter
    for _ in sys.stdin:
        start = clock()
        step()
        print(clock() - start, file=answers, flush=True)


def start(name: str, arguments: list[str]) -> subprocess.Popen[str]:
    """A process that takes steps."""
    return subprocess.Popen(
        [sys.executable, __file__, "--work", name, *arguments], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**os.environ, **SIDES[name].environment},
    )  # fmt: skip


def seconds_of(name: str, worker: subprocess.Popen[str]) -> float:
    """Let it take a step."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(file=worker.stdin, flush=True)
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"the process of {name} ended")
    return float(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="SE-ResNet-20, 28 x 28 x 1")
    parser.add_argument("--beside", choices=[*SIDES][1:], action="append", help="default plain")
    parser.add_argument("--one-thread", action="store_true", help="CPU time of one thread")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    task = SMALL if options.small else LARGE
    if options.work:
        work(options.work, task, options.one_thread)
        return
    names = [FIRST, *dict.fromkeys(options.beside or ["plain"])]
    for name in names:
        if task not in SIDES[name].tasks:
            parser.error(f"{name} is only there without --small")
        if importlib.util.find_spec(SIDES[name].package) is None:
            parser.error(f"{name} needs the package {SIDES[name].package}")
        if options.one_thread and SIDES[name].package == "timm":
            parser.error(f"--one-thread is only for TensorFlow, not for {name}")
    passed = ["--small"] * options.small + ["--one-thread"] * options.one_thread
    workers = {name: start(name, passed) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(WARM_UP + options.rounds):
        for name, worker in workers.items():
            elapsed = seconds_of(name, worker)
            if number >= WARM_UP:
                times[name].append(elapsed)
    for worker in workers.values():
        worker.communicate()
    torch = ("torch", "timm") if any(SIDES[name].package == "timm" for name in names) else ()
    print(described(conditions((*PACKAGES, *torch))))
    what = "CPU time of one thread" if options.one_thread else f"{cores()} threads"
    shape = "x".join(map(str, task.shape))
    print(f"\ntraining step of {task.builder}, {shape}, batch {task.batch}, {what}\n")
    for name, seconds in times.items():
        low, median, high = (1000 * value for value in quartiles(seconds))
        print(
            f"{name:<24}{median:9.1f} ms ({low:.1f} to {high:.1f})   "
            f"{FIRST} takes {ratio(times[FIRST], seconds):.3f} of it"
        )


if __name__ == "__main__":
    main()
