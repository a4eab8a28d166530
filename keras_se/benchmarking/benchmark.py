"""Latency and throughput of networks in runtimes, in turn in one process."""

from __future__ import annotations

import datetime
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_se.benchmarking import plan
from keras_se.benchmarking.plan import Exports, Setting, Size, noise
from keras_se.benchmarking.report import SIDES, Case, Line, Report
from keras_se.benchmarking.runtimes import ALL, Answer
from keras_se.benchmarking.timing import PACKAGES, conditions, cores, quartiles, ratio, timed
from keras_se.checks import positive_integer, tuple_of


@dataclass(frozen=True)
class Subject(Case):
    """A case to be timed: `answer` runs the network on the batch."""

    answer: Answer


def benchmark(
    whats: Sequence[str],
    runtimes: Sequence[str] = ("tf_saved_model",),
    *,
    plain: bool = False,
    fuse: bool = True,
    batches: Sequence[int] = (1,),
    sizes: Sequence[Size] = (),
    rounds: int = 20,
    precisions: Sequence[str] = ("float32",),
    threads: Sequence[int] = (),
) -> Report:
    """Time networks in runtimes and precisions, for every number of threads, batch and size.

    All that shares these three, a setting, is timed in turn in one process, every pair once per
    round; settings follow one another, so that their times have no ratio. Networks are exported
    with `keras_se.export` to a temporary folder, once for all settings, and take decoded pictures:
    for a SavedModel the signature is `serve_images`. Each timed call directly follows an untimed
    one.

    Args:
        whats: Builders, whose networks get random weights and realistic BatchNorm statistics; sets
            of weights, run folders, `.keras` files, `keras.applications.NAME`; and exported files
            of any origin, which run in the runtime of their format on pictures of the layout and
            size that they declare.
        runtimes: `"tf_saved_model"` (default), `"openvino"`, `"onnx"`, `"litert"`, or `"keras"`,
            the model itself as a TensorFlow graph.
        plain: Whether to time each builder's twin without Squeeze-and-Excitation before it.
        fuse: Whether to use the inference form of `keras_se.fuse`. Defaults to `True`.
        batches: Batch sizes. Defaults to 1.
        sizes: `(height, width)` of the pictures. Defaults to the network's own, else 224.
        rounds: Number of timed rounds, after three warm-up rounds. Defaults to 20.
        precisions: `"float32"` (default), `"bfloat16"` (OpenVINO), and `"int8"` (OpenVINO, ONNX
            and LiteRT), calibrated with noise: for timing only. Pairs of a runtime and a precision
            that do not exist are skipped and reported. A given file keeps its precision; OpenVINO
            uses the given one for operations in floating point.
        threads: Threads per runtime. Several take a process each, because TensorFlow sets them
            once: a script needs `if __name__ == "__main__"`. Defaults to the cores available to
            this process.

    Returns:
        The figures.

    Raises:
        ValueError: If an argument is invalid, a runtime is not installed, or a network does not
            take the pictures.
        OSError: If a process of its own ends early.
    """
    integers = tuple_of(positive_integer, "an integer of at least 1, once or several times", 1)
    positive_integer("rounds", rounds)
    batches = [*dict.fromkeys(integers("batch", batches))]
    counts = [*dict.fromkeys(integers("threads", threads))] if threads else [cores()]
    shapes = [*dict.fromkeys(SIDES("size", size) for size in sizes)] or [None]
    chosen = plan.choose(whats, runtimes, plain, precisions)
    if threads and len(counts) == 1:
        _set_threads(counts[0])
    with tempfile.TemporaryDirectory() as folder:
        exports = Exports(Path(folder), fuse)
        settings = plan.settings(chosen, exports, plain, counts, batches, shapes)
        here = len(counts) == 1
        found = [
            line
            for setting in settings
            for line in (measure if here else _elsewhere)(setting, rounds)
        ]
    packages = dict.fromkeys((*PACKAGES, *(ALL[line.runtime].package for line in found)))
    return Report(
        conditions(packages)
        | {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "threads": counts[0] if here else ", ".join(map(str, counts)),
            "rounds": rounds,
            "fused": "yes" if fuse else "no",
        }
        | exports.notes(),
        tuple(found),
        chosen.skipped,
    )


def measure(setting: Setting, rounds: int) -> list[Line]:
    """Time the tasks of a setting in turn, in this process."""
    subjects = [
        subject(
            task.network, task.runtime, task.path, noise(task.pictures), setting.threads,
            task.precision,
        )
        for task in setting.tasks
    ]  # fmt: skip
    things = {number: subject.answer for number, subject in enumerate(subjects)}
    times = [*timed(things, rounds, untimed=1).values()]
    return [_line(setting, *pair, times[0]) for pair in zip(subjects, times, strict=True)]


def _elsewhere(setting: Setting, rounds: int) -> list[Line]:
    """`measure` in a process of its own, with the setting's threads for TensorFlow."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _set_threads, (setting.threads,)) as pool:
        try:
            return pool.submit(measure, setting, rounds).result()
        except BrokenProcessPool:
            raise OSError(
                f"the process for threads={setting.threads} ended before it had measured"
            ) from None


def subject(
    network: str, runtime: str, path: Path, images: np.ndarray, threads: int, precision: str
) -> Subject:
    """Load a file in a runtime and run it once."""
    try:
        answer = ALL[runtime].load(path, images, threads, precision)
        answer()
    except Exception as error:  # Any runtime may raise anything.
        reason = " ".join(str(error).split())[:300]
        shape = "x".join(map(str, images.shape))
        raise ValueError(
            f"runtime {runtime!r} cannot run {network} on {shape} pictures ({reason})"
        ) from error
    return Subject(network, runtime, precision, images.shape, answer)


def _line(
    setting: Setting, subject: Subject, seconds: Sequence[float], first: Sequence[float]
) -> Line:
    low, median, high = (1000 * value for value in quartiles(seconds))
    return Line(
        subject.network, subject.runtime, subject.precision, subject.pictures,
        threads=setting.threads, size=setting.size, median=median, low=low, high=high,
        pictures_per_second=1000 * subject.pictures[0] / median, ratio=ratio(seconds, first),
        milliseconds=tuple(1000 * value for value in seconds),
    )  # fmt: skip


def _set_threads(threads: int) -> None:
    """Set TensorFlow's threads; it uses all cores unless configured before its first use."""
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
