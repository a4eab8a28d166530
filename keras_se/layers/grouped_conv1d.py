"""Grouped convolution of signals on the backend's fastest path."""

from __future__ import annotations

import keras

from keras_se.layers.grouped_conv2d import Grouped


@keras.saving.register_keras_serializable(package="keras_se")
class GroupedConv1D(Grouped, keras.layers.Conv1D):
    """`keras.layers.Conv1D` for `groups > 1`, with the same weights, configuration and results.

    See `keras_se.layers.GroupedConv2D`.

    Args:
        *args: As for `keras.layers.Conv1D`.
        **kwargs: As for `keras.layers.Conv1D`; `padding` not `"causal"`.

    Input shape:
        `(batch, length, C)` for `"channels_last"`, `(batch, C, length)` for `"channels_first"`;
        `C` a multiple of `groups`.

    Output shape:
        As for `keras.layers.Conv1D`: `filters` channels.

    Example:

    >>> layer = keras_se.layers.GroupedConv1D(128, 3, padding="same", groups=32)
    >>> tuple(layer(np.ones((1, 500, 128), "float32")).shape)
    (1, 500, 128)
    """
