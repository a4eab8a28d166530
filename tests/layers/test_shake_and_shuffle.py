"""The layers `ShakeShake` and `ChannelShuffle` do what their papers say.

`tox -e backends` compares the same on JAX and Torch.
"""

import keras
import numpy as np
import pytest
from layers_on_backends import assert_shaken, assert_shuffled, shaken, shuffled

from keras_se.layers import ChannelShuffle, ShakeShake

# Means and correlations of so many uniform draws stray by less than four times 0.0046 and 0.016.
DRAWS = 4000
MEAN_TOLERANCE, CORRELATION_TOLERANCE = 0.02, 0.065
BFLOAT16_ROUNDING = 2**-8


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
