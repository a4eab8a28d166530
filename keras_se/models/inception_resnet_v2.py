"""SE-Inception-ResNet-v2 (Table 2): SE on the branch of every residual module.

The plain network is `keras.applications.InceptionResNetV2`: mixed_5b and block35 are stage 3 here,
mixed_6a and block17 stage 4, mixed_7a and block8 stage 5. The paper states 11.75 GFLOPs, which
matches no known definition of the network; this one has 13.16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from keras import layers

from keras_se.checks import boolean, one_of
from keras_se.fields import INTEGERS, checked
from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import network_builder
from keras_se.models._inception import Branch, Conv, Pool, channels, module
from keras_se.models._network import (
    MULTIPLIER,
    NetworkDescription,
    channel_axis,
    conv,
    relu,
    same_length,
)
from keras_se.models.inception_v3 import (
    INCEPTION,
    STEM_OUTPUT,
    inception_conv,
    inception_pool,
    inception_stem,
)


@dataclass(frozen=True)
class Stage:
    """A module without a shortcut, then residual modules."""

    mixed: Sequence[Branch]
    residual: Sequence[Branch]
    scale: float


STAGES = {
    3: Stage(
        [
            [Conv(96)],
            [Conv(48), Conv(64, 5)],
            [Conv(64), Conv(96, 3), Conv(96, 3)],
            [Pool("avg"), Conv(64)],
        ],
        [[Conv(32)], [Conv(32), Conv(32, 3)], [Conv(32), Conv(48, 3), Conv(64, 3)]],
        0.17,
    ),
    4: Stage(
        [[Conv(384, 3, 2)], [Conv(256), Conv(256, 3), Conv(384, 3, 2)], [Pool("max", 2)]],
        [[Conv(192)], [Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))]],
        0.1,
    ),
    5: Stage(
        [
            [Conv(256), Conv(384, 3, 2)],
            [Conv(256), Conv(288, 3, 2)],
            [Conv(256), Conv(288, 3), Conv(320, 3, 2)],
            [Pool("max", 2)],
        ],
        [[Conv(192)], [Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))]],
        0.2,
    ),
}


@dataclass(frozen=True)
class InceptionResNetV2(NetworkDescription):
    """Description of an Inception-ResNet-v2.

    Attributes:
        se_position: In a residual module, `"branch"`: on the branch after its last 1x1
            convolution, before it is scaled and added; `"concat"`: on the concatenated branches
            before that convolution.
        se_on_mixed: Whether SE is also on the output of the three modules without a shortcut.
        blocks: Residual modules of stages 3, 4 and 5.
        alpha: Width multiplier: every convolution has `int(alpha * filters)` filters.
        stem: `"large"`: an eighth of the resolution; `"small"`: half of it, by the same
            convolutions without pools, for pictures of at least 16 x 16.
    """

    # Kernels such as 1x7 have one form only for images.
    ranks: ClassVar[tuple[int, ...]] = (2,)

    se_position: str = checked(one_of("branch", "concat"), "branch")
    se_on_mixed: bool = checked(boolean, True)
    blocks: tuple[int, ...] = checked(INTEGERS, (10, 20, 10))
    alpha: float = checked(MULTIPLIER, 1.0)
    stem: str = checked(one_of("large", "small"), "large")

    def __post_init__(self) -> None:
        super().__post_init__()
        same_length(self.blocks, tuple(STAGES))
        if self._width(32) < 1:
            raise ValueError(
                f"`alpha` must be at least 1/32, for one channel. Received: alpha={self.alpha!r}"
            )

    @property
    def units(self) -> Mapping[int, int]:
        return {number: 1 + blocks for number, blocks in zip(STAGES, self.blocks, strict=True)}

    @property
    def features(self) -> int:
        return self._width(1536)

    @property
    def stride(self) -> int | None:
        return 16 if self.stem == "small" else None

    @property
    def first_convolution(self) -> str:
        return "stem_1_conv"

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        found, inputs = {}, self._width(STEM_OUTPUT)
        for number, stage in STAGES.items():
            inputs = channels(self._scaled(stage.mixed), inputs)
            inner = channels(self._scaled(stage.residual), inputs)
            found[number] = inner if self.se_position == "concat" else inputs
        return found

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        x = inception_stem(x, width=self._width, small=self.stem == "small")
        for number, units in self.units.items():
            name = f"stage{number}_mixed"
            x = self._module(x, STAGES[number].mixed, name)
            if self.se_on_mixed:
                x = self.squeeze_excite(x, se, number, f"{name}_se")
            for n in range(1, units):
                x = self._block(x, se, number, n)
        return inception_conv(x, Conv(self.features), "post")

    def _width(self, filters: int) -> int:
        return int(filters * self.alpha)

    def _scaled(self, branches: Sequence[Branch]) -> list[Branch]:
        """The branches with the width multiplier applied."""
        return [
            [
                replace(step, filters=self._width(step.filters)) if isinstance(step, Conv) else step
                for step in branch
            ]
            for branch in branches
        ]

    def _module(self, x: Any, branches: Sequence[Branch], name: str) -> Any:
        return module(x, self._scaled(branches), name, conv=inception_conv, pool=inception_pool)

    def _block(self, x: Any, se: AttentionConfig | None, number: int, n: int) -> Any:
        stage, name = STAGES[number], f"stage{number}_block{n}"
        # The very last branch is added unscaled, and no ReLU follows.
        last = number == max(STAGES) and n == self.blocks[-1]
        branch = self._module(x, stage.residual, name)
        if self.se_position == "concat":
            branch = self.squeeze_excite(branch, se, number, f"{name}_se")
        branch = conv(branch, x.shape[channel_axis()], 1, f"{name}_conv", use_bias=True)
        if self.se_position == "branch":
            branch = self.squeeze_excite(branch, se, number, f"{name}_se")
        if not last:
            branch = layers.Rescaling(stage.scale, name=f"{name}_scale")(branch)
        x = layers.Add(name=f"{name}_add")([x, branch])
        return x if last else relu(x, f"{name}_relu")


SEInceptionResNetV2 = network_builder(
    "SEInceptionResNetV2",
    "se_inception_resnet_v2",
    InceptionResNetV2(),
    INCEPTION,
    summary="SE-Inception-ResNet-v2.",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Table 2 and Fig. 3;\n"
        "    Szegedy et al. (arXiv:1602.07261), Inception-ResNet-v2."
    ),
)
