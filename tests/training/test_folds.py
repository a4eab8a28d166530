"""Cross-validation, and classes of unequal size."""

import csv
import itertools
import time

import keras
import numpy as np
import pytest
import training_runs
from picture_folders import recipe, write

from keras_se.data.labelled import Pictures
from keras_se.training.batches import balanced_order, views
from keras_se.training.compilation import ClassWeighted, SummedSigmoid, balanced_weights
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data
from keras_se.training.run import Run
from keras_se.training.run_files import RunFiles
from keras_se.training.splits import folds_of, lines, split

# 60 pictures of a common class, 7 of another, one of the last.
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 2, 3], [60, 7, 1]))


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_folds_have_equal_shares(folds: int) -> None:
    found = folds_of(LABELS, folds)
    assert found.tolist() == folds_of(LABELS, folds).tolist()
    assert np.ptp(np.bincount(found, minlength=folds)) <= 1
    for label in np.unique(LABELS):
        assert np.ptp(np.bincount(found[label == LABELS], minlength=folds)) <= 1


def several_labels() -> np.ndarray:
    """Of 500 pictures, 20 labels at 15 % and four that five pictures have."""
    random = np.random.default_rng(0)
    labels = (random.random((500, 24)) < 0.15).astype("int64")
    labels[:, 20:] = 0
    for rare in range(20, 24):
        labels[random.choice(500, 5, replace=False), rare] = 1
    return labels


COMBINATIONS = np.array(list(itertools.product((0, 1), repeat=3)))


@pytest.mark.parametrize(
    ("labels", "folds", "bound"),
    [(COMBINATIONS, 2, 0), (COMBINATIONS, 3, 1), (several_labels(), 5, 2)],
    ids=["halves", "thirds", "rare"],
)
def test_folds_of_several_labels(labels: np.ndarray, folds: int, bound: int) -> None:
    """Each label is spread by itself, though no two pictures may have the same ones."""
    found = folds_of(labels, folds)
    assert found.tolist() == folds_of(labels, folds).tolist()
    shares = np.stack([labels[found == fold].sum(axis=0) for fold in range(folds)])
    assert np.ptp(shares, axis=0).max() <= bound
    assert (shares[:, labels.sum(axis=0) == folds] == 1).all()
    assert np.ptp(np.bincount(found, minlength=folds)) <= 1


def test_folds_of_many_pictures() -> None:
    """100,000 with 20 labels in seconds; those without a label are dealt, too."""
    labels = (np.random.default_rng(0).random((100_000, 20)) < 0.15).astype("int64")
    labels[:3] = 0
    began = time.monotonic()
    found = folds_of(labels, 5)
    # It takes one second.
    assert time.monotonic() - began < 30
    assert np.ptp(np.bincount(found)) <= 1
    assert max(np.ptp(np.bincount(found[labels[:, n] > 0])) for n in range(20)) <= 2


def test_every_picture_is_validated_once(tmp_path) -> None:
    write(tmp_path / "train", count=7)
    write(tmp_path / "val", count=2)
    seen = []
    for fold in (1, 2, 3):
        chosen = recipe(tmp_path, "folds=3", f"fold={fold}")
        training, validation, test = split(load_data(chosen, pytest.fail), chosen)
        assert (len(training), len(validation), len(test)) == (14, 7, 6)
        assert np.bincount(validation.labels).max() <= 3
        assert not set(training.keys()) & set(validation.keys())
        assert validation.origin == f"fold {fold} of 3 of {tmp_path / 'train'}"
        seen += validation.keys()
    assert sorted(seen) == sorted(f"train/{name}/{n}.png" for name in "abc" for n in range(7))


def test_folds_without_a_class(tmp_path) -> None:
    """It is said; a single class to train on is refused."""
    write(tmp_path / "train", count=7)
    write(tmp_path / "train", names="d", count=1)
    write(tmp_path / "test", names="abcd", count=1)
    said = []
    for fold in (1, 2, 3):
        chosen = recipe(tmp_path, "folds=3", f"fold={fold}")
        parts = load_data(chosen, pytest.fail)
        said += list(lines(parts, chosen, *split(parts, chosen)))
    assert [line for line in said if line.startswith("no training")] == [
        "no training pictures, since all are held out: d"
    ]
    assert [line for line in said if line.startswith("no validation")] == [
        "no validation pictures, since none are in the fold: d"
    ] * 2
    write(tmp_path / "two" / "train", names="a", count=9)
    write(tmp_path / "two" / "train", names="b", count=1)
    write(tmp_path / "two" / "test", names="ab", count=1)
    parts = load_data(recipe(tmp_path / "two"), pytest.fail)
    (place,) = np.flatnonzero(parts["train"].labels == 1)
    fold = folds_of(parts["train"].labels, 3)[place] + 1
    with pytest.raises(ValueError, match="at least two classes to train on"):
        split(parts, recipe(tmp_path / "two", "folds=3", f"fold={fold}"))


@pytest.mark.parametrize("several", [False, True])
def test_a_class_that_is_all_in_the_held_out_test_fifth(several, tmp_path) -> None:
    write(tmp_path / "data", names="ab", count=7)
    write(tmp_path / "data", names="d", count=1)
    settings = ()
    if several:
        rows = [f"{name}/{n}.png,{name};x" for name in "ab" for n in range(7)]
        (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows, "d/0.png,d;x"]))
        settings = ("labels=separated", "loss=sigmoid")
    data = tmp_path / ("labels.csv" if several else "data")
    for folds in ((), ("folds=3", "fold=1")):
        chosen = recipe(data, *settings, *folds)
        parts = load_data(chosen, pytest.fail)
        assert parts["test"].names[2] == "d"
        found = split(parts, chosen)
        assert ["d/0.png" in "".join(part.keys()) for part in found] == [False, not folds, True]
        said = [line for line in lines(parts, chosen, *found) if line.startswith("no ")]
        assert (
            said
            == [
                "no training pictures, since all are held out: d",
                "no validation pictures, since none are in the fold: d",
            ][: 1 + bool(folds)]
        )


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["a", "b"], ["a", "b"]),
        (["class", "a"], ["0", "1"]),
        (["a", "picture"], ["0", "1"]),
    ],
)
def test_columns_of_the_predictions_differ(names, columns, tmp_path) -> None:
    """Classes may be called as the first columns."""
    data = Pictures(np.zeros((2, 4, 4, 1), "uint8"), np.array([1, 0]), names)
    RunFiles(tmp_path, settings(), True).write_predictions(data, np.zeros((2, 2)))
    assert out_of_fold(tmp_path) == [
        ["picture", "class", *columns], ["0", names[1], "0.5", "0.5"], ["1", names[0], "0.5", "0.5"]
    ]  # fmt: skip


def out_of_fold(folder) -> list[list[str]]:
    with open(folder / "out_of_fold.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.training
def test_predictions_of_a_fold(tmp_path) -> None:
    """Each with the picture's name; the same bytes in a second run."""
    write(tmp_path / "data", count=8)
    settings = ("epochs=1", "folds=2", "loss=sigmoid")
    keys = []
    for fold in (1, 2):
        chosen = recipe(tmp_path / "data", *settings, f"fold={fold}")
        results = Run(chosen, tmp_path / f"run{fold}").train()
        head, *rows = out_of_fold(tmp_path / f"run{fold}")
        assert head == ["picture", "class", "a", "b", "c"]
        assert all(row[0].split("/")[0] == row[1] for row in rows)
        assert all(0 < float(value) < 1 for row in rows for value in row[2:])
        keys += [row[0] for row in rows]
    assert len(keys) == len(set(keys)) == len(load_data(chosen, pytest.fail)["train"])
    Run(chosen, tmp_path / "again").train()
    assert (tmp_path / "again" / "out_of_fold.csv").read_bytes() == (
        tmp_path / "run2" / "out_of_fold.csv"
    ).read_bytes()
    model = keras.saving.load_model(tmp_path / "run2" / "last.keras")
    _, validation, _ = split(load_data(chosen, pytest.fail), chosen)
    (batch,) = validation.evaluation(len(validation))
    logits = model.predict(batch, verbose=0)
    # The file has seven digits of a float32 computation in batches of another size.
    np.testing.assert_allclose(
        [[float(value) for value in row[2:]] for row in rows], 1 / (1 + np.exp(-logits)), rtol=1e-4
    )
    assert results["test"]


def settings(*changes: str) -> Recipe:
    return Recipe(model="SEResNet20", data="fashion_mnist", batch=4, seed=3).changed(changes)


@pytest.mark.parametrize("repeats", [1, 2])
def test_balanced_sampling(repeats: int) -> None:
    """Classes are shown equally often; a picture is augmented differently each time."""
    found = views(settings("sampling=balanced", f"repeats={repeats}"), 5, LABELS)
    shown = found.ravel() % len(LABELS)
    counts = np.bincount(LABELS[shown])
    assert found.shape == (len(LABELS) // 4, 4)
    assert counts[1] == 0
    assert np.ptp(counts[[0, 2, 3]]) <= 2 * repeats
    assert len(np.unique(found)) == found.size
    if repeats == 2:
        # Both views of a picture in a batch, not beside each other.
        pairs = found.reshape(-1, 2, 2) % len(LABELS)
        assert (pairs[:, 0] == pairs[:, 1]).all()
    common = np.bincount(shown[LABELS[shown] == 0], minlength=len(LABELS))
    assert common.max() == repeats
    other = views(settings("sampling=balanced"), 6, LABELS)
    assert (other % len(LABELS) != found % len(LABELS)).mean() > 0.3


def test_balanced_sampling_of_equal_classes() -> None:
    """Every picture once, as without it."""
    labels = np.repeat(np.arange(4), 6)
    assert sorted(balanced_order(labels, 1, 2, 1).tolist()) == list(range(24))


def test_class_weights() -> None:
    weights = balanced_weights(LABELS, 5)
    assert weights == pytest.approx([68 / 180, 0, 68 / 21, 68 / 3, 0])
    assert np.array(weights)[LABELS].mean() == pytest.approx(1)


LOSSES = [("softmax", None), ("sigmoid", None), ("sigmoid", 0.2)]


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize(("kind", "threshold"), LOSSES)
def test_weighted_loss(kind: str, threshold: float | None, smoothing: float) -> None:
    """The term of each class of a mixed picture counts by its own weight."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 5)).astype("float32")
    shares = random.dirichlet(np.ones(5), 6).astype("float32")
    weights = np.array(balanced_weights(LABELS, 5))
    loss = ClassWeighted(kind, weights.tolist(), smoothing, threshold)
    targets = shares * np.float32(1 - smoothing) + np.float32(smoothing / 5)
    expected = []
    for own, y, x in zip(shares, targets, logits.astype("float64"), strict=True):
        # Row k: the targets of a picture of class k alone, weighted.
        parts = (own * weights)[:, None] * ((1 - smoothing) * np.eye(5) + smoothing / 5)
        present, absent = parts.sum(0), (sum(own * weights) - parts.sum(0))
        p = 1 / (1 + np.exp(-x))
        if kind == "softmax":
            expected.append(-sum(present * np.log(np.exp(x) / np.exp(x).sum())))
        elif threshold is None:
            expected.append(-sum(present * np.log(p) + absent * np.log(1 - p)))
        else:
            terms = present / y * np.log(p), absent / (1 - y) * np.log(1 - p)
            expected.append(-sum(np.where(y > threshold, *terms)))
    # Sums of float32 in another order.
    assert float(loss(targets, logits)) == pytest.approx(np.mean(expected), rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(targets, logits)) == float(loss(targets, logits))


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize(("kind", "threshold"), LOSSES)
def test_weighted_loss_of_one_class(kind: str, threshold: float | None, smoothing: float) -> None:
    """The loss itself times the weight of the class."""
    logits = np.random.default_rng(0).normal(size=(5, 5)).astype("float32")
    targets = np.eye(5, dtype="float32") * np.float32(1 - smoothing) + np.float32(smoothing / 5)
    plain = SummedSigmoid(threshold, reduction=None)
    if kind == "softmax":
        plain = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)
    weights = balanced_weights(LABELS, 5)
    loss = ClassWeighted(kind, weights, smoothing, threshold, reduction=None)
    np.testing.assert_allclose(
        loss(targets, logits), plain(targets, logits) * np.array(weights), rtol=1e-5, atol=1e-6
    )


MISTAKES = {
    "fold alone": (("fold=1",), "`fold` must be from 1 to `folds`"),
    "folds alone": (("folds=3",), "`fold` must be from 1 to `folds`"),
    "too high": (("folds=3", "fold=4"), "`fold` must be from 1 to `folds`"),
    "zero": (("folds=3", "fold=0"), "`fold` must be null or an integer of at least 1"),
    "one fold": (("folds=1", "fold=1"), "`folds` must be null or an integer of at least 2"),
    "held out": (("folds=3", "fold=1", "held_out=4"), "`held_out` must be 0 with `fold`"),
    "twice": (("sampling=balanced", "class_weights=balanced"), "`class_weights` must be null"),
    "sampling": (("sampling=weighted",), "`sampling` must be one of"),
    "weights": (("class_weights=[1]",), "`class_weights` must be one of"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    changes, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        settings(*changes)


@pytest.mark.training
@pytest.mark.parametrize("balance", ["sampling", "class_weights"])
def test_resumed_bit_for_bit(balance: str, tmp_path) -> None:
    import fashion_mnist_files

    data = fashion_mnist_files.write(tmp_path / "fashion")
    chosen = training_runs.recipe(data, "held_out=0", "folds=4", "fold=2", f"{balance}=balanced")
    whole, resumed = training_runs.whole_and_resumed(chosen, tmp_path)
    assert whole == resumed
    assert out_of_fold(tmp_path / "whole") == out_of_fold(tmp_path / "run")
