"""Average precision, against its definition and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from keras_se.training.figures import figures
from keras_se.training.label_figures import average_precision, average_precisions, label_figures


def test_by_hand():
    """Ranks 1 and 3 of four are right: precision 1 and 2/3, each for half of the recall."""
    scores, truth = np.array([0.9, 0.1, 0.5, 0.7]), np.array([1, 0, 1, 0])
    assert average_precision(scores, truth) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # All equal: one threshold, whose precision is the share of the class, in any order.
    for order in ([1, 0, 0, 0], [0, 0, 0, 1]):
        assert average_precision(np.zeros(4), np.array(order)) == 0.25
    assert average_precision(scores, np.ones(4, int)) == 1
    assert average_precision(scores, np.zeros(4, int)) is None


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_as_scikit_learn(levels):
    """With many ties and without."""
    random = np.random.default_rng(levels)
    for _ in range(20):
        count = int(random.integers(1, 60))
        scores = random.integers(0, levels, count).astype("float64")
        truth = random.random(count) < random.random()
        truth[random.integers(count)] = True
        expected = average_precision_score(truth, scores)
        assert average_precision(scores, truth.astype(int)) == pytest.approx(expected, abs=1e-12)


def test_classes_that_no_picture_has():
    """They are left out of the mean, and counted."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(30, 4)), random.integers(0, 2, (30, 4))
    labels[:, 2] = 0
    found = label_figures(logits, labels)
    rest = [0, 1, 3]
    assert found["classes_left_out"] == 1
    assert found["mean_average_precision"] == pytest.approx(
        average_precision_score(labels[:, rest], logits[:, rest], average="macro")
    )
    assert average_precisions(logits, labels)[2] is None
    chances = 1 / (1 + np.exp(-logits))
    losses = -labels * np.log(chances) - (1 - labels) * np.log(1 - chances)
    assert found["cross_entropy"] == pytest.approx(losses.sum(1).mean())
    assert figures(logits, labels, "sigmoid") == found
    # Without overflow.
    assert label_figures(np.full((1, 2), 1e4), np.array([[1, 1]]))["cross_entropy"] == 0
