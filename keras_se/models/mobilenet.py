"""SE-MobileNet (Table 3): SE on the pointwise convolution of every separable block.

The plain network computes exactly the same as `keras.applications.MobileNet`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.checks import one_of
from keras_se.fields import INTEGERS, SHARE, checked
from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import BACKBONE, Defaults, network_builder
from keras_se.models._network import (
    MULTIPLIER,
    NetworkDescription,
    batch_norm,
    conv,
    depthwise_conv,
    pad,
)
from keras_se.models._signatures import MobileNetBuilder

EPSILON = 1e-3
# (channels, number) of the separable blocks of a stage.
STAGES: dict[int, tuple[int, int]] = {
    1: (64, 1),
    2: (128, 2),
    3: (256, 2),
    4: (512, 6),
    5: (1024, 2),
}


@dataclass(frozen=True)
class MobileNet(NetworkDescription):
    """Description of a MobileNet (version 1).

    Attributes:
        alpha: Width multiplier: every layer has `int(alpha * channels)` channels.
        strides: Strides of the stem and of the first block of each stage, 1 or 2. Small images
            need fewer halvings: `(1, 1, 1, 2, 2, 2)` turns 28 x 28 pixels into 3 x 3 maps.
        dropout: Dropout rate before the classifier, in training.
        se_position: Where SE sits in a separable block: `"pointwise"`, at its end, after BatchNorm
            and ReLU6; `"pointwise_linear"`, between that BatchNorm and ReLU6; `"depthwise"`, after
            the depthwise convolution's BatchNorm and ReLU6.
    """

    alpha: float = checked(MULTIPLIER, 1.0)
    strides: tuple[int, ...] = checked(INTEGERS, (2, 1, 2, 2, 2, 2))
    dropout: float = checked(SHARE, 1e-3)
    se_position: str = checked(one_of("pointwise", "pointwise_linear", "depthwise"), "pointwise")

    def __post_init__(self) -> None:
        super().__post_init__()
        if int(32 * self.alpha) < 1:
            raise ValueError(
                f"`alpha` must be at least 1/32, for one channel. Received: alpha={self.alpha!r}"
            )
        if len(self.strides) != 1 + len(STAGES) or not set(self.strides) <= {1, 2}:
            raise ValueError(
                f"`strides` must be {1 + len(STAGES)} numbers, each 1 or 2. "
                f"Received: strides={self.strides}"
            )

    def width(self, channels: int) -> int:
        """Return the channels of a layer that has `channels` at width 1."""
        return int(channels * self.alpha)

    @property
    def units(self) -> Mapping[int, int]:
        return {stage: count for stage, (_, count) in STAGES.items()}

    @property
    def stride(self) -> int:
        return math.prod(self.strides)

    @property
    def features(self) -> int:
        return self.width(1024)

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        widths = {stage: self.width(channels) for stage, (channels, _) in STAGES.items()}
        if self.se_position != "depthwise":
            return widths
        return {stage: widths.get(stage - 1, self.width(32)) for stage in STAGES}

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        x = conv(x, self.width(32), 3, "stem_conv", stride=self.strides[0], padding="same")
        x = relu6(batch_norm(x, "stem_bn", epsilon=EPSILON), "stem_relu")
        for stage, (channels, count) in STAGES.items():
            for n in range(1, count + 1):
                stride = self.strides[stage] if n == 1 else 1
                x = self._block(x, se, self.width(channels), stride, stage, n)
        return x

    def _block(
        self, x: Any, se: AttentionConfig | None, filters: int, stride: int, stage: int, n: int
    ) -> Any:
        name = f"stage{stage}_block{n}"

        def excited(x: Any, position: str) -> Any:
            here = position == self.se_position
            return self.squeeze_excite(x, se, stage, f"{name}_se") if here else x

        if stride > 1:
            x = pad(x, (0, 1), f"{name}_depthwise_pad")
        x = depthwise_conv(x, f"{name}_depthwise_conv", stride)
        x = batch_norm(x, f"{name}_depthwise_bn", epsilon=EPSILON)
        x = excited(relu6(x, f"{name}_depthwise_relu"), "depthwise")
        x = conv(x, filters, 1, f"{name}_pointwise_conv")
        x = batch_norm(x, f"{name}_pointwise_bn", epsilon=EPSILON)
        x = excited(x, "pointwise_linear")
        return excited(relu6(x, f"{name}_pointwise_relu"), "pointwise")

    def vector(self, x: Any) -> Any:
        return layers.Dropout(self.dropout, name="top_dropout")(super().vector(x))


def relu6(x: Any, name: str) -> Any:
    """Apply a ReLU capped at 6."""
    return layers.ReLU(6.0, name=name)(x)


SEMobileNet: MobileNetBuilder = network_builder(  # type: ignore[assignment]
    "SEMobileNet",
    "se_mobilenet",
    MobileNet(),
    Defaults(BACKBONE, 1000, 224, 32, (0.5,) * 3, (0.5,) * 3),
    summary="SE-MobileNet (version 1).",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Table 3; Howard et al.\n"
        "    (arXiv:1704.04861), Table 1."
    ),
    options={"alpha": "Width multiplier, a positive number. Defaults to 1.0."},
)
