"""SE-ResNet-RS: ResNet-D with Squeeze-and-Excitation, scaled in depth and in image size.

Differences from SE-ResNet: the 3x3 convolution strides; the stem has three 3x3 convolutions, and a
fourth one in place of its pool; projections follow an average pool (ResNet-D); a block's ratio is 4
in place of 16. The paper also trains with dropout and stochastic depth, which are fields of the
description (`dropout`, `stochastic_depth`), 0 by default as in timm.

Each network has its own image size: that of the published weights' training.
"""

from __future__ import annotations

from dataclasses import replace

from keras_se.layers import SEConfig
from keras_se.models._builder import IMAGENET, Builder, network_builder
from keras_se.models._residual import ResidualNetwork

# Units of each stage, and image size, by depth.
NETWORKS = {
    50: ((3, 4, 6, 3), 160),
    101: ((3, 4, 23, 3), 192),
    152: ((3, 8, 36, 3), 256),
    200: ((3, 24, 36, 3), 256),
    270: ((4, 29, 53, 4), 256),
    350: ((4, 36, 72, 4), 288),
    420: ((4, 44, 87, 4), 320),
}
_RS = replace(IMAGENET, se=SEConfig(ratio=4))


def _se_resnet_rs(depth: int) -> Builder:
    blocks, size = NETWORKS[depth]
    return network_builder(
        f"SEResNetRS{depth}",
        f"se_resnetrs{depth}",
        ResidualNetwork(
            blocks,
            stem_widths=(32, 32, 64),
            stem_pool="conv",
            stride_on="3x3",
            shortcut="average_pool",
        ),
        replace(_RS, size=size),
        summary=f"SE-ResNet-RS-{depth}.",
        reference="Bello et al., Revisiting ResNets (arXiv:2103.07579).",
    )


SEResNetRS50 = _se_resnet_rs(50)
SEResNetRS101 = _se_resnet_rs(101)
SEResNetRS152 = _se_resnet_rs(152)
SEResNetRS200 = _se_resnet_rs(200)
SEResNetRS270 = _se_resnet_rs(270)
SEResNetRS350 = _se_resnet_rs(350)
SEResNetRS420 = _se_resnet_rs(420)
