"""`MultiplyAdd` and `ScaleOffset`: one pass over the feature maps."""

import keras
import numpy as np
import pytest
from keras import ops
from mistakes import one_line

from keras_se.layers import MultiplyAdd, ScaleOffset

# Of values of the order of one: a product and a sum in float32, which a compiler rounds once.
TOLERANCE = 1e-6

SHAPES = {
    "2-D": ((2, 5, 7, 6), (2, 1, 1, 6)),
    "channels first": ((2, 6, 5, 7), (2, 6, 1, 1)),
    "1-D": ((3, 5, 6), (3, 1, 6)),
    "3-D": ((2, 4, 3, 5, 6), (2, 1, 1, 1, 6)),
    "same": ((2, 5, 7, 6), (2, 5, 7, 6)),
    "vectors": ((3, 6), (3, 1)),
}


def values(*shapes):
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype("float32") for shape in shapes]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_multiply_add(name, jit_compile):
    shape, gates = SHAPES[name]
    x, s, y = values(shape, gates, shape)
    layer = MultiplyAdd("relu", jit_compile)
    expected = np.maximum(x * s + y, 0)
    np.testing.assert_allclose(layer([x, s, y]), expected, atol=TOLERANCE)
    np.testing.assert_allclose(layer([s, x, y]), expected, atol=TOLERANCE)
    inputs = [keras.Input(array.shape[1:]) for array in (x, s, y)]
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape[1:] == shape[1:]
    np.testing.assert_allclose(model.predict([x, s, y], verbose=0), expected, atol=TOLERANCE)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("axis", [-1, 1, 3])
def test_scale_offset(axis, jit_compile, tmp_path):
    x, scale, offset = values((2, 6, 5, 6), 6, 6)
    layer = ScaleOffset(axis, "tanh", jit_compile, name="affine")
    inputs = keras.Input((6, None, 6))
    model = keras.Model(inputs, layer(inputs))
    np.testing.assert_allclose(model(x), np.tanh(x), atol=TOLERANCE)
    layer.scale.assign(scale)
    layer.offset.assign(offset)
    shape = (1, 6, 1, 1) if axis == 1 else (1, 1, 1, 6)
    expected = np.tanh(x * scale.reshape(shape) + offset.reshape(shape))
    np.testing.assert_allclose(model(x), expected, atol=TOLERANCE)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("affine").get_config() == layer.get_config()
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    """As BatchNorm: computed in float32 and rounded once."""
    x, scale, offset = values((2, 5, 5, 6), 6, 6)
    dtype = policy.removeprefix("mixed_")
    half = ops.cast(1000 * x, dtype)
    layer = ScaleOffset(dtype=policy)
    layer.build(x.shape)
    layer.scale.assign(scale / 1000)
    layer.offset.assign(offset)
    whole = ops.cast(half, "float32") * (scale / 1000) + offset
    received = layer(half)
    assert keras.backend.standardize_dtype(received.dtype) == dtype
    np.testing.assert_array_equal(
        ops.cast(received, "float32"), ops.cast(ops.cast(whole, dtype), "float32")
    )


def test_masks_pass():
    x = values((2, 5, 6))[0]
    x[1, 3:] = 0
    masked = keras.layers.Masking()(x)
    assert ScaleOffset()(masked)._keras_mask is not None


def test_compiled_once_for_all_shapes():
    """Another size is no new function, about which TensorFlow would complain."""
    from keras_se.layers import multiply_add

    before = multiply_add._compiled.cache_info().currsize
    layer = MultiplyAdd("elu", jit_compile=True)
    for size in range(1, 9):
        x, s = values((1, size, size, 2), (1, 1, 1, 2))
        layer([x, s, x])
    assert multiply_add._compiled.cache_info().currsize <= before + 1
    function = multiply_add._compiled(layer.activation, 4, "float32")
    assert function.experimental_get_tracing_count() == 1


def test_gradient():
    import tensorflow as tf

    x, s, y = map(tf.constant, values((2, 5, 7, 6), (2, 1, 1, 6), (2, 5, 7, 6)))
    found = []
    for jit_compile in (False, True):
        with tf.GradientTape() as tape:
            tape.watch([x, s, y])
            loss = tf.reduce_sum(MultiplyAdd("tanh", jit_compile)([x, s, y]))
        found.append(tape.gradient(loss, [x, s, y]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_wrong_arguments():
    one_line(lambda: MultiplyAdd("no such"), "activation", "no such")
    one_line(lambda: MultiplyAdd(jit_compile=2), "jit_compile", 2)
    one_line(lambda: ScaleOffset("last"), "axis", "last")
    for layer, shape in (
        (MultiplyAdd(), [(2, 3), (2, 3)]),
        (MultiplyAdd(), [(2, 3, 4), (2, 3), (2, 3, 4)]),
        (ScaleOffset(), (2, None)),
        (ScaleOffset(3), (2, 5)),
    ):
        one_line(lambda layer=layer, shape=shape: layer.build(shape), type(layer).__name__, shape)
