"""Batches and augmentation of pictures in memory, against the plain way to write them."""

import numpy as np
import pytest

from keras_se.training import augmentation
from keras_se.training.batches import Pictures, one_hot
from keras_se.training.recipe import Recipe

RANDOM = np.random.default_rng(8)
DATA = Pictures(
    RANDOM.integers(0, 256, (53, 9, 7, 3), dtype=np.uint8), RANDOM.integers(0, 7, 53), 7
)
EVERYTHING = ["shift=2", "flip=true", "cutout=4", "cutout_probability=0.5", "mixup=0.2",
              "cutmix=1.0", "label_smoothing=0.1"]  # fmt: skip


def recipe(*settings):
    return Recipe(model="SEResNet20", data="fashion_mnist", batch=8, seed=3).changed(settings)


def test_a_batch_is_a_pure_function_of_seed_epoch_and_step():
    batches = DATA.training(recipe(*EVERYTHING), epoch=2)
    assert len(batches) == 6
    whole = [batches[index] for index in range(6)]
    for index in (5, 0, 3):
        for one, other in zip(batches[index], whole[index], strict=True):
            assert one.dtype == np.float32
            assert one.tobytes() == other.tobytes()
    rest = DATA.training(recipe(*EVERYTHING), epoch=2, first=4)
    assert len(rest) == 2
    assert rest[1][0].tobytes() == whole[5][0].tobytes()
    for other in (
        DATA.training(recipe(*EVERYTHING), epoch=3),
        DATA.training(recipe(*EVERYTHING, "seed=4"), epoch=2),
    ):
        assert (other[0][0] != whole[0][0]).mean() > 0.5


def test_what_is_done_to_a_picture_does_not_depend_on_its_batch():
    settings = EVERYTHING[:4]
    small, large = (DATA.training(recipe(*settings, f"batch={n}"), epoch=1) for n in (8, 16))
    together = np.concatenate([small[0][0], small[1][0]])
    assert together.tobytes() == large[0][0].tobytes()


def test_an_epoch_shows_every_picture_once():
    batches = DATA.training(recipe(), epoch=0)
    shown = np.concatenate([batches[index][0] for index in range(len(batches))])
    originals = {picture.astype("float32").tobytes() for picture in DATA.pictures}
    assert len({picture.tobytes() for picture in shown} & originals) == 48
    labels = np.concatenate([batches[index][1] for index in range(len(batches))]).argmax(1)
    assert (labels == DATA.labels[batches.order[:48]]).all()


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
    result = augmentation.cut_out(DATA.pictures.astype("float32"), side, at, which, value)
    for picture, got, (y, x), cut in zip(DATA.pictures, result, at, which, strict=True):
        expected = picture.astype("float32")
        if cut:
            top, left = int(9 * y) - side // 2, int(7 * x) - side // 2
            bottom, right = max(0, top + side), max(0, left + side)
            expected[max(0, top) : bottom, max(0, left) : right] = value
        np.testing.assert_array_equal(got, expected)


def test_mixup():
    batches = DATA.training(recipe("mixup=0.4", "label_smoothing=0.1"), epoch=0)
    pictures, targets = batches[0]
    plain = DATA.training(recipe("label_smoothing=0.1"), epoch=0)[0]
    partner = [np.roll(part, -1, axis=0)[[-2, *range(-1, 6)]] for part in plain]
    # The share is in the targets of two different classes.
    row = next(n for n in range(8) if plain[1][n].argmax() != partner[1][n].argmax())
    own = plain[1][row].argmax()
    share = (targets[row, own] - partner[1][row, own]) / (0.9)
    assert 0 < share < 1
    for got, one, other in zip((pictures, targets), plain, partner, strict=True):
        np.testing.assert_allclose(got, share * one + (1 - share) * other, rtol=1e-4, atol=1e-3)


def test_cutmix():
    pictures, at = DATA.pictures[:8], np.array([0.5, 0.9])
    partners = np.roll(np.arange(8), 1)
    result, share = augmentation.pasted(pictures, partners, 0.6, at)
    changed = (result != pictures).any(axis=-1)
    from_partner = (result == pictures[partners]).all(axis=-1)
    assert (changed <= from_partner).all()
    rows, columns = np.where(changed.any(axis=0))
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert share == pytest.approx(1 - area / 63)
    assert 0.6 <= share < 1
    nothing, share = augmentation.pasted(pictures, partners, 1.0, at)
    assert share == 1
    np.testing.assert_array_equal(nothing, pictures)
