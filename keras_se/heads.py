"""`with_new_head`: replace the classifier of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_se.checks import positive_integer
from keras_se.graph.trace import check_one_output, recursion
from keras_se.inspection import ends_in_dense, without_classifier
from keras_se.layers import Dense
from keras_se.layers._arguments import HALF_PRECISION, get_activation
from keras_se.layers._ranks import rank_of, ranked


def with_new_head(
    model: keras.Model,
    classes: int,
    *,
    labels: Sequence[str] | None = None,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> keras.Model:
    """Replace the classifier of a trained network.

    The last dense layer is replaced by a new one with random weights; if there is no classifier,
    one is added to the output, after global average pooling if that is feature maps. All other
    layers are shared with the model: training one trains the other.

    Args:
        model: A functional model such as `keras_se.SEResNet50()`.
        classes: Number of classes, at least 1.
        labels: Their names, or `None` (default). They are saved with the model.
        classifier_activation: Activation of the new layer; `None` gives logits. Defaults to
            `"softmax"`.
        name: Name of the new model. Defaults to the model's.

    Returns:
        A functional `keras.Model`, `(batch, classes)` out.

    Raises:
        ValueError: If the model is not supported, or `labels` are not `classes` names.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> keras_se.with_new_head(model, 3, labels=["shirt", "shoe", "bag"]).output_shape
    (None, 3)
    """
    positive_integer("classes", classes)
    activation = get_activation("classifier_activation", classifier_activation)
    check_one_output(model)
    headless = without_classifier(model)
    x = headless.outputs[0]
    if len(x.shape) > 2:
        x = ranked("GlobalAveragePooling", rank_of(x))(name="new_avg_pool")(x)
    half = keras.config.dtype_policy().compute_dtype in HALF_PRECISION
    taken, replaced = {layer.name for layer in model.layers}, ends_in_dense(model)
    new = Dense(
        classes,
        activation=activation,
        labels=labels,
        dtype="float32" if half else None,
        name="predictions" if replaced or "predictions" not in taken else None,
    )
    with recursion(2 * len(model.layers)):
        return keras.Model(headless.inputs, new(x), name=name or model.name)
