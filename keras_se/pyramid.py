"""A network's feature maps at strides 4 to 32, for detection and segmentation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import keras

from keras_se.layer_names import parse
from keras_se.layers._arguments import channel_axis
from keras_se.layers._ranks import ranked

STAGES = (2, 3, 4, 5)
# Unpadded convolutions remove at most this many rows from a feature map of any size; a wrong stride
# removes half of them.
LOSS = 5
# Replaces an unknown height or width: large enough to tell the two apart.
PROBE = 1024


def _missing() -> Any:
    """Raise the error for a level that a pyramid lacks."""
    raise KeyError(
        "keras_se.feature_pyramid has the levels P2 to P5, for KerasHub's RetinaNetBackbone and "
        "DeepLabV3Backbone"
    )


def stage_layers(model: Any, argument: str) -> dict[int, Any]:
    """The last layer of each stage of a network, by stage.

    Args:
        model: The network.
        argument: Name of the argument, for the error.

    Raises:
        ValueError: If it is not a functional network with one input and the stages 2 to 5.
    """
    # Layers are in topological order, so the last one of a stage is its output.
    last = {
        name.stage: layer
        for layer in getattr(model, "layers", ())
        if (name := parse(layer.name)) and name.part == "stage"
    }
    if not last.keys() >= set(STAGES) or len(model.inputs) != 1:
        raise ValueError(
            f"`{argument}` must be a functional network with one input and layers named stage2_... "
            "to stage5_..., such as keras_se.SEResNet50(). Received: "
            f"{argument}={getattr(model, 'name', model)!r} with stages {sorted(last)}"
        )
    return last


def spatial_sizes(inputs: Any, maps: Sequence[Any]) -> tuple[list[int], list[list[int]]]:
    """The spatial sizes of a network's input and of its feature maps; `PROBE` if unknown."""
    channels = channel_axis(rank=len(inputs.shape))
    axes = [axis for axis in range(1, len(inputs.shape)) if axis != channels]
    probe = [PROBE if axis in axes and n is None else n for axis, n in enumerate(inputs.shape)]
    shapes = keras.Model(inputs, list(maps)).compute_output_shape(tuple(probe))
    return [probe[axis] for axis in axes], [[shape[axis] for axis in axes] for shape in shapes]


def missing_rows(size: Sequence[int], whole: Sequence[int], level: int) -> list[int] | None:
    """How much smaller feature maps are than 1 / 2^level of the picture, along each axis.

    `None` if they are larger, or smaller by more than unpadded convolutions explain.
    """
    missing = [math.ceil(n / 2**level) - m for m, n in zip(size, whole, strict=True)]
    return missing if all(0 <= n <= LOSS for n in missing) else None


@keras.saving.register_keras_serializable(package="keras_se")
class FeaturePyramid(keras.Model):
    """A model from pictures to a dictionary of feature maps, made by `feature_pyramid`.

    It has no constructor of its own, so Keras saves and loads it like any functional model.
    """

    @property
    def pyramid_outputs(self) -> dict[str, Any]:
        """The symbolic feature maps, `"P2"` to `"P5"`."""
        # Keras takes no other subclass of dict as the outputs of a model.
        return defaultdict(_missing, self.output)


def feature_pyramid(model: keras.Model) -> keras.Model:
    """The feature maps of a network at strides 4, 8, 16 and 32.

    `P{k}` is the last output of stage k, at 1 / 2^k of the picture's height and width, rounded up.
    If unpadded convolutions (`SEInceptionV3`, `SEInceptionResNetV2`) or a pool at an odd size give
    less, it is zero-padded, with the odd row or column at the bottom or right.

    The result has the property `pyramid_outputs`, the symbolic feature maps by name, so that
    KerasHub's `RetinaNetBackbone` and `DeepLabV3Backbone` take it as their `image_encoder` (its
    `SegFormerBackbone` does not: it needs a `"P1"`, which most of these networks lack, and the
    widths of a transformer). RetinaNet needs pictures whose height and width are multiples of 32. A
    network built with `include_preprocessing=True` takes RGB in 0..255 and normalises inside: do
    not scale pictures before it.

    Args:
        model: A network of this package for 224 x 224 and larger pictures, with or without its
            head, also one loaded from a file. Its height and width may be `None` unless it has
            unpadded convolutions; height and width of pictures should then be multiples of 32,
            since nothing is padded. Its layers and weights are shared, not copied: training the
            result trains it.

    Returns:
        A functional `keras.Model`: `(batch, H, W, C)` to a dictionary of `"P2"`, `"P3"`, `"P4"`,
        `"P5"`, where `P{k}` is `(batch, ceil(H / 2^k), ceil(W / 2^k), channels)`; or `(batch, C, H,
        W)` to `(batch, channels, ceil(H / 2^k), ceil(W / 2^k))`.

    Raises:
        ValueError: If the model has no layers named by stage, or its stages 2 to 5 are not at
            strides 4 to 32 (the networks for 32 x 32 pictures), or padding needs a known height
            and width.

    Example:

    >>> model = keras_se.SEResNet18(include_top=False, weights=None)
    >>> pyramid = keras_se.feature_pyramid(model)
    >>> maps = pyramid(np.zeros((1, 256, 320, 3)))
    >>> [tuple(maps[level].shape) for level in ("P2", "P3", "P4", "P5")]
    [(1, 64, 80, 64), (1, 32, 40, 128), (1, 16, 20, 256), (1, 8, 10, 512)]

    Reference:
        Lin et al., Feature Pyramid Networks for Object Detection (arXiv:1612.03144), Section 3.
    """
    last = stage_layers(model, "model")
    (inputs,) = model.inputs
    outputs = {f"P{stage}": last[stage].output for stage in STAGES}

    size, sizes = spatial_sizes(inputs, list(outputs.values()))
    channels_first = channel_axis(rank=len(inputs.shape)) == 1
    known = inputs.shape[2:] if channels_first else inputs.shape[1:-1]
    for stage, level, found in zip(STAGES, outputs, sizes, strict=True):
        missing = missing_rows(found, size, stage)
        if missing is None:
            raise ValueError(
                "`model` must have its stages 2, 3, 4 and 5 at 1/4, 1/8, 1/16 and 1/32 of the "
                f"input's height and width. Received: model={model.name!r}, stage {stage} at "
                f"{tuple(found)} of {tuple(size)}"
            )
        if any(n for n, given in zip(missing, known, strict=True) if given is None):
            raise ValueError(
                "`model` must have a known height and width, since it has unpadded convolutions. "
                f"Received: model={model.name!r}, input_shape={inputs.shape[1:]}"
            )
        if any(missing):
            border = [(n // 2, n - n // 2) for n in missing]
            padding = ranked("ZeroPadding", len(border))
            sides = border if len(border) > 1 else border[0]
            outputs[level] = padding(sides, name=f"{level}_pad")(outputs[level])
    return FeaturePyramid(inputs, outputs, name=f"{model.name}_pyramid")
