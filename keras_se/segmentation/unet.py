"""`UNet`: a U-Net on any network of the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras

from keras_se.checks import one_of
from keras_se.layers import SpatialChannelSqueezeExcite, SqueezeExcite
from keras_se.segmentation import _decoder
from keras_se.segmentation._levels import feature_levels

ATTENTIONS = {None: None, "se": SqueezeExcite, "scse": SpatialChannelSqueezeExcite}
FILTERS = (256, 128, 64, 32, 16)


def UNet(  # noqa: N802
    backbone: keras.Model,
    classes: int,
    decoder_filters: Sequence[int] = FILTERS,
    attention: Literal["se", "scse"] | None = None,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> keras.Model:
    """A U-Net: the class of every pixel, from a network of this package and a decoder.

    Each of the decoder's five blocks doubles the size of its feature maps, concatenates those of
    the backbone of that size (stages 4 to 2 and the stem; none at the picture's own size), and
    applies two 3x3 convolutions, each with BatchNorm and ReLU. Maps that come out a row or column
    too large at odd sizes are cropped, and those that lack a border after unpadded convolutions or
    pools are continued by their outermost values, so the output has the picture's size, whatever it
    is.

    The backbone's layers and weights are shared, not copied: training the result trains it, unless
    `backbone.trainable = False`. Its normalisation stays inside: the input is RGB in 0..255.

    Args:
        backbone: A network of this package for 224 x 224 and larger pictures, with or without its
            head, also one loaded from a file; its height and width may be `None`.
        classes: Number of classes, with the background.
        decoder_filters: Channels of the five blocks, from the smallest maps to the largest.
        attention: Squeeze-and-Excitation in each block, on the concatenated maps and at its end:
            `"se"` for `keras_se.SqueezeExcite`, `"scse"` for
            `keras_se.SpatialChannelSqueezeExcite`, both with ratio 16. Defaults to `None`.
        classifier_activation: Activation of the head, over the classes; `"sigmoid"` for classes
            that overlap or a single one; `None` gives logits. Defaults to `"softmax"`.
        name: Name of the model. Defaults to the backbone's with `_unet`.

    Returns:
        A functional `keras.Model`: `(batch, H, W, C)` or `(batch, C, H, W)` to `(batch, H, W,
        classes)`, float32 under any policy.

    Raises:
        ValueError: If an argument is not one of the above, or the backbone's stages 2 to 5 are not
            at strides 4 to 32 (the networks for 32 x 32 pictures).

    Example:

    >>> backbone = keras_se.SEResNet18(include_top=False, weights=None)
    >>> model = keras_se.UNet(backbone, classes=3, attention="scse")
    >>> model(np.zeros((1, 65, 97, 3))).shape
    TensorShape([1, 65, 97, 3])

    Reference:
        Ronneberger et al., U-Net (arXiv:1505.04597); Roy et al. (arXiv:1803.02579) for scSE.
    """
    activation = _decoder.check_classes(classes, classifier_activation)
    filters = _decoder.exactly(len(FILTERS))("decoder_filters", decoder_filters)
    one_of(*ATTENTIONS)("attention", attention)
    levels = feature_levels(backbone)
    picture = backbone.inputs[0]

    def attended(x: Any, name: str) -> Any:
        block = ATTENTIONS[attention]
        return x if block is None else block(name=name)(x)

    x = levels[len(filters)]
    for block, count in enumerate(filters, 1):
        prefix, level = f"decoder{block}", len(filters) - block
        skip = levels.get(level)
        x = _decoder.enlarged(x, skip if level else picture, 2, prefix)
        if skip is not None:
            x = attended(_decoder.joined([x, skip], f"{prefix}_skip"), f"{prefix}_attention1")
        for number in (1, 2):
            x = _decoder.conv_bn_relu(x, count, f"{prefix}_{number}")
        x = attended(x, f"{prefix}_attention2")
    x = _decoder.channels_last(x, "decoder_permute")
    x = _decoder.pixel_classifier(x, classes, activation)
    return _decoder.network(backbone, x, name, "unet")
