"""Stochastic depth, and units that start as their shortcut.

`tox -e backends` compares the layer on JAX and Torch.
"""

import keras
import numpy as np
import pytest
from layers_on_backends import assert_left_out, left_out
from reference import noise_pictures, trained_like

import keras_se
from keras_se.layers import StochasticDepth

VARIANT = {"blocks": (1, 2, 1), "stochastic_depth": 0.4}


def test_branches_are_left_out():
    assert_left_out(left_out())


def test_seed_and_draws():
    x = np.ones((64, 3), "float32")
    one, same = (StochasticDepth(0.5, seed=1) for _ in range(2))
    first = np.asarray(one(x, training=True))
    np.testing.assert_array_equal(same(x, training=True), first)
    assert (np.asarray(one(x, training=True)) != first).any(), "the same draws in every call"
    assert (np.asarray(StochasticDepth(0.5, seed=2)(x, training=True)) != first).any()


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, True, "0.5", None, float("nan")])
def test_wrong_rate(rate):
    with pytest.raises(ValueError, match=r"`rate` must be .* less than 1\. Received: ") as caught:
        StochasticDepth(rate)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variant", [{}, {"preactivation": True}])
def test_rates_rise_with_depth(variant):
    """Equation 4: of unit l of L, l / L of the last one's, just before the sum."""
    model = keras_se.SEResNet20(weights=None, variant=VARIANT | variant)
    found = [layer for layer in model.layers if isinstance(layer, StochasticDepth)]
    assert [layer.rate for layer in found] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    units = ["stage2_block1", "stage3_block1", "stage3_block2", "stage4_block1"]
    assert [layer.name for layer in found] == [f"{unit}_stochastic_depth" for unit in units]
    for unit, layer in zip(units, found, strict=True):
        assert layer.input is model.get_layer(f"{unit}_se").output
        assert any(x is layer.output for x in model.get_layer(f"{unit}_add").input)
    plain = keras_se.SEResNet20(weights=None, variant=variant)
    assert not any(isinstance(layer, StochasticDepth) for layer in plain.layers)


def test_networks_are_the_same_at_inference(tmp_path):
    """In training they are not; a .keras file keeps rates and seeds."""
    x = noise_pictures(4, 33, 32, 3).astype("float32")
    arguments = {"weights": None, "classes": 7, "input_shape": (33, 32, 3)}
    model = trained_like(keras_se.SEResNet20(**arguments, variant=VARIANT), seed=3)
    plain = keras_se.SEResNet20(**arguments, variant={"blocks": VARIANT["blocks"]})
    values = {variable.path: variable for variable in model.weights}
    for variable in plain.weights:
        variable.assign(values[variable.path])
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(plain.predict(x, verbose=0), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    assert loaded.get_layer("stage4_block1_stochastic_depth").rate == 0.4
    one, other = (np.asarray(loaded(x, training=True)) for _ in range(2))
    assert (one != other).any()


ZERO = {"blocks": (1, 1, 1), "zero_last_gamma": True}


@pytest.mark.parametrize(
    ("builder", "variant", "se"),
    [
        ("SEResNet20", ZERO, {}),
        # At ratio 16 the one hidden unit may be dead: tanh of zero is zero, and so are gradients.
        ("SEResNet20", ZERO, {"placement": "conv3x3", "gate": "tanh", "ratio": 2}),
        ("SEResNet20", ZERO, None),
        ("SEResNeXt50", ZERO | {"widths": (32, 64, 128)}, {"gate": "hard_sigmoid"}),
    ],
)
def test_units_start_as_their_shortcut(builder, variant, se):
    """And learn: the gradients of the zero scales are not zero."""
    import tensorflow as tf

    se = None if se is None else keras_se.SEConfig(**se)
    model = getattr(keras_se, builder)(
        weights=None, classes=5, input_shape=(33, 32, 3), variant=variant, se=se
    )
    last = {"SEResNet20": 2, "SEResNeXt50": 3}[builder]
    units = [f"stage{stage}_block1" for stage in (2, 3, 4)]
    zero = {f"{unit}_bn{last}/gamma" for unit in units}
    gammas = {v.path.partition("/")[0] + "/gamma": v for v in model.variables if v.name == "gamma"}
    for name, gamma in gammas.items():
        np.testing.assert_array_equal(gamma, 0.0 if name in zero else 1.0, err_msg=name)
    assert zero <= gammas.keys()

    x = noise_pictures(4, 33, 32, 3).astype("float32")
    sums = [model.get_layer(f"{unit}_add") for unit in units]
    watched = [tensor for layer in sums for tensor in (layer.output, layer.input[1])]
    values = keras.Model(model.input, watched).predict(x, verbose=0)
    for after, shortcut in zip(values[::2], values[1::2], strict=True):
        np.testing.assert_array_equal(after, shortcut)
        assert np.ptp(after) > 0
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x, training=True)[:, 0])
    gradients = tape.gradient(loss, [gammas[name].value for name in sorted(zero)])
    for gradient in gradients:
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize(
    ("builder", "variant", "se", "expected"),
    [
        ("SEResNet20", {"stochastic_depth": 1.0}, {}, "`stochastic_depth` must be a number from 0"),
        ("SEResNet20", {"stochastic_depth": -0.1}, {}, "`stochastic_depth` must be a number from"),
        ("SEResNet20", {"stochastic_depth": "x"}, {}, "`stochastic_depth` must be a number from 0"),
        ("SEResNet20", {"zero_last_gamma": 1}, {}, "`zero_last_gamma` must be True or False"),
        ("SEPreResNet110", {"zero_last_gamma": True}, {}, "needs preactivation=False"),
        ("SEResNet18", ZERO | {"relu_before_se": True}, {}, "needs relu_before_se=False"),
        ("SEResNet20", ZERO, {"gate": "tanh"}, "needs a gate that is one half at zero"),
        ("SEResNet20", ZERO, {"gate": "relu"}, "needs a gate that is one half at zero"),
        ("SEVGG16", {"stochastic_depth": 0.1}, {}, "`variant` must be one of"),
    ],
)
def test_mistakes(builder, variant, se, expected):
    if "blocks" in variant and builder == "SEResNet18":
        variant = {**variant, "blocks": (1, 1, 1, 1)}
    with pytest.raises(ValueError, match="Received") as caught:
        getattr(keras_se, builder)(weights=None, variant=variant, se=keras_se.SEConfig(**se))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
