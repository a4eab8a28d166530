"""RandAugment: what each operation does to a picture, and what is drawn."""

import numpy as np
import pytest

from keras_se.training.batches import randomly_augmented
from keras_se.training.rand_augment import (
    ONE_WAY,
    OPERATIONS,
    TWO_WAYS,
    operated,
    rand_augmented,
)
from keras_se.training.recipe import Recipe

# Those whose strength is not the magnitude's.
WITHOUT_LEVEL = {"identity", "auto_contrast", "equalize"}
KEYS = range(2000)


def picture(channels):
    """A smooth picture of an odd size, with noise, on which every operation is seen."""
    y, x = np.mgrid[:17, :22]
    planes = [60 + 8 * y + 2 * x, 90 + 5 * x - y, 70 + 2 * x + 6 * y][:channels]
    noise = np.random.default_rng(1).integers(0, 12, (17, 22, channels))
    return (np.stack(planes, -1) + noise).astype("uint8")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, channels):
    """Each one changes a picture, more at a higher level, and keeps its shape and type."""
    before = picture(channels)
    kept = before.copy()
    distances = []
    for level in (0.0, 0.3, 1.0, *((-1.0,) if name in TWO_WAYS else ())):
        after = operated(before, name, level)
        assert after.shape == before.shape
        assert after.dtype == np.uint8
        distances.append(np.abs(after.astype(int) - before).mean())
    np.testing.assert_array_equal(before, kept)
    if name == "identity" or (name == "color" and channels == 1):
        assert max(distances) == 0
    elif name in WITHOUT_LEVEL:
        assert min(distances) == max(distances) > 1
    else:
        assert distances[0] == 0
        assert distances[0] < distances[1] < distances[2]
        assert min(distances[2:]) > 1


def test_operations_of_known_outcome():
    """Against NumPy, at the end of the range."""
    x = picture(3)
    y, width, height = x.astype(int), 22, 17
    np.testing.assert_array_equal(operated(x, "solarize", 0.5), np.where(y < 128, y, 255 - y))
    np.testing.assert_array_equal(operated(x, "solarize", 1.0), 255 - y)
    np.testing.assert_array_equal(operated(x, "posterize", 1.0), y // 16 * 16)
    # Factors of 1.9 and 0.1, cut off.
    np.testing.assert_allclose(
        operated(x, "brightness", 1.0), np.minimum(1.9 * y, 255), rtol=0, atol=1
    )
    np.testing.assert_allclose(operated(x, "brightness", -1.0), 0.1 * y, rtol=0, atol=1)
    # A whole number of pixels: 2 of 22, and 4 of 17 from the other side.
    moved = operated(x, "translate_x", 2 / (0.45 * width))
    np.testing.assert_array_equal(moved[:, :-2], x[:, 2:])
    np.testing.assert_array_equal(moved[:, -2:], 128)
    moved = operated(x, "translate_y", -4 / (0.45 * height))
    np.testing.assert_array_equal(moved[4:], x[:-4])
    np.testing.assert_array_equal(moved[:4], 128)
    # Around the middle; interpolated between pixels.
    rows, columns = np.mgrid[5:12, 7:15]
    right, down = columns + 0.5 - width / 2, rows + 0.5 - height / 2
    sine, cosine = 0.5, np.sqrt(0.75)
    for name, at_right, at_down in (
        ("rotate", cosine * right - sine * down, sine * right + cosine * down),
        ("shear_x", right + 0.3 * down, down),
        ("shear_y", right, down + 0.3 * right),
    ):
        column, row = at_right + width / 2 - 0.5, at_down + height / 2 - 0.5
        left, top = np.floor(column).astype(int), np.floor(row).astype(int)
        across, along = (column - left)[..., None], (row - top)[..., None]
        upper = (1 - across) * x[top, left] + across * x[top, left + 1]
        lower = (1 - across) * x[top + 1, left] + across * x[top + 1, left + 1]
        expected = (1 - along) * upper + along * lower
        got = operated(x, name, 1.0)[5:12, 7:15]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1, err_msg=name)


def drawn(monkeypatch, *arguments):
    """Names and levels of what `rand_augmented` does, for each of `KEYS`."""
    from keras_se.training import rand_augment

    done = []
    monkeypatch.setattr(
        rand_augment, "operated", lambda x, name, level: done.append((name, level)) or x
    )
    for key in KEYS:
        rand_augmented(picture(1), *arguments, key)
    return done


def test_draws(monkeypatch):
    done = drawn(monkeypatch, 2, 7, 0.0, 1.0)
    assert len(done) == 2 * len(KEYS)
    names = [name for name, _ in done]
    # Four standard deviations of a binomial share.
    expected = len(done) / len(OPERATIONS)
    assert len(OPERATIONS) == 14
    for name in OPERATIONS:
        assert names.count(name) == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert {round(level, 6) for name, level in done if name in ONE_WAY} == {0.7}
    levels = [level for name, level in done if name in TWO_WAYS]
    assert {round(level, 6) for level in levels} == {-0.7, 0.7}
    assert abs(np.mean(np.sign(levels))) < 4 / np.sqrt(len(levels))


def test_deviation_and_probability(monkeypatch):
    done = drawn(monkeypatch, 1, 7, 0.5, 0.5)
    assert len(done) == pytest.approx(len(KEYS) / 2, abs=4 * np.sqrt(len(KEYS) / 4))
    levels = np.abs([level for _, level in done])
    assert levels.mean() == pytest.approx(0.7, abs=4 * 0.05 / np.sqrt(len(done)))
    assert levels.std() == pytest.approx(0.05, rel=0.1)
    levels = np.abs([level for _, level in drawn(monkeypatch, 1, 10, 5.0, 1.0)])
    assert levels.min() == 0
    assert levels.max() == 1


def test_magnitude_of_zero():
    """Nothing but what has no magnitude."""
    x = picture(3)
    possible = {operated(x, name, 0.0).tobytes() for name in WITHOUT_LEVEL}
    got = {rand_augmented(x, 1, 0, 0.0, 1.0, key).tobytes() for key in range(100)}
    assert got == possible
    assert rand_augmented(x, 3, 9, 0.5, 0.0, 1).tobytes() == x.tobytes()


def test_other_channels():
    with pytest.raises(ValueError, match=r"neither gray nor RGB\. Received: 4 channels$"):
        rand_augmented(np.zeros((5, 5, 4), "uint8"), 1, 9, 0.0, 1.0, 1)


def test_a_picture_is_a_pure_function_of_seed_epoch_and_view():
    recipe = Recipe(model="SEResNet20", data="cifar10", seed=3, rand_augment=2)
    x = picture(3)
    expected = [randomly_augmented(x, recipe, 1, view).tobytes() for view in range(20)]
    again = [randomly_augmented(x, recipe, 1, view).tobytes() for view in reversed(range(20))]
    assert again[::-1] == expected
    assert len(set(expected)) > 15
    for changed, epoch in ((recipe, 2), (recipe.changed(["seed=4"]), 1)):
        other = [randomly_augmented(x, changed, epoch, view).tobytes() for view in range(20)]
        assert sum(one == two for one, two in zip(other, expected, strict=True)) < 5
