"""Timing of several things in turn in one run, so that the machine's moods fall on all alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping


def conditions() -> str:
    """The machine and the versions, for the side of a figure."""
    import keras
    import numpy as np
    import tensorflow as tf

    return (
        f"{processor()}, Python {platform.python_version()}, Keras {keras.__version__}, "
        f"TensorFlow {tf.__version__}, NumPy {np.__version__}"
    )


def processor() -> str:
    """Number of cores and name of the processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}"


def timed(
    things: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3
) -> dict[str, list[float]]:
    """Seconds that each takes in each round; one round times every thing once, in turn.

    Args:
        things: What to time, by name.
        rounds: How often each is timed.
        warm_up: Rounds before that which are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in things}
    for number in range(warm_up + rounds):
        for name, thing in things.items():
            start = time.perf_counter()
            thing()
            elapsed = time.perf_counter() - start
            if number >= warm_up:
                times[name].append(elapsed)
    return times


def measure(things: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> None:
    """Print the median and the quartiles of each, and its ratio to the first; see `timed`."""
    times = timed(things, rounds, warm_up)
    first = next(iter(times.values()))
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        # The ratio within each round: both sides met the same conditions.
        ratio = statistics.median(v / f for v, f in zip(values, first, strict=True))
        print(
            f"{name:<44}{1000 * median:9.1f} ms  ({1000 * low:.1f} to {1000 * high:.1f})"
            f"  {ratio:5.2f} of the first",
            flush=True,
        )
