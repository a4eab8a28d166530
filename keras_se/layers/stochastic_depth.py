"""Stochastic depth for residual networks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_se.fields import SHARE


@keras.saving.register_keras_serializable(package="keras_se")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch at random during training.

    Each image's branch is zero with probability `rate` and divided by `1 - rate` otherwise, so that
    its expectation is the branch itself, as at inference. Put it just before the sum with the
    shortcut.

    Args:
        rate: Probability of dropping a branch, from 0 to less than 1.
        seed: Random seed, an integer or `None` (default).
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        `(batch, ...)`, such as `(batch, height, width, C)` or `(batch, C, height, width)`.

    Output shape:
        The input's shape.

    Raises:
        ValueError: If `rate` is out of range.

    Example:

    >>> branch = np.ones((2, 4, 4, 8), "float32")
    >>> layer = keras_se.layers.StochasticDepth(0.2)
    >>> bool((np.asarray(layer(branch)) == branch).all())
    True

    Reference:
        Huang et al., Deep Networks with Stochastic Depth (arXiv:1603.09382), Section 3.
    """

    def __init__(self, rate: float, seed: int | None = None, **layer_kwargs: Any) -> None:
        super().__init__(**layer_kwargs)
        self.rate = SHARE("rate", rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        # One draw per image.
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        return keras.random.dropout(inputs, self.rate, noise_shape=shape, seed=self.seed_generator)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
