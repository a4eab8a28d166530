"""The parameters of SE-ResNets of any rank, counted from the papers' tables alone."""

from __future__ import annotations

# Units of each stage, and convolutions of a unit: whether the wide kernel, and share of the width.
RESNETS = {
    "SEResNet18": ((2, 2, 2, 2), ((True, 1), (True, 1))),
    "SEResNet34": ((3, 4, 6, 3), ((True, 1), (True, 1))),
    "SEResNet50": ((3, 4, 6, 3), ((False, 1), (True, 1), (False, 4))),
}


def counted(
    name: str,
    rank: int,
    channels: int,
    classes: int,
    *,
    kernel: int = 3,
    stem: int = 7,
    preactivation: bool = False,
) -> int:
    """All parameters: He et al. 2015, Table 1; Hu et al., Section 3.3; He et al. 2016b.

    Args:
        name: A builder.
        rank: Number of spatial axes.
        channels: Channels of the input.
        classes: Number of classes.
        kernel: Size of the kernels of 3 in the paper.
        stem: Size of the first kernel.
        preactivation: MXNet's networks: BatchNorm before each convolution, of the input without a
            scale, and after the last unit; a projection without one in each stage.
    """
    blocks, convolutions = RESNETS[name]
    total, inputs = stem**rank * channels * 64 + 4 * 64, 64
    if preactivation:
        total += 3 * channels
    for stage, units in enumerate(blocks):
        width = 64 * 2**stage
        for unit in range(units):
            outputs = width * convolutions[-1][1]
            if unit == 0 and (preactivation or stage > 0 or inputs != outputs):
                total += inputs * outputs + (0 if preactivation else 4 * outputs)
            for wide, share in convolutions:
                size = kernel if wide else 1
                normalised = inputs if preactivation else width * share
                total += size**rank * inputs * width * share + 4 * normalised
                inputs = width * share
            hidden = outputs // 16
            total += 2 * outputs * hidden + hidden + outputs
    total += 4 * inputs if preactivation else 0
    return total + inputs * classes + classes
