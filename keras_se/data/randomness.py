"""Random numbers as a pure function of (seed, epoch, index): no state to lose.

Each counter goes through the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", 2014), so any worker can draw any number at any time, in any order.
"""

from __future__ import annotations

import numpy as np

# Purposes of random numbers, part of their counters: never renumber them.
ORDER, SHIFT, FLIP, HOLE, HOLE_AT, MIX, CROP, PARTS, OPERATIONS = range(9)
ERASE, ERASE_SIZE, ERASE_AT, FOLDS, CLASSES = range(9, 14)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mixed(x: np.ndarray) -> np.ndarray:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def bits(*counters: int | np.ndarray) -> np.ndarray:
    """64 random bits, uint64, for each element of the broadcast counters, slowest-varying first."""
    state = np.zeros(1, np.uint64)
    for counter in counters:
        # Negative numbers wrap as two's complement.
        state = _mixed(state ^ np.asarray(counter, np.int64).astype(np.uint64))
    return state.reshape(np.broadcast_shapes(*(np.shape(counter) for counter in counters)))


def uniform(*counters: int | np.ndarray) -> np.ndarray:
    """Numbers from 0 to less than 1 (float64) for each element of the broadcast counters."""
    return (bits(*counters) >> np.uint64(11)) * 2.0**-53


def permutation(size: int, *counters: int) -> np.ndarray:
    """The numbers from 0 to `size - 1` in a random order, as int64."""
    return np.argsort(bits(*counters, np.arange(size)), kind="stable")
