"""The recipes' optimizers and schedules, against NumPy."""

import keras
import numpy as np
import pytest

from keras_se.training.optimizers import LAMB, SGD, Schedule, optimizer, schedule
from keras_se.training.recipe import Recipe

# float32 sums in another order.
TOLERANCE = 1e-6


def trained(optimizer, steps=4):
    """Values of a kernel and a bias after each step, and the gradients."""
    random = np.random.default_rng(4)
    variables = [
        keras.Variable(random.normal(size=shape).astype("float32"), name=name)
        for name, shape in (("kernel", (3, 5)), ("bias", (5,)))
    ]
    values = [[keras.ops.convert_to_numpy(v) for v in variables]]
    gradients = random.normal(size=(steps, 3, 5)).astype("float32")
    optimizer.build(variables)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in (gradient, gradient[0])])
        values.append([keras.ops.convert_to_numpy(v) for v in variables])
    return values, gradients


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_adds_the_decay_to_the_gradient(nesterov):
    values, gradients = trained(SGD(0.1, momentum=0.9, nesterov=nesterov, l2=0.01))
    for place, decay in ((0, 0.01), (1, 0.0)):
        value = values[0][place].astype("float64")
        velocity = 0 * value
        for step, gradient in enumerate(gradients):
            slope = (gradient if place == 0 else gradient[0]) + decay * value
            velocity = 0.9 * velocity - 0.1 * slope
            value = value + (0.9 * velocity - 0.1 * slope if nesterov else velocity)
            np.testing.assert_allclose(values[step + 1][place], value, atol=TOLERANCE)


def test_lamb():
    values, gradients = trained(LAMB(0.1, decay=0.02))
    for place in (0, 1):
        value = values[0][place].astype("float64")
        average = square = 0 * value
        for step, gradient in enumerate(gradients):
            gradient = gradient if place == 0 else gradient[0]
            average = 0.9 * average + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            update = average / (1 - 0.9 ** (step + 1))
            update /= np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-6
            if place == 0:
                update += 0.02 * value
                update *= np.linalg.norm(value) / np.linalg.norm(update)
            value = value - 0.1 * update
            # Division by roots of small numbers.
            np.testing.assert_allclose(values[step + 1][place], value, atol=10 * TOLERANCE)


def test_lamb_moves_a_kernel_of_zeros():
    kernel = keras.Variable(np.zeros((2, 2), "float32"))
    optimizer = LAMB(0.1)
    optimizer.build([kernel])
    optimizer.apply([keras.ops.ones((2, 2))])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel), -0.1, rtol=1e-4)


def test_lamb_of_a_convolution():
    """As of a matrix of the same numbers."""
    random = np.random.default_rng(5)
    value, gradient = (random.normal(size=(3, 3, 2, 4)).astype("float32") for _ in range(2))
    results = []
    for shape in ((3, 3, 2, 4), (18, 4)):
        kernel = keras.Variable(value.reshape(shape))
        optimizer = LAMB(0.1, decay=0.02)
        optimizer.build([kernel])
        optimizer.apply([keras.ops.convert_to_tensor(gradient.reshape(shape))])
        results.append(keras.ops.convert_to_numpy(kernel).ravel())
    np.testing.assert_allclose(*results, rtol=0, atol=TOLERANCE)
    assert np.abs(results[0] - value.ravel()).max() > 0.01


def test_average_stays_apart():
    optimizer = SGD(0.1, use_ema=True, ema_momentum=0.5)
    values, _ = trained(optimizer)
    kernel = keras.Variable(values[-1][0])
    optimizer.finalize_variable_values([kernel])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), values[-1][0])


def rates(recipe, steps=10):
    chosen = schedule(recipe, steps)
    return [float(chosen(step)) for step in range(recipe.epochs * steps)]


def test_cosine_with_warmup():
    recipe = Recipe(model="SEResNet20", data="cifar10", epochs=5, warmup_epochs=1, batch=512)
    got = rates(recipe)
    warmup = [0.2 * (step + 1) / 10 for step in range(10)]
    cosine = [0.2 * (1 + np.cos(np.pi * step / 40)) / 2 for step in range(40)]
    np.testing.assert_allclose(got, warmup + cosine, rtol=1e-5, atol=1e-8)


def test_steps():
    recipe = Recipe(
        model="SEResNet20", data="cifar10", epochs=5, schedule="step", drops=(1.5, 4),
        drop_factor=0.2, warmup_epochs=0.2,
    )  # fmt: skip
    expected = [0.05, 0.1, *[0.1] * 13, *[0.02] * 25, *[0.004] * 10]
    np.testing.assert_allclose(rates(recipe), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "lamb", "adamw"])
def test_optimizers_of_recipes(name):
    recipe = Recipe(
        model="SEResNet20", data="cifar10", optimizer=name, weight_decay=0.5, ema=0.9,
        clip_norm=1.0, learning_rate=0.01, schedule="step", drops=(50,), nesterov=True,
    )  # fmt: skip
    chosen = optimizer(recipe, 10)
    again = type(chosen).from_config(chosen.get_config())
    assert again.get_config() == chosen.get_config()
    assert chosen.global_clipnorm == 1.0
    assert chosen.use_ema
    # The same step without decay differs in the kernel alone.
    free = optimizer(recipe.changed(["weight_decay=0"]), 10)
    ends = [trained(one, steps=1)[0][-1] for one in (chosen, free)]
    assert (ends[0][0] != ends[1][0]).all()
    np.testing.assert_array_equal(ends[0][1], ends[1][1])


def test_schedule_through_its_configuration():
    made = Schedule(0.1, 100, 10, [50], 0.2)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(made))
    assert [float(again(step)) for step in (0, 49, 50)] == pytest.approx([0.01, 0.1, 0.02])
