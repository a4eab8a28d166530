"""SE-ResNet, SE-ResNeXt and SENet-154 for ImageNet-sized images.

The defaults are the networks of the paper and of the authors' release (Table 1, Section 5.1):

|            | SEResNet18, 34 | SEResNet50, 101, 152 | SEResNeXt50, 101 | SENet154         |
| ---------- | -------------- | -------------------- | ---------------- | ---------------- |
| unit       | basic          | bottleneck           | bottleneck       | bottleneck       |
| 3x3        | dense          | dense                | 32 groups of 4d  | 64 groups of 4d  |
| first 1x1  | -              | as wide as the 3x3   | as the 3x3       | half of the 3x3  |
| stride on  | first 3x3      | first 1x1            | 3x3              | 3x3              |
| stem       | 7x7, 64        | 7x7, 64              | 7x7, 64          | 3x3: 64, 64, 128 |
| stem pool  | ceil mode      | ceil mode            | ceil mode        | ceil mode        |
| shortcut   | 1x1            | 1x1                  | 1x1              | 3x3 (1x1 first)  |
| dropout    | -              | -                    | -                | 0.2              |

The other published variants differ in fields of `ResidualNetwork`:

| published by      | fields                                                                       |
| ----------------- | ---------------------------------------------------------------------------- |
| osmr              | `stem_pool="pad1"`; with suffix b also `stride_on="3x3"`                     |
| timm              | `stem_pool="pad1"`, `stride_on="3x3"`, `hidden_divisor=8`                    |
| timm d            | as timm, `stem_widths=(32, 32, 64)`, `shortcut="average_pool"`               |
| timm t            | as timm d, `stem_widths=(24, 32, 64)`                                        |
| timm aa           | as timm d, `antialias=True`, `stem_pool="average"`                           |
| timm legacy 18/34 | `relu_before_se=True`                                                        |
| 64x4d, 32x8d      | `groups=64`, `base_width=4`; `groups=32`, `base_width=8`                     |
"""

from __future__ import annotations

from keras_se.models._builder import IMAGENET, Builder, network_builder
from keras_se.models._residual import ResidualNetwork

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_PAPER = "Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507)"


def _se_resnet(depth: int, where: str) -> Builder:
    return network_builder(
        f"SEResNet{depth}",
        f"se_resnet{depth}",
        ResidualNetwork(_BLOCKS[depth], bottleneck=depth >= 50),
        IMAGENET,
        summary=f"SE-ResNet-{depth}.",
        reference=f"{_PAPER}, {where}.",
    )


def _se_resnext(depth: int) -> Builder:
    return network_builder(
        f"SEResNeXt{depth}",
        f"se_resnext{depth}",
        ResidualNetwork(_BLOCKS[depth], groups=32, base_width=4, stride_on="3x3"),
        IMAGENET,
        summary=f"SE-ResNeXt-{depth} (32x4d).",
        reference=f"{_PAPER}, Tables 1 and 2.",
    )


SEResNet18 = _se_resnet(18, "Section 3.3; not one of its networks")
SEResNet34 = _se_resnet(34, "Section 3.3; not one of its networks")
SEResNet50 = _se_resnet(50, "Tables 1 and 2")
SEResNet101 = _se_resnet(101, "Table 2")
SEResNet152 = _se_resnet(152, "Table 2")
SEResNeXt50 = _se_resnext(50)
SEResNeXt101 = _se_resnext(101)
SENet154 = network_builder(
    "SENet154",
    "senet154",
    ResidualNetwork(
        _BLOCKS[152],
        groups=64,
        base_width=4,
        reduce_divisor=2,
        stem_widths=(64, 64, 128),
        stride_on="3x3",
        shortcut="3x3",
        dropout=0.2,
    ),
    IMAGENET,
    summary="SENet-154.",
    reference=f"{_PAPER}, Section 5.4 and Table 8.",
)
