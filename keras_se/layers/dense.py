"""The classifier: Keras' `Dense` plus the meaning of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_se.checks import one_of
from keras_se.layers import _records

# Name of the classifier in every network.
HEAD = "predictions"
SCORES = (None, "softmax", "sigmoid")


@keras.saving.register_keras_serializable(package="keras_se")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` that knows its classes.

    It computes the same as Keras' layer, and weight files are the same. `.keras` and `.weights.h5`
    files store the labels and scores; loading a `.weights.h5` file of a classifier for other
    classes raises an error.

    Args:
        units: Number of outputs, as for `keras.layers.Dense`.
        labels: Class names, one per output, or the name of a data set such as `"imagenet"`. A
            single sigmoid is the probability of the one class that is named. Defaults to `None`:
            unknown.
        scores: Function that turns outputs without an activation into probabilities: `"softmax"`
            (one class is right), `"sigmoid"` (each class by itself), or `None` (default): unknown.
        **kwargs: As for `keras.layers.Dense`.

    Input shape:
        `(batch, ..., features)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If `scores` is not one of the above, or the labels are not `units` names.

    Example:

    >>> layer = keras_se.layers.Dense(2, labels=["cat", "dog"], scores="softmax")
    >>> layer.labels
    ('cat', 'dog')
    """

    def __init__(
        self,
        units: int,
        *,
        labels: Sequence[str] | str | None = None,
        scores: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        one_of(*SCORES)("scores", scores)
        self.labels = labels if labels is None or isinstance(labels, str) else tuple(labels)
        self.scores = scores
        if isinstance(self.labels, tuple) and len(self.labels) != self.units:
            raise ValueError(
                f"`labels` must be {self.units} names, one per unit. "
                f"Received: {len(self.labels)} names"
            )

    def record(self) -> dict[str, Any]:
        """Return the labels and scores as JSON values."""
        labels = self.labels
        return {
            "labels": list(labels) if isinstance(labels, tuple) else labels,
            "scores": self.scores,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.record()}

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.labels is not None or self.scores is not None:
            _records.write(store, self.record())

    def load_own_variables(self, store: Any) -> None:
        record = _records.read(store) or {}
        own, labels = self.record(), record.get("labels")
        if labels is not None and own["labels"] is not None and labels != own["labels"]:
            raise ValueError(
                f"the weights belong to a classifier for {_short(labels)}. "
                f"Received: a classifier for {_short(own['labels'])}"
            )
        super().load_own_variables(_records.Variables(store))
        if own["labels"] is None and labels is not None:
            self.labels = labels if isinstance(labels, str) else tuple(labels)
        self.scores = self.scores or record.get("scores")


def _short(labels: Any) -> str:
    if isinstance(labels, str):
        return f"the classes of {labels}"
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
