"""SE-DenseNet, an extension: the authors of SE did not train one.

The plain networks are `keras.applications.DenseNet121` etc. Stage k is dense block conv<k>.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.checks import one_of, positive_integer
from keras_se.fields import INTEGERS, checked
from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import WARM_START, Builder, network_builder
from keras_se.models._network import (
    NetworkDescription,
    batch_norm,
    channel_axis,
    conv,
    edge_pad,
    pool,
    relu,
)

EPSILON = 1.001e-5


@dataclass(frozen=True)
class DenseNet(NetworkDescription):
    """Description of a DenseNet-BC.

    Attributes:
        blocks: Layers of each dense block.
        growth_rate: Channels that each layer adds (k).
        stem_width: Channels of the stem's convolution.
        se_position: `"block+transition"`: on the output of every dense block and every
            transition; `"block"`: of every dense block; `"layer"`: on the channels that each layer
            adds.
    """

    blocks: tuple[int, ...] = checked(INTEGERS, (6, 12, 24, 16))
    growth_rate: int = checked(positive_integer, 32)
    stem_width: int = checked(positive_integer, 64)
    se_position: str = checked(one_of("block+transition", "block", "layer"), "block+transition")

    @property
    def units(self) -> Mapping[int, int]:
        return dict(enumerate(self.blocks, start=2))

    def outputs(self) -> dict[int, int]:
        """Return the output channels of each dense block."""
        channels, found = self.stem_width, {}
        for stage, count in self.units.items():
            found[stage] = channels + count * self.growth_rate
            channels = found[stage] // 2
        return found

    @property
    def features(self) -> int:
        return list(self.outputs().values())[-1]

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        outputs = self.outputs()
        if self.se_position == "layer":
            return dict.fromkeys(outputs, self.growth_rate)
        last = max(outputs)
        halved = self.se_position == "block+transition"
        return {k: n // 2 if halved and k < last else n for k, n in outputs.items()}

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        x = conv(x, self.stem_width, 7, "stem_conv", stride=2)
        x = relu(batch_norm(x, "stem_bn", epsilon=EPSILON), "stem_relu")
        x = pool(edge_pad(x, 1, "stem_pool_pad"), "Max", 3, "stem_pool", stride=2)
        for stage, count in self.units.items():
            for n in range(1, count + 1):
                x = self._layer(x, se, stage, n)
            if "block" in self.se_position:
                x = self.squeeze_excite(x, se, stage, f"stage{stage}_se")
            if stage < max(self.units):
                x = self._transition(x, se, stage)
        return relu(batch_norm(x, "post_bn", epsilon=EPSILON), "post_relu")

    def _layer(self, x: Any, se: AttentionConfig | None, stage: int, n: int) -> Any:
        name = f"stage{stage}_block{n}"
        added = relu(batch_norm(x, f"{name}_bn1", epsilon=EPSILON), f"{name}_relu1")
        added = conv(added, 4 * self.growth_rate, 1, f"{name}_conv1")
        added = relu(batch_norm(added, f"{name}_bn2", epsilon=EPSILON), f"{name}_relu2")
        added = conv(added, self.growth_rate, 3, f"{name}_conv2")
        if self.se_position == "layer":
            added = self.squeeze_excite(added, se, stage, f"{name}_se")
        return layers.Concatenate(channel_axis(), name=f"{name}_concat")([x, added])

    def _transition(self, x: Any, se: AttentionConfig | None, stage: int) -> Any:
        name = f"transition{stage}"
        x = relu(batch_norm(x, f"{name}_bn", epsilon=EPSILON), f"{name}_relu")
        x = conv(x, x.shape[channel_axis()] // 2, 1, f"{name}_conv")
        x = pool(x, "Average", 2, f"{name}_pool")
        if "transition" in self.se_position:
            x = self.squeeze_excite(x, se, stage, f"{name}_se")
        return x


def _se_densenet(depth: int, blocks: tuple[int, ...]) -> Builder:
    return network_builder(
        f"SEDenseNet{depth}",
        f"se_densenet{depth}",
        DenseNet(blocks),
        WARM_START,
        summary=f"SE-DenseNet-{depth}.",
        reference=(
            "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 3.3; not one\n"
            "    of its networks. Huang et al. (arXiv:1608.06993), Table 1."
        ),
    )


SEDenseNet121 = _se_densenet(121, (6, 12, 24, 16))
SEDenseNet169 = _se_densenet(169, (6, 12, 32, 32))
SEDenseNet201 = _se_densenet(201, (6, 12, 48, 32))
