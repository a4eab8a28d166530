"""What three layers compute on the backend of this process, and what holds of it on every one."""

import keras
import numpy as np
import pytest

from keras_se.layers import ChannelShuffle, ShakeShake, StochasticDepth

# One multiplication and two sums in float32 of numbers of the order of one.
TOLERANCE = 1e-5
SHAPES = {"channels_last": (2, 3, 4, 12), "channels_first": (2, 12, 3, 4)}
GROUPS = (1, 2, 3, 4)
RATES = (0.0, 0.1, 0.5, 0.9)
DRAWS = 4000
# Four standard errors of a share of so many draws.
SHARE_TOLERANCE = 4 * 0.5 / np.sqrt(DRAWS)
# A division in float32.
ROUNDING = 1e-6


def shaken(backward, shape=(6, 3, 4, 5), seed=1):
    """Two branches, what comes of them in training, and the gradients, on this backend."""
    random = np.random.default_rng(0)
    first, second, upstream = (random.normal(size=shape).astype("float32") for _ in range(3))
    layer = ShakeShake(backward, seed=seed)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = [tf.constant(first), tf.constant(second)]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        gradients = tape.gradient(y, x, output_gradients=tf.constant(upstream))
    elif backend == "torch":
        x = [keras.ops.convert_to_tensor(branch).requires_grad_() for branch in (first, second)]
        y = layer(x, training=True)
        y.backward(keras.ops.convert_to_tensor(upstream))
        gradients = [branch.grad for branch in x]
    else:
        import jax

        y, pull_back = jax.vjp(lambda *x: layer(list(x), training=True), first, second)
        gradients = pull_back(upstream)
    rest = map(keras.ops.convert_to_numpy, (y, *gradients, layer([first, second])))
    names = ("value", "first_gradient", "second_gradient", "mean")
    return {"first": first, "second": second, "upstream": upstream} | dict(
        zip(names, rest, strict=True)
    )


def assert_shaken(arrays, backward):
    """Check the arrays, and return each picture's alpha and beta."""
    first, second = arrays["first"], arrays["second"]
    difference = (first - second).astype("float64")
    pictures = tuple(range(1, first.ndim))
    # The factors of each picture that fit best, in the value and in its gradient.
    alpha = ((arrays["value"] - second) * difference).sum(pictures) / (difference**2).sum(pictures)
    upstream = arrays["upstream"].astype("float64")
    beta = (arrays["first_gradient"] * upstream).sum(pictures) / (upstream**2).sum(pictures)
    a, b = (factor.reshape(-1, *(1,) * len(pictures)) for factor in (alpha, beta))
    for name, expected in {
        "value": a * first + (1 - a) * second,
        "first_gradient": b * upstream,
        "second_gradient": (1 - b) * upstream,
        "mean": (first + second) / 2,
    }.items():
        np.testing.assert_allclose(arrays[name], expected, rtol=0, atol=TOLERANCE, err_msg=name)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert np.diff(np.sort(alpha)).min() > TOLERANCE, "pictures share their alpha"
    if backward == "even":
        np.testing.assert_allclose(beta, 0.5, atol=TOLERANCE)
    else:
        assert ((beta >= 0) & (beta <= 1)).all()
        assert np.diff(np.sort(beta)).min() > TOLERANCE, "pictures share their beta"
        assert np.abs(alpha - beta).min() > TOLERANCE, "alpha is beta"
    return alpha, beta


def shuffled():
    """Every case's input and output, on this backend."""
    random = np.random.default_rng(0)
    results = {}
    for data_format, shape in SHAPES.items():
        x = random.normal(size=shape).astype("float32")
        results[data_format] = x
        for groups in GROUPS:
            y = ChannelShuffle(groups, data_format)(x)
            results[f"{data_format} {groups}"] = keras.ops.convert_to_numpy(y)
    return results


def assert_shuffled(results):
    """Section 3.1: channel j of group i becomes channel i of group j."""
    for data_format in SHAPES:
        axis = -1 if data_format == "channels_last" else 1
        x = np.moveaxis(results[data_format], axis, -1)
        for groups in GROUPS:
            y = np.moveaxis(results[f"{data_format} {groups}"], axis, -1)
            width = x.shape[-1] // groups
            for i in range(groups):
                for j in range(width):
                    np.testing.assert_array_equal(y[..., j * groups + i], x[..., i * width + j])


def left_out():
    """Branches before, in training, at inference, and their gradients, on this backend."""
    x = 1 + np.random.default_rng(0).random((DRAWS, 2, 1, 3), "float32")
    results = {"x": x}
    for rate in RATES:
        layer = StochasticDepth(rate, seed=1)
        for name, training in (("training", True), ("inference", False)):
            y = layer(keras.ops.convert_to_tensor(x), training=training)
            results[f"{rate} {name}"] = keras.ops.convert_to_numpy(y)
    return results


def assert_left_out(arrays):
    x = arrays["x"]
    for rate in RATES:
        np.testing.assert_array_equal(arrays[f"{rate} inference"], x)
        y = arrays[f"{rate} training"]
        kept = (y != 0).all((1, 2, 3))
        assert (y[~kept] == 0).all(), "only a part of a branch is left out"
        np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=ROUNDING)
        assert kept.mean() == pytest.approx(1 - rate, abs=SHARE_TOLERANCE)
