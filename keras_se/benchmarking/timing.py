"""Timing of several things in turn in one run, so that the machine's moods fall on all alike."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

PACKAGES = ("keras", "tensorflow", "numpy")
# Where Linux tells the processor's name.
CPUINFO = Path("/proc/cpuinfo")

Name = TypeVar("Name")


def timed(
    things: Mapping[Name, Callable[[], object]],
    rounds: int,
    warm_up: int = 3,
    untimed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds that each takes in each round; one round times every thing once, in turn.

    Args:
        things: What to time, by name.
        rounds: How often each is timed.
        warm_up: Rounds before that which are not counted.
        untimed: Calls of each thing right before the one that is timed. With one, threads of
            another runtime, which go on looking for work for a while, have gone to sleep.
        clock: What tells the seconds.
    """
    times: dict[Name, list[float]] = {name: [] for name in things}
    for number in range(warm_up + rounds):
        for name, thing in things.items():
            for _ in range(untimed):
                thing()
            start = clock()
            thing()
            elapsed = clock() - start
            if number >= warm_up:
                times[name].append(elapsed)
    return times


def quartiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return low, median, high


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    """Median of the ratios within the rounds: there both sides met the same conditions."""
    return float(np.median(np.divide(seconds, reference)))


def measure(things: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> None:
    """Time them, see `timed`, and print what `compare` prints."""
    compare(timed(things, rounds, warm_up))


def compare(times: Mapping[str, Sequence[float]]) -> None:
    """Print the median and the quartiles of each, and its ratio to the first."""
    first = next(iter(times.values()))
    for name, seconds in times.items():
        low, median, high = quartiles(seconds)
        print(
            f"{name:<44}{1000 * median:9.1f} ms  ({1000 * low:.1f} to {1000 * high:.1f})"
            f"  {ratio(seconds, first):5.2f} of the first",
            flush=True,
        )


def conditions(packages: Iterable[str] = PACKAGES) -> dict[str, str | int]:
    """The machine and the versions, for the side of a figure.

    Args:
        packages: Distributions whose versions are told.
    """
    found: dict[str, str | int] = {"processor": processor(), "cores": cores()}
    found["Python"] = platform.python_version()
    return found | {package: importlib.metadata.version(package) for package in packages}


def described(found: Mapping[str, object]) -> str:
    """Conditions as one line."""
    rest = [
        f"{name} {value}" for name, value in found.items() if name not in ("processor", "cores")
    ]
    return ", ".join([f"{found['cores']} cores of {found['processor']}", *rest])


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Its name."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
