"""Random numbers as a pure function of their counters."""

import numpy as np
import pytest

from keras_se.data.randomness import bits, permutation, uniform


def splitmix64(state):
    """The generator as its authors write it: the next number and the next state."""
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@pytest.mark.parametrize("counters", [(0,), (1, 2), (7, 0, 123456789), (2**40, 5, 2**62, 3)])
def test_bits_are_chained_splitmix64(counters):
    expected = 0
    for counter in counters:
        expected = splitmix64(expected ^ counter)
    assert int(bits(*counters)) == expected


def test_one_number_does_not_depend_on_the_others():
    all_of_them = uniform(3, 1, np.arange(100)[:, None], np.arange(4))
    assert all_of_them.shape == (100, 4)
    assert uniform(3, 1, np.array([42]), 2)[0] == all_of_them[42, 2]
    assert len(np.unique(all_of_them)) == 400


def test_numbers_are_uniform():
    numbers = uniform(5, 0, np.arange(200_000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, 50, (0, 1))[0]
    # Chi squared of 49 degrees of freedom: 85.4 at one in a thousand.
    assert ((counts - 4000) ** 2 / 4000).sum() < 85.4
    # Neighbouring counters have nothing to do with each other: four standard errors.
    for other in (uniform(5, 1, np.arange(200_000)), uniform(6, 0, np.arange(200_000))):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 4 / np.sqrt(200_000)
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 4 / np.sqrt(200_000)


def test_permutation():
    orders = [permutation(1000, 1, epoch) for epoch in range(2)]
    for order in orders:
        assert sorted(order) == list(range(1000))
    assert (orders[0] != orders[1]).mean() > 0.9
    assert (permutation(1000, 1, 0) == orders[0]).all()
