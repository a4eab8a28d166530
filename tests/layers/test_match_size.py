"""`MatchSize`: feature maps cropped or continued to the size of others, known or not."""

import keras
import numpy as np
import pytest

from keras_se.layers import MatchSize

# Larger maps lose rows at the end; smaller maps get the odd row at the end.
CASES = {
    (5, 6): lambda x: x[:, :5, :6],
    (7, 8): lambda x: np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), "edge"),
    (9, 10): lambda x: np.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), "edge"),
    (4, 9): lambda x: np.pad(x[:, :4], ((0, 0), (0, 0), (1, 1), (0, 0)), "edge"),
    (6, 7): lambda x: x,
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", CASES)
def test_pictures(size, known):
    x = np.random.default_rng(0).random((2, 6, 7, 3)).astype("float32")
    other = np.zeros((2, *size, 1), "float32")
    inputs = [keras.Input(a.shape[1:] if known else (None, None, a.shape[3])) for a in (x, other)]
    model = keras.Model(inputs, MatchSize()(inputs))
    assert model.output_shape == (None, *(size if known else (None, None)), 3)
    np.testing.assert_array_equal(model.predict([x, other], verbose=0), CASES[size](x))
    first = [np.moveaxis(a, -1, 1) for a in (x, other)]
    y = MatchSize("channels_first")(first)
    np.testing.assert_array_equal(np.moveaxis(y, 1, -1), CASES[size](x))


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(rank):
    x = np.random.default_rng(0).random((1, *[4] * rank, 2)).astype("float32")
    y = np.asarray(MatchSize()([x, np.zeros((1, *[3] * rank, 5), "float32")]))
    np.testing.assert_array_equal(y, x[(slice(None), *[slice(3)] * rank)])
    y = np.asarray(MatchSize()([x, np.zeros((1, *[7] * rank, 5), "float32")]))
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), *[(1, 2)] * rank, (0, 0)), "edge"))


def test_bad_inputs():
    with pytest.raises(ValueError, match="expected a list of two feature maps of one rank"):
        MatchSize()([np.ones((1, 4, 4, 1)), np.ones((1, 4, 1))])
    with pytest.raises(ValueError, match="`data_format` must be one of"):
        MatchSize("NHWC")
