"""SE-BN-Inception (Table 2), as the authors of SE released it: SE on the output of every module.

The modules 3a and 3b are stage 3 here, 3c and 4a to 4d stage 4, 4e, 5a and 5b stage 5: 3c and 4e
halve the resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import IMAGENET, network_builder
from keras_se.models._inception import Branch, Conv, Pool, module, narrowest
from keras_se.models._network import (
    NetworkDescription,
    batch_norm,
    ceil_max_pool,
    conv,
    edge_pad,
    pool,
    relu,
)


def _module(
    single: int, triple: tuple[int, int], double: tuple[int, int, int], pool: str, projected: int
) -> list[Branch]:
    """Columns of the published table: 1x1; reduced 3x3, 3x3; double 3x3; pool, projected."""
    return [
        [Conv(single)],
        [Conv(triple[0]), Conv(triple[1], 3)],
        [Conv(double[0]), Conv(double[1], 3), Conv(double[2], 3)],
        [Pool(pool), Conv(projected)],
    ]


def _reduction(triple: tuple[int, int], double: tuple[int, int, int]) -> list[Branch]:
    return [
        [],
        [Conv(triple[0]), Conv(triple[1], 3, 2)],
        [Conv(double[0]), Conv(double[1], 3), Conv(double[2], 3, 2)],
        [Pool("max", 2)],
    ]


MODULES: dict[int, list[list[Branch]]] = {
    3: [
        _module(64, (64, 64), (64, 96, 96), "avg", 32),
        _module(64, (64, 96), (64, 96, 96), "avg", 64),
    ],
    4: [
        _reduction((128, 160), (64, 96, 96)),
        _module(224, (64, 96), (96, 128, 128), "avg", 128),
        _module(192, (96, 128), (96, 128, 128), "avg", 128),
        _module(160, (128, 160), (128, 160, 160), "avg", 128),
        _module(96, (128, 192), (160, 192, 192), "avg", 128),
    ],
    5: [
        _reduction((128, 192), (192, 256, 256)),
        _module(352, (192, 320), (160, 224, 224), "avg", 128),
        _module(352, (192, 320), (192, 224, 224), "max", 128),
    ],
}
STEM_OUTPUT = 192


@dataclass(frozen=True)
class BNInception(NetworkDescription):
    """Description of BN-Inception, which has no variants."""

    @property
    def units(self) -> Mapping[int, int]:
        return {stage: len(modules) for stage, modules in MODULES.items()}

    @property
    def features(self) -> int:
        return 1024

    def narrowest(self, se: AttentionConfig) -> Mapping[int, int]:
        return narrowest(MODULES, STEM_OUTPUT)

    def feature_maps(self, x: Any, se: AttentionConfig | None) -> Any:
        x = relu(batch_norm(conv(x, 64, 7, "stem_conv", stride=2), "stem_bn"), "stem_relu")
        x = ceil_max_pool(x, "stem_pool")
        x = _conv(x, Conv(64), "stage2_1")
        x = _conv(x, Conv(STEM_OUTPUT, 3), "stage2_2")
        x = ceil_max_pool(x, "stage3_pool")
        for stage, modules in MODULES.items():
            for n, branches in enumerate(modules, start=1):
                name = f"stage{stage}_block{n}"
                x = module(x, branches, name, conv=_conv, pool=_pool)
                x = self.squeeze_excite(x, se, stage, f"{name}_se")
        return x


def _conv(x: Any, step: Conv, name: str) -> Any:
    x = conv(x, step.filters, step.kernel, f"{name}_conv", stride=step.stride)
    return relu(batch_norm(x, f"{name}_bn"), f"{name}_relu")


def _pool(x: Any, step: Pool, name: str) -> Any:
    if step.kind == "avg":
        # Caffe counts the padding in its averages.
        return pool(edge_pad(x, 1, f"{name}_pad"), "Average", 3, f"{name}_pool", stride=1)
    # For even sizes this is Caffe's ceil mode; for odd ones, where Caffe fails because the
    # branches would differ in size, it matches the convolutions of the other branches.
    return pool(x, "Max", 3, f"{name}_pool", stride=step.stride, padding="same")


SEBNInception = network_builder(
    "SEBNInception",
    "se_bn_inception",
    BNInception(),
    IMAGENET,
    summary="SE-BN-Inception.",
    reference=(
        "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Table 2; Ioffe and\n"
        "    Szegedy (arXiv:1502.03167), Fig. 5."
    ),
)
