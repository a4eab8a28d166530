"""SE-Inception-v3, an extension: SE on the output of every module.

The plain network is `keras.applications.InceptionV3`, without the auxiliary classifier. Its modules
mixed0 to mixed2 are stage 3 here, mixed3 to mixed7 stage 4, mixed8 to mixed10 stage 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import layers

from keras_se.checks import boolean
from keras_se.fields import checked
from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import BACKBONE, Defaults, network_builder
from keras_se.models._inception import Branch, Conv, Fork, Pool, module, narrowest
from keras_se.models._network import NetworkDescription, batch_norm, conv, relu

INCEPTION = Defaults(BACKBONE, 1000, 299, 75, (0.5,) * 3, (0.5,) * 3)
EPSILON = 1e-3


def _module_a(pooled: int) -> list[Branch]:
    return [
        [Conv(64)],
        [Conv(48), Conv(64, 5)],
        [Conv(64), Conv(96, 3), Conv(96, 3)],
        [Pool("avg"), Conv(pooled)],
    ]


def _module_b(width: int) -> list[Branch]:
    row, column = (1, 7), (7, 1)
    return [
        [Conv(192)],
        [Conv(width), Conv(width, row), Conv(192, column)],
        [
            Conv(width), Conv(width, column), Conv(width, row), Conv(width, column),
            Conv(192, row),
        ],
        [Pool("avg"), Conv(192)],
    ]  # fmt: skip


def _module_c() -> list[Branch]:
    fork = Fork((Conv(384, (1, 3)), Conv(384, (3, 1))))
    return [
        [Conv(320)],
        [Conv(384), fork],
        [Conv(448), Conv(384, 3), fork],
        [Pool("avg"), Conv(192)],
    ]


MODULES: dict[int, list[list[Branch]]] = {
    3: [_module_a(32), _module_a(64), _module_a(64)],
    4: [
        [[Conv(384, 3, 2)], [Conv(64), Conv(96, 3), Conv(96, 3, 2)], [Pool("max", 2)]],
        _module_b(128),
        _module_b(160),
        _module_b(160),
        _module_b(192),
    ],
    5: [
        [
            [Conv(192), Conv(320, 3, 2)],
            [Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2)],
            [Pool("max", 2)],
        ],
        _module_c(),
        _module_c(),
    ],
}
STEM_OUTPUT = 192


def inception_conv(
    x: Any, step: Conv, name: str, *, scale: bool = False, padding: str | None = None
) -> Any:
    """Apply convolution, BatchNorm and ReLU, without padding where the resolution halves."""
    padding = padding or ("valid" if step.stride > 1 else "same")
    x = conv(x, step.filters, step.kernel, f"{name}_conv", stride=step.stride, padding=padding)
    return relu(batch_norm(x, f"{name}_bn", epsilon=EPSILON, scale=scale), f"{name}_relu")


def inception_pool(x: Any, step: Pool, name: str) -> Any:
    """Apply pooling, without padding where the resolution halves; averages exclude padding."""
    if step.kind == "max":
        return layers.MaxPooling2D(3, strides=step.stride, name=f"{name}_pool")(x)
    return layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)


def inception_stem(
    x: Any, scale: bool = False, width: Callable[[int], int] = int, small: bool = False
) -> Any:
    """Build the stem of Inception-v3 and Inception-ResNet-v2, up to the pool before stage 3.

    `width` scales the filters. For `small` pictures, everything is padded and there are no pools.
    """

    def step(x: Any, filters: int, kernel: int, stride: int, name: str, padding: str) -> Any:
        of = Conv(width(filters), kernel, stride)
        return inception_conv(x, of, name, scale=scale, padding="same" if small else padding)

    def pool(x: Any, name: str) -> Any:
        return x if small else layers.MaxPooling2D(3, strides=2, name=name)(x)

    x = step(x, 32, 3, 2, "stem_1", "valid")
    x = step(x, 32, 3, 1, "stem_2", "valid")
    x = step(x, 64, 3, 1, "stem_3", "same")
    x = pool(x, "stem_pool")
    x = step(x, 80, 1, 1, "stage2_1", "valid")
    x = step(x, STEM_OUTPUT, 3, 1, "stage2_2", "valid")
    return pool(x, "stage3_pool")


@dataclass(frozen=True)
class InceptionV3(NetworkDescription):
    """Description of an Inception-v3.

    Attributes:
        norm_scale: Whether BatchNorm has a scale. Keras' has none; with the weights of a plain
            network the scale absorbs the factor of two that compensates for the gates.
        se_on_reductions: Whether SE is also on the modules that halve the resolution.
    """

    # Kernels such as 1x7 have one form only for images.
    ranks: ClassVar[tuple[int, ...]] = (2,)

    norm_scale: bool = checked(boolean, False)
    se_on_reductions: bool = checked(boolean, True)

    @property
    def units(self) -> Mapping[int, int]:
        return {stage: len(modules) for stage, modules in MODULES.items()}

    @property
    def features(self) -> int:
        return 2048

    @property
    def first_convolution(self) -> str:
        return "stem_1_conv"

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        return narrowest(MODULES, STEM_OUTPUT)

    def is_added(self, variable: str) -> bool:
        return variable.endswith("/gamma")

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        def step(x: Any, of: Conv, name: str) -> Any:
            return inception_conv(x, of, name, scale=self.norm_scale)

        x = inception_stem(x, self.norm_scale)
        for stage, modules in MODULES.items():
            for n, branches in enumerate(modules, start=1):
                name = f"stage{stage}_block{n}"
                x = module(x, branches, name, conv=step, pool=inception_pool)
                if self.se_on_reductions or stage == 3 or n > 1:
                    x = self.squeeze_excite(x, se, stage, f"{name}_se")
        return x


SEInceptionV3 = network_builder(
    "SEInceptionV3",
    "se_inception_v3",
    InceptionV3(),
    INCEPTION,
    summary="SE-Inception-v3.",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Fig. 2; not one of its\n"
        "    networks. Szegedy et al. (arXiv:1512.00567), Section 6."
    ),
)
