"""`FPN`: a feature pyramid network for segmentation on any network of the package."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from keras_se.checks import positive_integer
from keras_se.layers import MatchSize, UpSampling2D
from keras_se.layers._ranks import rank_of
from keras_se.pyramid import STAGES
from keras_se.segmentation import _decoder
from keras_se.segmentation._levels import feature_levels


def FPN(  # noqa: N802
    backbone: keras.Model,
    classes: int,
    pyramid_filters: int = 256,
    segmentation_filters: int = 128,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> keras.Model:
    """A feature pyramid network: the class of every pixel, cheaper than a U-Net.

    A 1x1 convolution brings the backbone's stages 2 to 5 to `pyramid_filters` channels; from the
    smallest, each is enlarged and added to the next. Two 3x3 convolutions with BatchNorm and ReLU
    follow on each, then their sum at a quarter of the picture's size, the classifier, and a
    fourfold linear interpolation of its logits. Where unpadded convolutions or pools leave out a
    border of the picture, the outermost logits are continued; what comes out too large is cropped.

    The backbone's layers and weights are shared, as in `keras_se.UNet`.

    Args:
        backbone: As for `keras_se.UNet`.
        classes: Number of classes, with the background.
        pyramid_filters: Channels of the pyramid.
        segmentation_filters: Channels of the maps before the classifier.
        classifier_activation: As for `keras_se.UNet`. Defaults to `"softmax"`.
        name: Name of the model. Defaults to the backbone's with `_fpn`.

    Returns:
        A functional `keras.Model`: `(batch, H, W, C)` or `(batch, C, H, W)` to `(batch, H, W,
        classes)`, float32 under any policy. Signals and volumes repeat logits instead of
        interpolating them, so `keras_se.inflate` refuses an FPN for images: inflate its backbone.

    Raises:
        ValueError: As for `keras_se.UNet`.

    Example:

    >>> backbone = keras_se.SEResNet18(include_top=False, weights=None)
    >>> keras_se.FPN(backbone, classes=3)(np.zeros((1, 65, 97, 3))).shape
    TensorShape([1, 65, 97, 3])

    Reference:
        Kirillov et al., Panoptic Feature Pyramid Networks (arXiv:1901.02446), Section 3.
    """
    activation = _decoder.check_classes(classes, classifier_activation)
    positive_integer("pyramid_filters", pyramid_filters)
    positive_integer("segmentation_filters", segmentation_filters)
    levels = feature_levels(backbone)
    finest = levels[STAGES[0]]
    maps, x = [], None
    for level in reversed(STAGES):
        lateral = _decoder.convolution(levels[level], pyramid_filters, 1, f"pyramid{level}_lateral")
        if x is not None:
            x = _decoder.enlarged(x, lateral, 2, f"pyramid{level}")
            lateral = layers.Add(name=f"pyramid{level}_add")([x, lateral])
        x = y = lateral
        for number in (1, 2):
            y = _decoder.conv_bn_relu(y, segmentation_filters, f"segment{level}_{number}")
        maps.append(_decoder.enlarged(y, finest, 2 ** (level - STAGES[0]), f"segment{level}"))
    x = _decoder.channels_last(layers.Add(name="segment_add")(maps), "segment_permute")
    # A 1x1 convolution and an interpolation commute; this order is the cheaper one.
    x = _decoder.pixel_classifier(x, classes, None)
    x = _to_picture(x, backbone.inputs[0], 2 ** STAGES[0])
    if activation is not keras.activations.linear:
        x = layers.Activation(activation, dtype=_decoder.head_dtype(), name="scores")(x)
    return _decoder.network(backbone, x, name, "fpn")


def _to_picture(x: Any, picture: Any, factor: int) -> Any:
    """Enlarge logits, channels last, to the picture's size."""
    rank, dtype = rank_of(x), _decoder.head_dtype()
    options = {"interpolation": "bilinear"} if rank == 2 else {}
    kind = UpSampling2D if rank == 2 else _decoder.up_sampling(rank)
    x = kind(factor, data_format="channels_last", dtype=dtype, name="logits_up", **options)(x)
    picture = _decoder.channels_last(picture, "picture_permute")
    return MatchSize("channels_last", dtype=dtype, name="logits_fit")([x, picture])
