"""SE-VGG-16 with BatchNorm (Table 2): SE after the ReLU of every convolution.

Stage k consists of the convolutions conv<k> and the pool after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.checks import boolean
from keras_se.fields import INTEGERS, SHARE, checked
from keras_se.layers import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
)
from keras_se.layers._ranks import rank_of
from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import UNTRAINED, network_builder
from keras_se.models._network import (
    NetworkDescription,
    batch_norm,
    conv,
    pool,
    relu,
    same_length,
)

# Size of the feature maps at 224 pixels, the input of the fully connected layers. Volumes are
# averaged over their depth, else the first of these layers would have 719 million weights.
POOLING: Mapping[int, Any] = {
    1: (AdaptiveAveragePooling1D, 7),
    2: (AdaptiveAveragePooling2D, 7),
    3: (AdaptiveAveragePooling3D, (1, 7, 7)),
}


@dataclass(frozen=True)
class VGG(NetworkDescription):
    """Description of a VGG network with BatchNorm.

    Attributes:
        blocks: Convolutions of each stage.
        widths: Channels of each stage.
        fully_connected: Widths of the fully connected layers before the classifier.
        conv_bias: Whether the convolutions have biases, which BatchNorm makes redundant.
        dropout: Dropout rate after each fully connected layer, in training.
    """

    blocks: tuple[int, ...] = checked(INTEGERS, (2, 2, 3, 3, 3))
    widths: tuple[int, ...] = checked(INTEGERS, (64, 128, 256, 512, 512))
    fully_connected: tuple[int, ...] = checked(INTEGERS, (4096, 4096))
    conv_bias: bool = checked(boolean, False)
    dropout: float = checked(SHARE, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        same_length(self.blocks, self.widths)

    @property
    def units(self) -> Mapping[int, int]:
        return dict(enumerate(self.blocks, start=1))

    @property
    def stride(self) -> int:
        return 2 ** len(self.blocks)

    @property
    def features(self) -> int:
        return self.widths[-1]

    @property
    def first_convolution(self) -> str:
        return "stage1_conv1"

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        return dict(enumerate(self.widths, start=1))

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), 1):
            name = f"stage{stage}"
            for n in range(1, count + 1):
                x = conv(x, width, 3, f"{name}_conv{n}", use_bias=self.conv_bias)
                x = relu(batch_norm(x, f"{name}_bn{n}"), f"{name}_relu{n}")
                x = self.squeeze_excite(x, se, stage, f"{name}_se{n}")
            x = pool(x, "Max", 2, f"{name}_pool")
        return x

    def vector(self, x: Any) -> Any:
        # At other sizes, average the maps to the size that the weights expect.
        pooling, size = POOLING[rank_of(x)]
        x = pooling(size, name="avg_pool")(x)
        x = layers.Flatten(name="flatten")(x)
        for n, width in enumerate(self.fully_connected, start=1):
            x = layers.Dense(
                width, activation="relu", kernel_initializer="he_uniform", name=f"fc{n}"
            )(x)
            x = layers.Dropout(self.dropout, name=f"fc{n}_dropout")(x)
        return x


SEVGG16 = network_builder(
    "SEVGG16",
    "se_vgg16",
    VGG(),
    UNTRAINED,
    summary="SE-VGG-16 with BatchNorm.",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Table 2; Simonyan and\n"
        "    Zisserman (arXiv:1409.1556), network D."
    ),
)
