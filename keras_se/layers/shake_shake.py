"""The random combination of Shake-Shake."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_se.checks import one_of

BACKWARD = ("shake", "even")


@keras.saving.register_keras_serializable(package="keras_se")
class ShakeShake(keras.layers.Layer):
    """A random convex combination of two branches during training.

    The forward pass computes `alpha * x1 + (1 - alpha) * x2` with one alpha per image, uniform in
    0..1; the backward pass uses another number in place of alpha. At inference it is the mean of
    both branches.

    Args:
        backward: `"shake"` (default): the number for the backward pass is drawn for each image;
            `"even"`: it is one half.
        seed: Random seed, an integer or `None` (default).
        **layer_kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        Two tensors of equal shape, `(batch, height, width, C)` or `(batch, C, height, width)`.

    Output shape:
        The shape of either input.

    Raises:
        ValueError: If `backward` is not one of the above, or the input is not two tensors of equal
            shape.

    Reference:
        Gastaldi, Shake-Shake regularization (arXiv:1705.07485), Section 2.
    """

    def __init__(
        self, backward: str = "shake", seed: int | None = None, **layer_kwargs: Any
    ) -> None:
        super().__init__(**layer_kwargs)
        one_of(*BACKWARD)("backward", backward)
        self.backward = backward
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 2 or input_shape[0] != input_shape[1]:
            raise ValueError(
                "`ShakeShake` expects a list of two tensors of equal shape. "
                f"Received: input_shape={input_shape}"
            )

    def call(self, inputs: Any, training: bool = False) -> Any:
        first, second = inputs
        if not training:
            return (first + second) / 2
        shape = (ops.shape(first)[0],) + (1,) * (len(first.shape) - 1)
        draws = {"shape": shape, "dtype": first.dtype, "seed": self.seed_generator}
        alpha = keras.random.uniform(**draws)
        beta = keras.random.uniform(**draws) if self.backward == "shake" else 0.5
        # The value uses alpha, the gradient beta.
        return (
            second + beta * (first - second) + ops.stop_gradient((alpha - beta) * (first - second))
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "backward": self.backward, "seed": self.seed}
