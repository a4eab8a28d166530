"""The table of docs/volumes.md: parameters here and in ZFTurbo's packages.

`tests/parity/test_counts.py` builds the packages' own networks.
"""

from __future__ import annotations

import pytest
from parameter_counts import counted
from peer_counts import CHANNELS, CLASSES, ROWS, Row

import keras_se
from keras_se.weights.entries import get_weights

# A BatchNorm of the input with a scale, in 1-D: one number per channel.
SCALE = CHANNELS


def test_rows() -> None:
    names = ["SEResNet18", "SEResNet34", "SEResNet50"]
    assert [(row.name, row.rank) for row in ROWS] == [(n, rank) for rank in (1, 3) for n in names]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_difference_is_explained(row: Row) -> None:
    pre = row.name != "SEResNet50"
    more = SCALE if pre and row.rank == 1 else 0
    wide = {"kernel": 9, "stem": 49} if row.rank == 1 else {}
    assert row.here == counted(row.name, row.rank, CHANNELS, CLASSES)
    same = counted(row.name, row.rank, CHANNELS, CLASSES, preactivation=pre)
    assert row.same == same
    assert row.theirs == same + more
    default = counted(row.name, row.rank, CHANNELS, CLASSES, preactivation=pre, **wide)
    assert row.default == default + more
    if row.rank == 1:
        # A kernel of 9 has the weights of one of 3 x 3.
        images = counted(row.name, 2, CHANNELS, CLASSES, preactivation=pre)
        assert row.default == images + more


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=str(row), marks=[] if row.rank == 1 or row.name.endswith("18") else
                     pytest.mark.networks)
        for row in ROWS
    ],
)  # fmt: skip
def test_networks_here(row: Row) -> None:
    """`test_ranks.py` counts the networks without a variant."""
    entry = get_weights(f"se_resnet{row.name.removeprefix('SEResNet')}.zfturbo_imagenet_3d")
    model = getattr(keras_se, row.name)(
        weights=None,
        input_shape=(*[None] * row.rank, CHANNELS),
        classes=CLASSES,
        variant=entry.variant,
    )
    assert model.count_params() == row.same
