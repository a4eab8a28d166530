"""SE-ResNet, SE-PreResNet and SE-WRN for small images (32 x 32 and 28 x 28).

The paper's CIFAR networks (Tables 4 and 5) are the pre-activation ResNets of He et al. 2016b and a
Wide ResNet; their hidden width is `C // 16`, which is 1 at 16 channels. The post-activation
networks are those of He et al. 2015, for which weights are published.

|          | SEResNet     | SEPreResNet110 | SEPreResNet164 | SEWRN16x8     |
| -------- | ------------ | -------------- | -------------- | ------------- |
| unit     | basic        | basic          | bottleneck     | basic         |
| widths   | 16, 32, 64   | 16, 32, 64     | 16, 32, 64     | 128, 256, 512 |
| shortcut | 1x1, BN      | zero padding   | 1x1            | 1x1           |
| order    | conv-BN-ReLU | BN-ReLU-conv   | BN-ReLU-conv   | BN-ReLU-conv  |

Other published variants are fields of `ResidualNetwork`: the zero-padding shortcut of He et al.
2015 is `shortcut="zero_pad"`, the post-activation 164 is `bottleneck=True` with 18 units per stage.
"""

from __future__ import annotations

from dataclasses import replace

from keras_se.models._builder import CIFAR, UNTRAINED_CIFAR, Builder, network_builder
from keras_se.models._residual import ResidualNetwork

_POST = ResidualNetwork(
    blocks=(3, 3, 3), widths=(16, 32, 64), bottleneck=False,
    stem_widths=(16,), stem_kernel=3, stem_stride=1, stem_pool=None,
)  # fmt: skip
_PRE = replace(_POST, preactivation=True, stem_norm=False)
# Depths with published weights.
TRAINED = (20, 56, 110)


def _se_resnet(depth: int) -> Builder:
    return network_builder(
        f"SEResNet{depth}",
        f"se_resnet{depth}",
        replace(_POST, blocks=((depth - 2) // 6,) * 3),
        CIFAR if depth in TRAINED else UNTRAINED_CIFAR,
        summary=f"SE-ResNet-{depth} for 32 x 32 images, post-activation.",
        reference="Hu et al. (arXiv:1709.01507), Section 3; He et al. (arXiv:1512.03385), 4.2.",
    )


def _pre_activation(name: str, title: str, network: ResidualNetwork, reference: str) -> Builder:
    return network_builder(
        f"SE{name}",
        f"se_{name.lower()}",
        network,
        UNTRAINED_CIFAR if name == "WRN16x8" else CIFAR,
        summary=f"SE-{title} for 32 x 32 images, pre-activation, as in the paper.",
        reference=f"Hu et al. (arXiv:1709.01507), Tables 4 and 5; {reference}.",
    )


SEResNet20 = _se_resnet(20)
SEResNet32 = _se_resnet(32)
SEResNet44 = _se_resnet(44)
SEResNet56 = _se_resnet(56)
SEResNet110 = _se_resnet(110)
SEPreResNet110 = _pre_activation(
    "PreResNet110",
    "ResNet-110",
    replace(_PRE, blocks=(18, 18, 18), shortcut="zero_pad"),
    "He et al. (arXiv:1603.05027)",
)
SEPreResNet164 = _pre_activation(
    "PreResNet164",
    "ResNet-164",
    replace(_PRE, blocks=(18, 18, 18), bottleneck=True),
    "He et al. (arXiv:1603.05027)",
)
SEWRN16x8 = _pre_activation(
    "WRN16x8",
    "WRN-16-8",
    replace(_PRE, blocks=(2, 2, 2), widths=(128, 256, 512)),
    "Zagoruyko and Komodakis (arXiv:1605.07146)",
)
