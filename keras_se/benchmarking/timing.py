"""Timing of several things in turn, so that machine noise affects all alike."""

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
# Linux' file with the processor's name.
CPUINFO = Path("/proc/cpuinfo")
# The memory limit of a container.
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")

Name = TypeVar("Name")


def timed(
    things: Mapping[Name, Callable[[], object]],
    rounds: int,
    warm_up: int = 3,
    untimed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds per thing and round; a round times everything once, in turn.

    The first `warm_up` rounds do not count. Each timed call follows `untimed` ones: one is enough
    for the spinning threads of another runtime to go to sleep.
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
    """Median of the ratios within each round, where both sides ran under the same conditions."""
    return float(np.median(np.divide(seconds, reference)))


def measure(things: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> None:
    """Time things (`timed`) and print the comparison (`compare`)."""
    compare(timed(things, rounds, warm_up))


def compare(times: Mapping[str, Sequence[float]]) -> None:
    """Print each thing's median, quartiles and ratio to the first."""
    first = next(iter(times.values()))
    for name, seconds in times.items():
        low, median, high = quartiles(seconds)
        print(
            f"{name:<44}{1000 * median:9.1f} ms  ({1000 * low:.1f} to {1000 * high:.1f})"
            f"  {ratio(seconds, first):5.2f} of the first",
            flush=True,
        )


def conditions(packages: Iterable[str] = PACKAGES) -> dict[str, str | int]:
    """The machine and the versions of some packages, to report with figures."""
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
    """Number of cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Name of the processor."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory() -> int | None:
    """Bytes of memory available to this process' container or machine; `None` if unknown."""
    if not hasattr(os, "sysconf"):
        return None
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(total, int(MEMORY_LIMIT.read_text("utf-8")))
    except (OSError, ValueError):
        return total
