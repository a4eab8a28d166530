"""Batches and augmentation of pictures in memory, against the plain way to write them."""

import numpy as np
import pytest

from keras_se.data.labelled import Pictures, streamed
from keras_se.training import augmentation
from keras_se.training.batches import one_hot
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import training_batches

RANDOM = np.random.default_rng(8)
DATA = Pictures(
    RANDOM.integers(0, 256, (53, 9, 7, 3), dtype=np.uint8),
    RANDOM.integers(0, 7, 53),
    list("abcdefg"),
)
EVERYTHING = ["shift=2", "flip=true", "rand_augment=2", "repeats=2", "cutout=4",
              "cutout_probability=0.5", "mixup=0.2", "cutmix=1.0",
              "label_smoothing=0.1", "random_erasing=0.5"]  # fmt: skip


def recipe(*settings):
    return Recipe(model="SEResNet20", data="fashion_mnist", batch=8, seed=3).changed(settings)


def test_a_batch_is_a_pure_function_of_seed_epoch_and_step():
    batches = training_batches(DATA, recipe(*EVERYTHING), epoch=2)
    assert len(batches) == 6
    whole = [batches[index] for index in range(6)]
    for index in (5, 0, 3):
        for one, other in zip(batches[index], whole[index], strict=True):
            assert one.dtype == np.float32
            assert one.tobytes() == other.tobytes()
    rest = training_batches(DATA, recipe(*EVERYTHING), epoch=2, first=4)
    assert len(rest) == 2
    assert rest[1][0].tobytes() == whole[5][0].tobytes()
    for other in (
        training_batches(DATA, recipe(*EVERYTHING), epoch=3),
        training_batches(DATA, recipe(*EVERYTHING, "seed=4"), epoch=2),
    ):
        assert (other[0][0] != whole[0][0]).mean() > 0.5


def test_what_is_done_to_a_picture_does_not_depend_on_its_batch():
    settings = [*EVERYTHING[:3], *EVERYTHING[4:6]]
    small, large = (
        training_batches(DATA, recipe(*settings, f"batch={n}"), epoch=1) for n in (8, 16)
    )
    together = np.concatenate([small[0][0], small[1][0]])
    assert together.tobytes() == large[0][0].tobytes()


def test_an_epoch_shows_every_picture_once():
    batches = training_batches(DATA, recipe(), epoch=0)
    shown = np.concatenate([batches[index][0] for index in range(len(batches))])
    originals = {picture.astype("float32").tobytes() for picture in DATA.pictures}
    assert len({picture.tobytes() for picture in shown} & originals) == 48
    labels = np.concatenate([batches[index][1] for index in range(len(batches))]).argmax(1)
    assert (labels == DATA.labels[batches.views.ravel()]).all()


@pytest.mark.parametrize("first", [0, 4])
def test_streamed_batches(first):
    batches = training_batches(DATA, recipe(*EVERYTHING), epoch=2, first=first)
    data = streamed(batches)
    assert data.cardinality() == len(list(data)) == len(batches) == 6 - first
    for index, received in enumerate(data.as_numpy_iterator()):
        for one, other in zip(received, batches[index], strict=True):
            assert one.tobytes() == other.tobytes()
    # Else `fit` waits for the thread that tunes, for as long as it took itself.
    assert data.options().autotune.enabled is False
    assert streamed(data.take(1)).options().autotune.enabled is False


def test_repeats():
    """A picture is in a batch several times, each in another way, beside others and its label."""
    settings = recipe("batch=12", "repeats=3", "flip=true", "shift=2", "rand_augment=2")
    batches, plain = (
        training_batches(DATA, settings, 1),
        training_batches(DATA, recipe("batch=12"), 1),
    )
    assert len(batches) == len(plain) == 4
    seen = []
    for step in range(4):
        pictures, targets = batches[step]
        chosen = batches.views[step] % 53
        seen += chosen[:4].tolist()
        np.testing.assert_array_equal(chosen, np.tile(chosen[:4], 3))
        assert (targets.argmax(1) == DATA.labels[chosen]).all()
        repeats = pictures.reshape(3, 4, -1)
        assert (repeats[0] != repeats[1]).any(1).all()
        assert (repeats[0] != repeats[2]).any(1).all()
        assert (chosen != np.roll(chosen, 1)).all(), "a picture is mixed with itself"
    assert len(set(seen)) == 16
    # The first of them is as without repeats.
    once = recipe("batch=12", "flip=true", "shift=2", "rand_augment=2")
    assert batches[0][0][:4].tobytes() == training_batches(DATA, once, 1)[0][0][:4].tobytes()


def test_rand_augment_is_on_whole_numbers():
    pictures, targets = training_batches(DATA, recipe("rand_augment=2"), 0)[0]
    plain, labels = training_batches(DATA, recipe(), 0)[0]
    np.testing.assert_array_equal(pictures, pictures.round())
    assert pictures.min() >= 0
    assert pictures.max() <= 255
    assert (pictures != plain).any((1, 2, 3)).sum() >= 4
    np.testing.assert_array_equal(targets, labels)


def test_evaluation_fills_the_last_batch_up():
    batches = DATA.evaluation(20)
    assert len(batches) == 3
    pictures = np.concatenate([batches[index][0] for index in range(3)])
    assert pictures.shape == (60, 9, 7, 3)
    assert (pictures[:53] == DATA.pictures).all()


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    smoothed = one_hot(np.array([2]), 4, 0.1)
    np.testing.assert_allclose(smoothed, [[0.025, 0.025, 0.925, 0.025]], rtol=1e-6)


def test_shifted():
    at = RANDOM.random((53, 2))
    at[:2] = [[0, 0.999], [0.5, 0.5]]
    result = augmentation.shifted(DATA.pictures, 2, at)
    for picture, got, (y, x) in zip(DATA.pictures, result, at, strict=True):
        padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)))
        top, left = int(5 * y), int(5 * x)
        np.testing.assert_array_equal(got, padded[top : top + 9, left : left + 7])
    np.testing.assert_array_equal(result[1], DATA.pictures[1])


def test_flipped():
    which = RANDOM.random(53) < 0.5
    result = augmentation.flipped(DATA.pictures, which)
    for picture, got, flip in zip(DATA.pictures, result, which, strict=True):
        np.testing.assert_array_equal(got, picture[:, ::-1] if flip else picture)


@pytest.mark.parametrize("side", [1, 4, 5, 20])
def test_cut_out(side):
    at, which = RANDOM.random((53, 2)), RANDOM.random(53) < 0.7
    value = np.array([1000.0, 2000.0, 3000.0], "float32")
    windows = augmentation.cut_out(DATA.shape, side, at, which)
    result = augmentation.filled(DATA.pictures.astype("float32"), windows, value)
    for picture, got, (y, x), cut in zip(DATA.pictures, result, at, which, strict=True):
        expected = picture.astype("float32")
        if cut:
            top, left = int(9 * y) - side // 2, int(7 * x) - side // 2
            bottom, right = max(0, top + side), max(0, left + side)
            expected[max(0, top) : bottom, max(0, left) : right] = value
        np.testing.assert_array_equal(got, expected)


def test_randomly_erased():
    """Against Algorithm 1 of Random Erasing, one picture at a time."""
    sizes, at = RANDOM.random((53, 4, 2)), RANDOM.random((53, 2))
    which = RANDOM.random(53) < 0.7
    sizes[:2, 0] = 1, 0  # 3 x 9
    sizes[0], sizes[1, 1], which[:2] = (1, 0), 0.5, True
    value = np.array([1000.0, 2000.0, 3000.0], "float32")
    windows = augmentation.randomly_erased(DATA.shape, sizes, at, which)
    result = augmentation.filled(DATA.pictures.astype("float32"), windows, value)
    erased = 0
    for n, picture in enumerate(DATA.pictures.astype("float32")):
        expected = picture.copy()
        for share, aspect in sizes[n] if which[n] else ():
            area, ratio = 63 * (0.02 + 0.38 * share), 0.3 + (1 / 0.3 - 0.3) * aspect
            height, width = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if 1 <= height <= 9 and 1 <= width <= 7:
                top, left = int(at[n, 0] * (10 - height)), int(at[n, 1] * (8 - width))
                expected[top : top + height, left : left + width] = value
                erased += 1
                break
        np.testing.assert_array_equal(result[n], expected)
    assert 0 < erased < which.sum()
    assert (result[0] == DATA.pictures[0]).all()
    assert (result[1] != DATA.pictures[1]).any()


def test_random_erasing_of_a_recipe():
    """That share of the pictures has a rectangle of the mean colour; the rest are as without it."""
    data = Pictures(RANDOM.integers(0, 256, (800, 28, 28, 1), np.uint8), np.arange(800) % 3, "abc")
    plain, settings = recipe("batch=800"), recipe("batch=800", "random_erasing=0.25")
    before, after = (training_batches(data, r, 0)[0][0] for r in (plain, settings))
    changed = (before != after).any(-1).mean((1, 2))
    # Four standard errors of 800 draws.
    assert abs((changed > 0).mean() - 0.25) < 4 * (0.25 * 0.75 / 800) ** 0.5
    assert np.unique(after[before != after]) == data.mean
    # Sides are whole pixels, and a value or two may be the mean before.
    assert 0.01 < changed[changed > 0].min() < 0.05
    assert 0.35 < changed.max() < 0.45


MIXES = [augmentation.draw_mix(0.4, 1.0, 9, 7, key) for key in range(400)]
TARGETS = one_hot(DATA.labels, 7, 0.1)


def test_mixup():
    mix = next(mix for mix in MIXES if mix.own < 1)
    assert mix.own == mix.target
    pictures, targets = augmentation.mixed(DATA.pictures, TARGETS, mix)
    for n in range(53):
        for got, values in ((pictures, DATA.pictures), (targets, TARGETS)):
            expected = mix.own * values[n] + (1 - mix.own) * values[n - 1]
            np.testing.assert_allclose(got[n], expected, rtol=1e-6)


def test_cutmix():
    mix = next(mix for mix in MIXES if 0.3 < mix.target < 0.7 and mix.own == 1)
    pictures, targets = augmentation.mixed(DATA.pictures, TARGETS, mix)
    top, bottom, left, right = mix.window
    inside = np.zeros((9, 7, 1), bool)
    inside[top:bottom, left:right] = True
    assert mix.target == pytest.approx(1 - inside.mean())
    for n in range(53):
        expected = np.where(inside, DATA.pictures[n - 1], DATA.pictures[n])
        np.testing.assert_array_equal(pictures[n], expected)
        expected = mix.target * TARGETS[n] + (1 - mix.target) * TARGETS[n - 1]
        np.testing.assert_allclose(targets[n], expected, rtol=1e-6)


def test_shares_of_mixes():
    """Half of each kind; the shares are of Beta distributions, clipped windows apart."""
    own = [mix.own for mix in MIXES if mix.own < 1]
    # Four standard errors of 400 coins.
    assert abs(len(own) - 200) < 4 * 10
    assert abs(np.mean(own) - 0.5) < 4 * np.std(own) / np.sqrt(len(own))
    # Beta(0.4, 0.4) has a variance of 1/7.2.
    assert np.var(own) == pytest.approx(1 / 7.2, rel=0.2)
    pasted = [mix.target for mix in MIXES if mix.own == 1]
    assert min(pasted) < 0.4
    assert max(pasted) > 0.95
    only = [augmentation.draw_mix(0, 1.0, 9, 7, key).own for key in range(20)]
    assert only == [1.0] * 20


@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_make_up_the_batch(count):
    """Also where a picture is mixed with one of another part."""
    settings = recipe(*EVERYTHING)
    whole = training_batches(DATA, settings, epoch=1, first=2)
    parts = [
        training_batches(DATA, settings, epoch=1, first=2, part=(n, count)) for n in range(count)
    ]
    for step in range(len(whole)):
        for n, values in enumerate(whole[step]):
            joined = np.concatenate([part[step][n] for part in parts])
            assert joined.tobytes() == values.tobytes()
