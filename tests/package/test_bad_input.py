"""Users' mistakes: one line that names the argument, the received value and what is valid."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from mistakes import one_line

import keras_se
from keras_se import SEConfig, SEResNet20, SqueezeExcite, files
from keras_se.weights import entries, hashes, variable_file

NAME = "se_resnet20.fashion_mnist"
ENTRY = replace(entries.get_weights(NAME), file="absent.h5", sha="sha256:" + "0" * 64)


@pytest.fixture
def no_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constructing any layer fails the test."""

    def refuse(self: keras.layers.Layer, *_: object, **__: object) -> None:
        raise AssertionError(f"{type(self).__name__} was constructed")

    monkeypatch.setattr(keras.layers.Layer, "__init__", refuse)


@pytest.fixture
def pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry with one set, of SEResNet20, whose file must not be needed."""
    monkeypatch.setattr(entries, "_registry", lambda: {NAME: ENTRY})


@pytest.fixture
def no_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty registry."""
    monkeypatch.setattr(entries, "_registry", dict)


def test_layers_are_refused(no_layers: None) -> None:
    with pytest.raises(AssertionError, match="was constructed"):
        SEResNet20(weights=None)


NOT_POSITIVE_INTEGERS = [0, -1, 1.5, True, "16", (16,)]
SE_CHOICES = [
    ("squeeze", "mean", ""),
    ("squeeze", "average", "avg"),
    ("squeeze", True, ""),
    ("gate", "softmax", ""),
    ("gate", "sigmod", "sigmoid"),
    ("gate", None, ""),
]


def assert_choices(message: str, argument: str, near: str) -> None:
    choices = {
        "squeeze": ("'avg'", "'max'", "None"),
        "gate": ("'sigmoid'", "'tanh'", "'relu'", "'hard_sigmoid'"),
        "placement": ("'standard'", "'pre'", "'post'", "'identity'", "'conv3x3'"),
        "data_format": ("'channels_last'", "'channels_first'"),
        "pooling": ("None", "'avg'", "'max'"),
    }[argument]
    for choice in choices:
        assert choice in message.split("Received")[0]
    if near:
        assert f"Did you mean {near!r}?" in message


@pytest.mark.parametrize("ratio", [*NOT_POSITIVE_INTEGERS, None])
@pytest.mark.parametrize("kind", [SqueezeExcite, SEConfig])
def test_ratio(kind: Callable[..., object], ratio: Any) -> None:
    one_line(lambda: kind(ratio), "ratio", repr(ratio))


@pytest.mark.parametrize(("argument", "value", "near"), SE_CHOICES)
@pytest.mark.parametrize("kind", [SqueezeExcite, SEConfig])
def test_squeeze_and_gate(
    kind: Callable[..., object], argument: str, value: Any, near: str
) -> None:
    message = one_line(lambda: kind(**{argument: value}), argument, repr(value))
    assert_choices(message, argument, near)


@pytest.mark.parametrize("hidden_units", NOT_POSITIVE_INTEGERS)
def test_hidden_units(hidden_units: Any) -> None:
    one_line(lambda: SqueezeExcite(hidden_units=hidden_units), "hidden_units", repr(hidden_units))


@pytest.mark.parametrize(
    ("data_format", "near"),
    [("nchw", ""), ("channel_last", "channels_last"), ("", ""), (1, "")],
)
def test_data_format(data_format: Any, near: str) -> None:
    message = one_line(
        lambda: SqueezeExcite(data_format=data_format), "data_format", repr(data_format)
    )
    assert_choices(message, "data_format", near)


@pytest.mark.parametrize("activation", ["rleu", 3])
def test_layer_activation(activation: Any) -> None:
    one_line(lambda: SqueezeExcite(activation=activation), "activation", activation)


@pytest.mark.parametrize(
    ("placement", "near"), [("before", ""), ("standart", "standard"), (None, ""), ("conv3", "")]
)
def test_placement(placement: Any, near: str) -> None:
    message = one_line(lambda: SEConfig(placement=placement), "placement", repr(placement))
    assert_choices(message, "placement", near)


@pytest.mark.parametrize(
    ("stages", "received"),
    [(("2",), "'2'"), ((2.5,), "2.5"), ((2, 0), "0"), ((True,), "True"), ("23", "'23'"), (2, "2")],
)
def test_stages(stages: Any, received: str) -> None:
    one_line(lambda: SEConfig(stages=stages), "stages", received)


@pytest.mark.parametrize("stage", [1, 6])
@pytest.mark.parametrize("builder", ["SEResNet20", "SEResNet50", "SEPreResNet110"])
def test_stages_that_the_network_lacks(builder: str, stage: int, no_layers: None) -> None:
    se = SEConfig(stages=(2, stage))
    message = one_line(
        lambda: getattr(keras_se, builder)(weights=None, se=se), "stages", (2, stage)
    )
    assert ("(2, 3, 4, 5)" if builder == "SEResNet50" else "(2, 3, 4)") in message


@pytest.mark.parametrize("shape", [(2, 8), (2, 2, 2, 2, 2, 8)])
@pytest.mark.parametrize("method", ["__call__", "gates"])
def test_rank(shape: tuple[int, ...], method: str) -> None:
    layer = SqueezeExcite(4)
    message = one_line(
        lambda: getattr(layer, method)(np.ones(shape, "float32")), "input_shape", shape
    )
    assert "3, 4 or 5" in message
    assert layer.weights == []


@pytest.mark.parametrize("shape", [(8,), (2, 2, 2, 2, 8)])
def test_rank_of_a_symbolic_input(shape: tuple[int, ...]) -> None:
    one_line(lambda: SqueezeExcite(4)(keras.Input(shape)), "input_shape", (None, *shape))


@pytest.mark.parametrize(
    ("data_format", "shape"), [("channels_last", (4, 4, None)), ("channels_first", (None, 4, 4))]
)
def test_unknown_channels(data_format: str, shape: tuple[int | None, ...]) -> None:
    layer = SqueezeExcite(4, data_format=data_format)
    message = one_line(lambda: layer(keras.Input(shape)), "input_shape", (None, *shape))
    assert "channels" in message.split("Received")[0]
    assert data_format in message


@pytest.mark.parametrize("ratio", [17, 1000])
def test_ratio_above_the_channels_of_a_network(ratio: int, no_layers: None) -> None:
    message = one_line(lambda: SEResNet20(weights=None, se=SEConfig(ratio)), "ratio", ratio)
    assert "16" in message.split("Received")[0]


@pytest.mark.parametrize("activation", ["rleu", 3])
def test_se_activation_of_a_network(activation: Any, no_layers: None) -> None:
    one_line(
        lambda: SEResNet20(weights=None, se=SEConfig(activation=activation)),
        "activation",
        activation,
    )


# Each with the argument that the message must name and the value as it must be shown.
BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str, object]] = {
    "no channels": ({"input_shape": (32,)}, "input_shape", (32,)),
    "too short": ({"input_shape": (2, 32)}, "input_shape", (2, 32)),
    "unknown channels": ({"input_shape": (32, 32, None)}, "input_shape", (32, 32, None)),
    "too low": ({"input_shape": (7, 32, 3)}, "input_shape", (7, 32, 3)),
    "too narrow": ({"input_shape": (None, 7, 3)}, "input_shape", (None, 7, 3)),
    "too flat": ({"input_shape": (1, 32, 32, 3)}, "input_shape", (1, 32, 32, 3)),
    "rank too high": ({"input_shape": (8, 8, 8, 8, 3)}, "input_shape", (8, 8, 8, 8, 3)),
    "empty shape": ({"input_shape": ()}, "input_shape", ()),
    "negative": ({"input_shape": (32, -32, 3)}, "input_shape", (32, -32, 3)),
    "zero": ({"input_shape": (0, 32, 3)}, "input_shape", (0, 32, 3)),
    "zero channels": ({"input_shape": (32, 32, 0)}, "input_shape", (32, 32, 0)),
    "floats": ({"input_shape": (32.0, 32.0, 3)}, "input_shape", (32.0, 32.0, 3)),
    "strings": ({"input_shape": ("32", "32", "3")}, "input_shape", ("32", "32", "3")),
    "one string": ({"input_shape": "32x32x3"}, "input_shape", "32x32x3"),
    "one number": ({"input_shape": 32}, "input_shape", 32),
    "no classes": ({"classes": 0}, "classes", 0),
    "negative classes": ({"classes": -1}, "classes", -1),
    "half a class": ({"classes": 2.5}, "classes", 2.5),
    "classes in words": ({"classes": "10"}, "classes", "'10'"),
    "true classes": ({"classes": True}, "classes", True),
    "unknown activation": (
        {"classifier_activation": "sotfmax"}, "classifier_activation", "sotfmax",
    ),
    "number as activation": ({"classifier_activation": 3}, "classifier_activation", 3),
    "se by name": ({"se": "default"}, "se", "default"),
    "true se": ({"se": True}, "se", True),
    "variant by name": ({"variant": "timm"}, "variant", "timm"),
    "unknown stride": ({"variant": {"stride_on": "2x2"}}, "stride_on", "'2x2'"),
    "unknown stem pool": ({"variant": {"stem_pool": "max"}}, "stem_pool", "'max'"),
    "unknown shortcut": ({"variant": {"shortcut": "2x2"}}, "shortcut", "'2x2'"),
    "groups in words": ({"variant": {"groups": "32"}}, "groups", "'32'"),
    "no groups": ({"variant": {"groups": 0, "bottleneck": True}}, "groups", 0),
    "stages without widths": ({"variant": {"blocks": (3, 3)}}, "blocks", (3, 3)),
    "blocks in words": ({"variant": {"blocks": "333"}}, "blocks", "333"),
    "too much dropout": ({"variant": {"dropout": 2}}, "dropout", 2),
    "negative divisor": ({"variant": {"hidden_divisor": -8}}, "hidden_divisor", -8),
    "bottleneck in words": ({"variant": {"bottleneck": "no"}}, "bottleneck", "no"),
    "epsilon in words": ({"variant": {"epsilon": "1e-5"}}, "epsilon", "'1e-5'"),
    "head in words": ({"include_top": "no"}, "include_top", "'no'"),
    "preprocessing in words": (
        {"include_preprocessing": "caffe"}, "include_preprocessing", "'caffe'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_builder(name: str, no_layers: None) -> None:
    arguments, argument, received = BAD_ARGUMENTS[name]
    one_line(lambda: SEResNet20(weights=None, **arguments), argument, received)


@pytest.mark.parametrize("name", [3, "a/b"])
def test_model_name(name: Any) -> None:
    one_line(lambda: SEResNet20(weights=None, name=name), "name", name)


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize(("pooling", "near"), [("average", "avg"), ("median", ""), (True, "")])
def test_pooling(pooling: Any, near: str, include_top: bool, no_layers: None) -> None:
    message = one_line(
        lambda: SEResNet20(include_top, weights=None, pooling=pooling), "pooling", repr(pooling)
    )
    assert_choices(message, "pooling", near)


@pytest.mark.parametrize(
    ("field", "near"), [("stide_on", "stride_on"), ("dropuot", "dropout"), ("qqq", "")]
)
def test_unknown_variant_field(field: str, near: str, no_layers: None) -> None:
    message = one_line(
        lambda: SEResNet20(weights=None, variant={field: "3x3"}), "variant", repr(field)
    )
    assert ("Did you mean" in message) == bool(near)
    assert near in message.split("Received")[1]
    assert near in message.split("Received")[0]
    assert len(message) <= 300


@pytest.mark.parametrize(
    ("builder", "smallest"),
    [
        ("SEResNet50", 32), ("SENet154", 32), ("SEBNInception", 32), ("SEVGG16", 32),
        ("SEMobileNet", 32), ("SEShuffleNet", 32), ("SEDenseNet121", 32), ("SEInceptionV3", 75),
        ("SEInceptionResNetV2", 75), ("SEShakeShake26", 8),
    ],
)  # fmt: skip
def test_too_small_for_the_network(builder: str, smallest: int, no_layers: None) -> None:
    for shape in ((smallest - 1, 224, 3), (224, smallest - 1, 3)):
        message = one_line(
            lambda shape=shape: getattr(keras_se, builder)(weights=None, input_shape=shape),
            "input_shape",
            shape,
        )
        assert f"at least {smallest} high and wide" in message


FAMILIES = {
    "SEBNInception": ("BNInception", (3, 4, 5)),
    "SEDenseNet121": ("DenseNet", (2, 3, 4, 5)),
    "SEInceptionResNetV2": ("InceptionResNetV2", (3, 4, 5)),
    "SEInceptionV3": ("InceptionV3", (3, 4, 5)),
    "SEMobileNet": ("MobileNet", (1, 2, 3, 4, 5)),
    "SEShakeShake26": ("ShakeShakeNetwork", (2, 3, 4)),
    "SEShuffleNet": ("ShuffleNet", (3, 4, 5)),
    "SEVGG16": ("VGG", (1, 2, 3, 4, 5)),
}


@pytest.mark.parametrize("builder", FAMILIES)
def test_placement_and_stages_of_the_families(builder: str, no_layers: None) -> None:
    build = getattr(keras_se, builder)
    description, stages = FAMILIES[builder]
    message = one_line(
        lambda: build(weights=None, se=SEConfig(placement="post")), "placement", "'post'"
    )
    assert message == (
        f"`placement` must be 'standard' in a {description}. Received: placement='post'"
    )
    for stage in (stages[0] - 1, stages[-1] + 1):
        if stage > 0:
            se = SEConfig(stages=(4, stage))
            message = one_line(lambda se=se: build(weights=None, se=se), "stages", (4, stage))
            assert str(stages) in message.split("Received")[0]


# Builder, arguments, and the fewest channels that Squeeze-and-Excitation acts on.
NARROWEST: dict[str, tuple[str, dict[str, Any], int]] = {
    "bn_inception": ("SEBNInception", {}, 256),
    "densenet": ("SEDenseNet121", {}, 128),
    "densenet layers": (
        "SEDenseNet121", {"variant": {"se_position": "layer", "blocks": (2, 2)}}, 32,
    ),
    "inception_resnet_v2": ("SEInceptionResNetV2", {}, 320),
    "inception_resnet_v2 concat": (
        "SEInceptionResNetV2", {"variant": {"se_position": "concat"}}, 128,
    ),
    "inception_v3": ("SEInceptionV3", {}, 256),
    "mobilenet": ("SEMobileNet", {"alpha": 0.5}, 32),
    "mobilenet depthwise": ("SEMobileNet", {"variant": {"se_position": "depthwise"}}, 32),
    "shake_shake": ("SEShakeShake26", {}, 96),
    "shufflenet": ("SEShuffleNet", {}, 216),
    "shufflenet units": ("SEShuffleNet", {"variant": {"se_position": "unit"}}, 240),
    "vgg": ("SEVGG16", {}, 64),
}  # fmt: skip


@pytest.mark.parametrize("name", NARROWEST)
def test_ratio_above_the_channels_of_the_families(name: str, no_layers: None) -> None:
    builder, arguments, channels = NARROWEST[name]
    message = one_line(
        lambda: getattr(keras_se, builder)(weights=None, se=SEConfig(channels + 1), **arguments),
        "ratio",
        channels + 1,
    )
    assert f" {channels} in stage " in message.split("Received")[0]


@pytest.mark.parametrize("name", ["densenet layers", "mobilenet depthwise", "shufflenet units"])
def test_largest_ratio_of_the_families(name: str) -> None:
    builder, arguments, channels = NARROWEST[name]
    model = getattr(keras_se, builder)(
        include_top=False, weights=None, se=SEConfig(channels), **arguments
    )
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    assert min(layer.reduce_kernel.shape[0] for layer in blocks) == channels


NOT_POSITIVE_NUMBERS = [0, -1, float("nan"), float("inf"), 1e308, True, "1", None, (1,)]
# Builder, arguments, the argument that the message must name, and what else it must say.
FAMILY_MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    *(("SEMobileNet", {"alpha": x}, "alpha", "above 0") for x in NOT_POSITIVE_NUMBERS),
    ("SEMobileNet", {"alpha": 0.03}, "alpha", "at least 1/32"),
    ("SEMobileNet", {"variant": {"alpha": 0}}, "alpha", "above 0"),
    ("SEMobileNet", {"variant": {"dropout": 1}}, "dropout", "from 0 to less than 1"),
    ("SEMobileNet", {"variant": {"dropout": True}}, "dropout", "from 0 to less than 1"),
    ("SEMobileNet", {"variant": {"se_position": "branch"}}, "se_position", "'pointwise_linear'"),
    *(("SEShuffleNet", {"scale": x}, "scale", "above 0") for x in NOT_POSITIVE_NUMBERS),
    ("SEShuffleNet", {"scale": 0.77}, "scale", "multiple of 12"),
    ("SEShuffleNet", {"scale": 0.1}, "scale", "above 24"),
    ("SEShuffleNet", {"groups": 5}, "groups", "one of: 1, 2, 3, 4, 8"),
    *(("SEShuffleNet", {"groups": x}, "groups", "integer") for x in [0, True, 3.0, "3", [3], None]),
    ("SEShuffleNet", {"variant": {"groups": 16}}, "groups", "one of: 1, 2, 3, 4, 8"),
    ("SEShuffleNet", {"variant": {"se_position": "stride2"}}, "se_position", "'stride1'"),
    ("SEShuffleNet", {"variant": {"se_position": ["unit"]}}, "se_position", "'unit'"),
    ("SEDenseNet121", {"variant": {"se_position": "transition"}}, "se_position", "'layer'"),
    ("SEDenseNet121", {"variant": {"growth_rate": 0}}, "growth_rate", "at least 1"),
    ("SEDenseNet121", {"variant": {"blocks": ()}}, "blocks", "tuple of integers"),
    ("SEDenseNet121", {"variant": {"blocks": (6, 0)}}, "blocks", "at least 1"),
    ("SEInceptionV3", {"variant": {"norm_scale": "yes"}}, "norm_scale", "True or False"),
    ("SEInceptionResNetV2", {"variant": {"se_position": "post"}}, "se_position", "'concat'"),
    ("SEInceptionResNetV2", {"variant": {"se_on_mixed": 1}}, "se_on_mixed", "True or False"),
    ("SEBNInception", {"variant": {"se_position": "branch"}}, "variant", "nothing"),
    ("SEVGG16", {"variant": {"blocks": (2, 2)}}, "blocks", "have 5 numbers"),
    ("SEVGG16", {"variant": {"widths": 64}}, "widths", "tuple of integers"),
    ("SEVGG16", {"variant": {"fully_connected": (4096, 0)}}, "fully_connected", "at least 1"),
    ("SEVGG16", {"variant": {"dropout": -0.5}}, "dropout", "from 0 to less than 1"),
    ("SEVGG16", {"variant": {"conv_bias": "no"}}, "conv_bias", "True or False"),
    ("SEShakeShake26", {"variant": {"backward": "evn"}}, "backward", "'shake', 'even'"),
    ("SEShakeShake26", {"variant": {"se_position": "unit"}}, "se_position", "'sum', 'branch'"),
    ("SEShakeShake26", {"variant": {"groups": 4}}, "groups", "bottleneck=True"),
    ("SEShakeShake26", {"variant": {"blocks": (4, 4)}}, "blocks", "have 3 numbers"),
    ("SEShakeShake26", {"variant": {"widths": (96, 191, 384)}}, "widths", "even"),
    ("SEShakeShake29", {"variant": {"groups": 3}}, "groups", "divide the widths"),
    ("SEShakeShake29", {"variant": {"stem_width": 0}}, "stem_width", "at least 1"),
]


@pytest.mark.parametrize(("builder", "arguments", "argument", "expected"), FAMILY_MISTAKES)
def test_families(
    builder: str, arguments: dict[str, Any], argument: str, expected: str, no_layers: None
) -> None:
    value = arguments.get("variant", arguments)
    value = next(iter(value)) if argument == "variant" else value[argument]
    message = one_line(
        lambda: getattr(keras_se, builder)(weights=None, **arguments), argument, repr(value)
    )
    assert expected in message.split("Received")[0]


@pytest.mark.parametrize(
    ("builder", "argument"),
    [("SEShuffleNet", "grups"), ("SEMobileNet", "groups"), ("SEResNet50", "alpha")],
)
def test_unknown_argument_of_a_builder(builder: str, argument: str, no_layers: None) -> None:
    with pytest.raises(TypeError, match=rf"^{builder}\(\) has no argument '{argument}'$"):
        getattr(keras_se, builder)(weights=None, **{argument: 3})


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_option_given_twice(alpha: float, no_layers: None) -> None:
    message = one_line(
        lambda: keras_se.SEMobileNet(weights=None, alpha=alpha, variant={"alpha": 0.5}),
        "alpha",
        alpha,
    )
    assert "once" in message


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((None, 8, 8, 10), {}),
        ((None, 8, 8, None), {}),
        ((None, 12), {}),
        ((None, 8, 8, 8, 8, 12), {}),
        ((None, 12, 8, 10), {"data_format": "channels_last"}),
        ((None, 8, 8, 12), {"data_format": "channels_first"}),
    ],
)
def test_channel_shuffle(shape: tuple[int | None, ...], arguments: dict[str, str]) -> None:
    shuffle = keras_se.layers.ChannelShuffle(3, **arguments)
    one_line(lambda: shuffle(keras.Input(batch_shape=shape)), "groups", shape)


def test_data_format_of_channel_shuffle() -> None:
    message = one_line(
        lambda: keras_se.layers.ChannelShuffle(3, data_format="channel_first"), "data_format",
        "'channel_first'",
    )  # fmt: skip
    assert_choices(message, "data_format", "channels_first")


@pytest.mark.parametrize("shapes", [[(8, 8, 4)], [(8, 8, 4)] * 3, [(8, 8, 4), (8, 8, 1)]])
def test_shake_shake(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"two tensors of equal shape\. Received") as caught:
        keras_se.layers.ShakeShake()([keras.Input(shape) for shape in shapes])
    assert "\n" not in str(caught.value)


def test_array_as_input_tensor(no_layers: None) -> None:
    x = np.ones((1, 32, 32, 3), "float32")
    message = one_line(lambda: SEResNet20(weights=None, input_tensor=x), "input_tensor", "ndarray")
    assert "Keras tensor" in message


@pytest.mark.parametrize("input_shape", [(28, 28, 3), (32, 32, 1), (None, None, 3), (32, 32), 32])
def test_input_shape_against_input_tensor(input_shape: Any, request: pytest.FixtureRequest) -> None:
    x = keras.Input((32, 32, 3))
    request.getfixturevalue("no_layers")
    one_line(
        lambda: SEResNet20(weights=None, input_tensor=x, input_shape=input_shape),
        "input_shape",
        input_shape,
    )


@pytest.mark.parametrize("shape", [(32,), (2, 3), (32, 32, None), (7, 7, 3)])
def test_shape_of_input_tensor(
    shape: tuple[int | None, ...], request: pytest.FixtureRequest
) -> None:
    x = keras.Input(shape)
    request.getfixturevalue("no_layers")
    message = one_line(lambda: SEResNet20(weights=None, input_tensor=x), "input_shape", shape)
    assert "input_shape" in message


PUBLISHED = [n for n in keras_se.list_models() if getattr(keras_se, n).defaults.weights]


@pytest.mark.parametrize("builder", PUBLISHED)
def test_default_weights_that_do_not_exist(builder: str, no_sets: None, no_layers: None) -> None:
    default = getattr(keras_se, builder).defaults.weights
    message = one_line(getattr(keras_se, builder), "weights", repr(default))
    assert builder in message
    assert "no sets of weights yet" in message.split("Received")[0]


@pytest.mark.parametrize(
    ("weights", "near"),
    [
        ("cifar10", ""),
        ("imagenet", ""),
        ("se_resnet20", NAME),
        ("se_resnet20.fashion_mnst", NAME),
        ("fashion-mnist", "fashion_mnist"),
        ("Fashion_MNIST", ""),
        ("random", ""),
        ("", ""),
        (True, ""),
        (np.zeros(3), ""),
        (0, ""),
    ],
)
def test_unknown_weights(weights: Any, near: str, pretrained: None, no_layers: None) -> None:
    message = one_line(lambda: SEResNet20(weights=weights), "weights", repr(weights))
    for valid in ("None", ".weights.h5", "'fashion_mnist'", repr(NAME)):
        assert valid in message.split("Received")[0]
    if near:
        assert f"Did you mean {near!r}?" in message


@pytest.mark.parametrize(
    ("weights", "use"),
    [
        ("model.safetensors", "keras_se.load_checkpoint"),
        (Path("folder/model.pth"), "keras_se.load_checkpoint"),
        ("old.h5", "keras_se.load_checkpoint"),
        ("m.keras", "keras.models.load_model"),
        ("net.onnx", "onnxruntime"),
    ],
)
@pytest.mark.parametrize("builder", [SEResNet20, keras_se.SEResNet50, keras_se.SEVGG16])
def test_weights_that_something_else_reads(
    weights: Any, use: str, builder: Any, no_layers: None
) -> None:
    message = one_line(lambda: builder(weights=weights), "weights", str(weights))
    assert use in message
    assert len(message) < 300


def test_weights_of_another_network_by_name(pretrained: None, no_layers: None) -> None:
    message = one_line(lambda: keras_se.SEResNet32(weights=NAME), "weights", repr(NAME))
    assert "SEResNet32" in message


@pytest.mark.parametrize("kind", [str, Path])
def test_weights_path_that_does_not_exist(tmp_path: Path, kind: type, no_layers: None) -> None:
    path = tmp_path / "absent.weights.h5"
    message = one_line(lambda: SEResNet20(weights=kind(path)), "weights", path)
    assert "does not exist" in message


def test_folder_as_weights_path(tmp_path: Path, no_layers: None) -> None:
    path = tmp_path / "folder.weights.h5"
    path.mkdir()
    one_line(lambda: SEResNet20(weights=path), "weights", path)


# With `weights="fashion_mnist"`: what contradicts the set, and what the message must show of it.
CONTRADICTIONS: dict[str, tuple[dict[str, Any], str, object, str]] = {
    "classes": ({"classes": 7}, "classes", 7, "10"),
    "activation": (
        {"classifier_activation": "relu"}, "classifier_activation", "'relu'", "'softmax' or None",
    ),
    "sigmoid": (
        {"classifier_activation": "sigmoid"}, "classifier_activation", "'sigmoid'", "softmax",
    ),
    "ratio": ({"se": SEConfig(ratio=8)}, "se", "ratio=8", "SEConfig()"),
    "gate": ({"se": SEConfig(gate="tanh")}, "se", "gate='tanh'", "SEConfig()"),
    "plain network": ({"se": None}, "se", "None", "SEConfig()"),
    "variant": ({"variant": {"shortcut": "zero_pad"}}, "shortcut", "zero_pad", "variant"),
}  # fmt: skip


@pytest.mark.parametrize("weights", ["fashion_mnist", NAME])
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction_of_pretrained_weights(
    name: str, weights: str, pretrained: None, no_layers: None
) -> None:
    arguments, argument, received, expected = CONTRADICTIONS[name]
    message = one_line(lambda: SEResNet20(weights=weights, **arguments), argument, received)
    assert expected in message.split("Received")[0]
    assert NAME in message or "pretrained" in message


def test_variant_of_pretrained_weights_may_be_stated() -> None:
    """A list is as good as the tuple that the description holds."""
    model = SEResNet20(weights="fashion_mnist", variant={"blocks": [3, 3, 3]})
    assert model.input_shape == (None, 28, 28, 1)


def test_callable_activation_with_pretrained_weights(pretrained: None, no_layers: None) -> None:
    one_line(
        lambda: SEResNet20(weights=NAME, classifier_activation=keras.activations.tanh),
        "classifier_activation",
        "tanh",
    )


@pytest.mark.parametrize("model", ["SEResNet21", "seresnet20", "ResNet", 20])
def test_list_weights_of_an_unknown_model(model: Any, pretrained: None) -> None:
    message = one_line(lambda: keras_se.list_weights(model), "model", repr(model))
    assert len(message) <= 300
    if model != 20:
        assert "'SEResNet" in message
    if model == "seresnet20":
        assert "Did you mean 'SEResNet20'?" in message


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights files of several networks."""
    folder = tmp_path_factory.mktemp("saved")
    networks = {
        "same": SEResNet20(weights=None),
        "deeper": keras_se.SEResNet32(weights=None),
        "plain": SEResNet20(weights=None, se=None),
        "other classes": SEResNet20(weights=None, classes=7),
        "headless": SEResNet20(weights=None, include_top=False),
    }
    paths = {}
    for name, network in networks.items():
        paths[name] = folder / f"{name}.weights.h5"
        network.save_weights(paths[name])
    return paths


def test_weights_file_of_the_same_network(saved: dict[str, Path]) -> None:
    first, second = (SEResNet20(weights=saved["same"]) for _ in range(2))
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("name", ["deeper", "plain", "other classes", "headless"])
def test_weights_file_of_another_network(saved: dict[str, Path], name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one_line(lambda: SEResNet20(weights=saved[name], classes=10), "weights", saved[name])
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "no variables"])
def test_corrupt_weights_file(saved: dict[str, Path], tmp_path: Path, damage: str) -> None:
    path = tmp_path / "corrupt.weights.h5"
    if damage == "no variables":
        with h5py.File(path, "w") as file:
            file["x"] = 1
    else:
        good = saved["same"].read_bytes()
        path.write_bytes({"text": b"no HDF5", "truncated": good[:20000], "empty": b""}[damage])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one_line(lambda: SEResNet20(weights=path), "weights", path)
    assert [str(warning.message) for warning in caught] == []


def small_model() -> keras.Model:
    x = keras.Input((3,))
    y = keras.layers.Dense(4, name="hidden")(x)
    return keras.Model(x, keras.layers.Dense(2, name="predictions")(y), name="small")


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {n: v.numpy().copy() for n, v in variable_file.named_variables(model).items()}


def without(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda arrays: arrays.__delitem__(name)


def with_array(name: str, shape: tuple[int, ...]) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda arrays: arrays.__setitem__(name, np.ones(shape, "float32"))


# What is wrong, the variable that the message must name, and what else it must say.
MISFITS: dict[str, tuple[Callable[[dict[str, np.ndarray]], None], str, tuple[str, ...]]] = {
    "first missing": (without("hidden/kernel"), "hidden/kernel", ("missing",)),
    "last missing": (without("predictions/bias"), "predictions/bias", ("missing",)),
    "extra": (with_array("other/kernel", (3, 4)), "other/kernel", ("unexpected",)),
    "extra in a known layer": (with_array("hidden/gamma", (4,)), "hidden/gamma", ("unexpected",)),
    "transposed": (with_array("hidden/kernel", (4, 3)), "hidden/kernel", ("(3, 4)", "(4, 3)")),
    "wrong rank": (
        with_array("predictions/bias", (1, 2)), "predictions/bias", ("(2,)", "(1, 2)"),
    ),
    "scalar": (with_array("hidden/bias", ()), "hidden/bias", ("(4,)", "()")),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_variable_file_that_does_not_fit(tmp_path: Path, name: str) -> None:
    spoil, variable, words = MISFITS[name]
    arrays = {n: value + 1 for n, value in values(small_model()).items()}
    spoil(arrays)
    path = tmp_path / "misfit.h5"
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    model = small_model()
    before = values(model)
    with pytest.raises(ValueError, match="do not fit") as caught:
        variable_file.place_variables(model, variable_file.read_variables(path))
    message = str(caught.value)
    assert "\n" not in message
    for word in ("'small'", variable, *words):
        assert word.lower() in message.lower()
    for key, value in values(model).items():
        np.testing.assert_array_equal(value, before[key])


def test_variables_go_by_name(tmp_path: Path) -> None:
    source, target = small_model(), small_model()
    path = tmp_path / "small.h5"
    variable_file.write_variables(source, path)
    arrays = variable_file.read_variables(path)
    variable_file.place_variables(target, dict(reversed(arrays.items())))
    expected, received = values(source), values(target)
    assert list(tmp_path.iterdir()) == [path]
    assert sorted(arrays) == sorted(expected) == sorted(received)
    for name in expected:
        np.testing.assert_array_equal(received[name], expected[name])


def test_only_the_named_layers_may_be_left_over() -> None:
    model = small_model()
    arrays = {name: value + 1 for name, value in values(model).items()}
    headless = keras.Model(model.inputs, model.get_layer("hidden").output, name="small")
    one = "predictions/kernel"
    with pytest.raises(ValueError, match=one):
        variable_file.place_variables(headless, arrays)
    variable_file.place_variables(headless, arrays, ("predictions",))
    for name, value in values(headless).items():
        np.testing.assert_array_equal(value, arrays[name])


def test_wrong_hash(tmp_path: Path) -> None:
    path = tmp_path / "small.h5"
    variable_file.write_variables(small_model(), path)
    right = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    hashes.check_hash(path, right)
    hashes.check_hash(path, right[:15])
    wrong = right[:-1] + ("1" if right[-1] == "0" else "0")
    with pytest.raises(ValueError, match="sha256") as caught:
        hashes.check_hash(path, wrong)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert wrong in message.split("Received")[0]
    assert right in message.split("Received")[1]


def test_wrong_hash_of_pretrained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.h5"
    network = SEResNet20(weights=None, input_shape=(28, 28, 1))
    variable_file.write_variables(network, path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = replace(ENTRY, file=str(path), sha=f"sha256:{right}")
    monkeypatch.setattr(entries, "_registry", lambda: {NAME: entry})
    loaded = SEResNet20(weights=NAME)
    np.testing.assert_array_equal(
        loaded.get_layer("predictions").kernel.numpy(),
        network.get_layer("predictions").kernel.numpy(),
    )
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match="sha256") as caught:
        SEResNet20(weights=NAME)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("failing", ["third variable", "rename", "sync"])
def test_failed_writing_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "small.h5"
    variable_file.write_variables(small_model(), path)
    old = path.read_bytes()
    create, written = h5py.Group.create_dataset, []

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    def create_two(self: h5py.Group, name: str, *arguments: Any, **options: Any) -> Any:
        written.append(name)
        return full() if len(written) == 3 else create(self, name, *arguments, **options)

    if failing == "third variable":
        monkeypatch.setattr(h5py.Group, "create_dataset", create_two)
    else:
        monkeypatch.setattr(files.os, "replace" if failing == "rename" else "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        variable_file.write_variables(small_model(), path)
    monkeypatch.undo()
    assert len(written) == (3 if failing == "third variable" else 0)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == old
    variable_file.write_variables(small_model(), path)
    assert path.read_bytes() != old
