"""Latency and throughput of networks in runtimes, in turn in one process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

import keras_se
from keras_se.benchmarking import networks
from keras_se.benchmarking.runtimes import KERAS, RUNTIMES, Answer, check_runtime, graph, runtime_of
from keras_se.benchmarking.timing import PACKAGES, conditions, cores, quartiles, ratio, timed
from keras_se.checks import positive_integer
from keras_se.serving.description import SIZE, network_of


@dataclass(frozen=True)
class Case:
    """A network in a runtime.

    Attributes:
        network: Its name, as given.
        runtime: Name of the runtime.
        precision: Compute precision.
        pictures: Shape of the batch, channels last.
    """

    network: str
    runtime: str
    precision: str
    pictures: tuple[int, ...]


@dataclass(frozen=True)
class Subject(Case):
    """A case to be timed: `answer` runs the network on the batch."""

    answer: Answer


@dataclass(frozen=True)
class Line(Case):
    """The figures of a case.

    Attributes:
        median: Milliseconds per batch.
        low: The lower quartile.
        high: The upper quartile.
        pictures_per_second: Throughput, from the median.
        ratio: Median over rounds of the ratio to the first line.
    """

    median: float
    low: float
    high: float
    pictures_per_second: float
    ratio: float


@dataclass(frozen=True)
class Report:
    """The figures of `benchmark`, and the machine, versions and settings behind them."""

    conditions: Mapping[str, str | int]
    lines: Sequence[Line]


def benchmark(
    whats: Sequence[str],
    runtimes: Sequence[str] = ("tf_saved_model",),
    *,
    plain: bool = False,
    fuse: bool = True,
    batch: int = 1,
    size: int | None = None,
    rounds: int = 20,
    precision: str = "float32",
    threads: int | None = None,
) -> Report:
    """Time networks in runtimes: every pair once per round, in turn, in this process.

    Networks are exported with `keras_se.export` to a temporary folder and take decoded pictures:
    for a SavedModel the signature is `serve_images`. Each timed call directly follows an untimed
    one.

    Args:
        whats: Builders, whose networks get random weights and realistic BatchNorm statistics; sets
            of weights, run folders, `.keras` files, `keras.applications.NAME`; and exported files
            of any origin, which run in the runtime of their format.
        runtimes: `"tf_saved_model"` (default), `"openvino"`, `"onnx"`, `"litert"`, or `"keras"`,
            the model itself as a TensorFlow graph.
        plain: Whether to time each builder's twin without Squeeze-and-Excitation before it.
        fuse: Whether to use the inference form of `keras_se.fuse`. Defaults to `True`.
        batch: Batch size. Defaults to 1.
        size: Height and width of the pictures. Defaults to the network's own, else 224.
        rounds: Number of timed rounds, after three warm-up rounds. Defaults to 20.
        precision: Compute precision of OpenVINO: `"float32"` (default) or `"bfloat16"`.
        threads: Threads per runtime. Defaults to the cores available to this process.

    Returns:
        The figures.

    Raises:
        ValueError: If an argument is invalid, a runtime is not installed, or a network does not
            take the pictures.
    """
    positive_integer("batch", batch)
    positive_integer("rounds", rounds)
    if size is not None:
        positive_integer("size", size)
    files = _check(whats, runtimes, plain, precision)
    threads = _threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        subjects = []
        for what in dict.fromkeys(whats):
            if what in files:
                # `precision` applies only to OpenVINO files.
                own = precision if files[what] == "openvino" else "float32"
                images = pictures((batch, size or SIZE, size or SIZE, 3))
                subjects.append(subject(what, files[what], Path(what), images, threads, own))
                continue
            for twin in (True, False) if plain else (False,):
                model, name = networks.build(what, size, twin), f"{what}{' without SE' * twin}"
                images = pictures((batch, *_shape(what, model, size)))
                for runtime in dict.fromkeys(runtimes):
                    if runtime == KERAS:
                        made = _as_graph(name, model, images, fuse)
                    else:
                        path = Path(folder, f"{len(subjects)}{RUNTIMES[runtime].suffix}")
                        keras_se.export(model, path, runtime, fuse=fuse, image_bytes=False)
                        made = subject(name, runtime, path, images, threads, precision)
                    subjects.append(made)
        found, _ = lines(subjects, rounds)
    used = dict.fromkeys(RUNTIMES[s.runtime].package for s in subjects if s.runtime != KERAS)
    settings = {"threads": threads, "rounds": rounds, "fused": "yes" if fuse else "no"}
    return Report(conditions(dict.fromkeys((*PACKAGES, *used))) | settings, found)


def subject(
    network: str, runtime: str, path: Path, images: np.ndarray, threads: int, precision: str
) -> Subject:
    """Load a file in a runtime and run it once."""
    try:
        answer = RUNTIMES[runtime].load(path, images, threads, precision)
        answer()
    except Exception as error:  # Any runtime may raise anything.
        reason = " ".join(str(error).split())[:300]
        shape = "x".join(map(str, images.shape))
        raise ValueError(
            f"runtime {runtime!r} cannot run {network} on {shape} pictures ({reason})"
        ) from error
    return Subject(network, runtime, precision, images.shape, answer)


def lines(subjects: Sequence[Subject], rounds: int) -> tuple[list[Line], list[list[float]]]:
    """Time all subjects in turn; return their figures and the seconds of every round."""
    things = {number: subject.answer for number, subject in enumerate(subjects)}
    times = [*timed(things, rounds, untimed=1).values()]
    return [_line(*pair, times[0]) for pair in zip(subjects, times, strict=True)], times


def _line(subject: Subject, seconds: Sequence[float], first: Sequence[float]) -> Line:
    low, median, high = (1000 * value for value in quartiles(seconds))
    return Line(
        subject.network,
        subject.runtime,
        subject.precision,
        subject.pictures,
        median,
        low,
        high,
        1000 * subject.pictures[0] / median,
        ratio(seconds, first),
    )


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    """Random noise in 0..255."""
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")


def _check(
    whats: Sequence[str], runtimes: Sequence[str], plain: bool, precision: str
) -> dict[str, str]:
    """The runtime of each exported file; a bad argument raises a `ValueError`."""
    files = {}
    for what in whats:
        networks.check(what)
        runtime = runtime_of(Path(what))
        if runtime is not None:
            files[what] = runtime
        if plain and what not in keras_se.list_models():
            raise ValueError(
                f"`plain` is only supported with names of builders. Received: what={what!r}"
            )
    if len(files) < len(set(whats)):
        for runtime in runtimes:
            check_runtime(runtime, precision)
    for runtime in files.values():
        check_runtime(runtime, precision if runtime == "openvino" else "float32")
    return files


def _threads(threads: int | None) -> int:
    """Threads per runtime; TensorFlow uses all cores unless configured before its first use."""
    if threads is None:
        return cores()
    positive_integer("threads", threads)
    import tensorflow as tf

    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        raise ValueError(
            "`threads` must be given before TensorFlow is used in this process. "
            f"Received: threads={threads}"
        ) from None
    return threads


def _shape(what: str, model: keras.Model, size: int | None) -> tuple[int, int, int]:
    """Shape of the pictures for the model, channels last."""
    *own, channels = network_of(model).shape
    if len(own) != 2 or channels is None:
        raise ValueError(f"{what}: expected a model of pictures. Received: input of shape {own}")
    height, width = (known or size or SIZE for known in own)
    if size is not None and (height, width) != (size, size):
        raise ValueError(f"`size` must be that of {what}, {height}x{width}. Received: size={size}")
    return height, width, channels


def _as_graph(name: str, model: keras.Model, images: np.ndarray, fuse: bool) -> Subject:
    network = network_of(model)
    network = replace(network, model=keras_se.fuse(model)) if fuse else network
    return Subject(
        name,
        KERAS,
        "float32",
        images.shape,
        graph(lambda x: list(network.answers(x).values()), images),
    )
