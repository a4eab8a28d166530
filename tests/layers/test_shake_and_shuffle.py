"""The layers `ShakeShake` and `ChannelShuffle` do what their papers say.

`tox -e backends` compares the same on JAX and Torch.
"""

import keras
import numpy as np
import pytest

from keras_se.layers import ChannelShuffle, ShakeShake

# One multiplication and two sums in float32 of numbers of the order of one.
TOLERANCE = 1e-5
# Means and correlations of so many uniform draws stray by less than four times 0.0046 and 0.016.
DRAWS = 4000
MEAN_TOLERANCE, CORRELATION_TOLERANCE = 0.02, 0.065
BFLOAT16_ROUNDING = 2**-8
SHAPES = {"channels_last": (2, 3, 4, 12), "channels_first": (2, 12, 3, 4)}
GROUPS = (1, 2, 3, 4)


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


@pytest.mark.parametrize("backward", ["shake", "even"])
def test_shake_shake(backward):
    assert_shaken(shaken(backward), backward)


def test_draws_are_uniform_and_independent():
    arrays = shaken("shake", (DRAWS, 1, 1, 1))
    difference = arrays["first"] - arrays["second"]
    alpha = ((arrays["value"] - arrays["second"]) / difference).ravel()
    beta = (arrays["first_gradient"] / arrays["upstream"]).ravel()
    # A quotient by a small difference is that of two roundings.
    exact = (np.abs(difference) > 1e-3).ravel()
    for factor in (alpha[exact], beta[exact]):
        assert factor.mean() == pytest.approx(0.5, abs=MEAN_TOLERANCE)
        deciles, _ = np.histogram(factor, 10, (0, 1))
        np.testing.assert_allclose(deciles / len(factor), 0.1, atol=MEAN_TOLERANCE)
    assert abs(np.corrcoef(alpha[exact], beta[exact])[0, 1]) < CORRELATION_TOLERANCE


def test_seed():
    one, same, other = (shaken("shake", seed=seed) for seed in (1, 1, 2))
    for name, array in one.items():
        np.testing.assert_array_equal(same[name], array)
    assert (other["value"] != one["value"]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_every_call_draws_anew(compiled):
    import tensorflow as tf

    layer = ShakeShake(seed=1)
    x = [tf.ones((3, 2, 2, 1)), tf.zeros((3, 2, 2, 1))]
    call = tf.function(layer) if compiled else layer
    values = [np.asarray(call(x, training=True))[:, 0, 0, 0] for _ in range(3)]
    assert len({float(value) for call in values for value in call}) == 9


def test_shake_shake_serialises(tmp_path):
    inputs = [keras.Input((4, 5, 3)), keras.Input((4, 5, 3))]
    model = keras.Model(inputs, ShakeShake("even", seed=3, name="shake")(inputs))
    model.save(tmp_path / "model.keras")
    layer = keras.saving.load_model(tmp_path / "model.keras").get_layer("shake")
    assert type(layer) is ShakeShake
    assert (layer.backward, layer.seed) == ("even", 3)
    x = [np.ones((2, 4, 5, 3)), np.zeros((2, 4, 5, 3))]
    np.testing.assert_array_equal(layer(x, training=True), ShakeShake(seed=3)(x, training=True))


def test_shake_shake_in_half_precision():
    layer = ShakeShake(seed=1, dtype="mixed_bfloat16")
    x = [np.ones((2, 4, 5, 3)), np.zeros((2, 4, 5, 3))]
    for training in (True, False):
        y = layer(x, training=training)
        assert y.dtype == "bfloat16"
        np.testing.assert_allclose(np.asarray(y, "float32"), 0.5, atol=0.5 + BFLOAT16_ROUNDING)


def test_unknown_backward():
    with pytest.raises(
        ValueError, match=r"`backward` must be one of: 'shake', 'even'\. Received: "
    ):
        ShakeShake("evn")


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


def test_channel_shuffle():
    assert_shuffled(shuffled())


def test_channel_shuffle_of_unknown_size(tmp_path):
    inputs = keras.Input((None, None, 6))
    model = keras.Model(inputs, ChannelShuffle(3, name="shuffle")(inputs))
    assert model.output_shape == (None, None, None, 6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("shuffle").groups == 3
    x = np.arange(2 * 3 * 4 * 6, dtype="float32").reshape(2, 3, 4, 6)
    np.testing.assert_array_equal(loaded(x), x[..., [0, 2, 4, 1, 3, 5]])


@pytest.mark.parametrize("groups", [0, -1, 1.5, True, "3"])
def test_wrong_groups(groups):
    with pytest.raises(ValueError, match=r"`groups` must be an integer of at least 1\. Received: "):
        ChannelShuffle(groups)
