"""`UpSampling2D`: interpolation at sizes that a graph does not know, as at those that it does."""

import keras
import numpy as np
import pytest

from keras_se.layers import UpSampling2D

# Values are at most one; their float32 sums have another order.
ROUNDING = 1e-6


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_sizes(data_format, interpolation):
    options = {"data_format": data_format, "interpolation": interpolation}
    first = data_format == "channels_first"
    inputs = keras.Input((3, None, None) if first else (None, None, 3))
    model = keras.Model(inputs, UpSampling2D((4, 3), **options)(inputs))
    plain = keras.layers.UpSampling2D((4, 3), **options)
    for size in ((4, 5), (6, 7), (1, 3)):
        x = np.random.default_rng(0).random((2, 3, *size) if first else (2, *size, 3))
        x = x.astype("float32")
        # From the second size on the graph has none.
        y = model.predict(x, verbose=0)
        np.testing.assert_allclose(y, plain(x), rtol=0, atol=ROUNDING)
