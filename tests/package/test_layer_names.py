import pytest

from keras_se.layer_names import parse


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("stem_bn2", ("stem", 0, None, "bn2")),
        ("stage3_block12_se", ("stage", 3, 12, "se")),
        ("stage2_1_conv", ("stage", 2, None, "1_conv")),
        ("transition4_bn", ("transition", 4, None, "bn")),
        ("backbone/stage5_block1_conv1", ("stage", 5, 1, "conv1")),
    ],
)
def test_names_of_this_package(name: str, parts: tuple[object, ...]) -> None:
    assert parse(name) == parts


@pytest.mark.parametrize("name", ["conv2d_3", "stage_se", "stem4_bn", "predictions", "my_stage2_x"])
def test_other_names(name: str) -> None:
    assert parse(name) is None
