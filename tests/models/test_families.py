"""The other families compute what their papers say: their blocks against NumPy, in float64.

ShuffleNet (arXiv:1707.01083), MobileNet (arXiv:1704.04861), BN-Inception (arXiv:1502.03167),
Inception-ResNet-v2 (arXiv:1602.07261), DenseNet (arXiv:1608.06993), VGG (arXiv:1409.1556) and
Shake-Shake (arXiv:1705.07485) with Squeeze-and-Excitation (arXiv:1709.01507).
"""

import inspect

import keras
import numpy as np
import pytest
from reference import (
    batch_norm,
    convolution,
    max_pool_pad1,
    noise_pictures,
    padded,
    relu,
    softmax,
    squeeze_excite,
    trained_like,
    windows,
)

import keras_se
from keras_se import SEConfig
from keras_se.models import _builder, _signatures
from keras_se.weights.variable_file import named_variables

# Of a block's largest activation: float32 sums of up to 3 x 3 x 512 products.
TOLERANCE = 1e-5
# Odd and even before every pool and stride.
SIZES = [(64, 64), (69, 46)]


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.backend.clear_session()


class Network:
    """A network of the package, and its layers in NumPy."""

    def __init__(self, builder, epsilon=1e-5, **options):
        options = {"weights": None, "input_shape": (None, None, 3), **options}
        build = getattr(keras_se, builder)
        self.model = trained_like(build(include_preprocessing=False, **options), seed=1)
        self.weights = {
            name: np.asarray(value, "float64")
            for name, value in named_variables(self.model).items()
        }
        self.gate = options.get("se", SEConfig()).gate
        self.epsilon = epsilon
        self.used = set()

    def __getitem__(self, name):
        self.used.add(name)
        return self.weights[name]

    def get(self, name, default):
        return self[name] if name in self.weights else default

    def conv(self, x, name, stride=1, groups=1, border=None):
        y = convolution(x, self[f"{name}/kernel"], stride, groups, border)
        return y + self.get(f"{name}/bias", 0)

    def depthwise(self, x, name, stride=1, border=None):
        kernel = self[f"{name}/kernel"].swapaxes(2, 3)
        return convolution(x, kernel, stride, x.shape[-1], border)

    def norm(self, x, name):
        rest = (self[f"{name}/{part}"] for part in ("beta", "moving_mean", "moving_variance"))
        return batch_norm(x, self.get(f"{name}/gamma", 1), *rest, self.epsilon)

    def step(self, x, name, stride=1):
        """Convolution, BatchNorm, ReLU."""
        return relu(self.norm(self.conv(x, f"{name}_conv", stride), f"{name}_bn"))

    def excited(self, x, name, here=True):
        """`x` through the block of that name, if it is `here`."""
        if not here:
            return x
        parts = ("reduce_kernel", "expand_kernel", "reduce_bias", "expand_bias")
        return squeeze_excite(x, *(self[f"{name}/{part}"] for part in parts), gate=self.gate)

    def dense(self, x, name):
        return x @ self[f"{name}/kernel"] + self[f"{name}/bias"]

    def layers(self, x, tensors):
        """Values of `tensors` of the model."""
        values = keras.Model(self.model.input, tensors)(x.astype("float32"))
        return {key: np.asarray(value, "float64") for key, value in values.items()}


def pictures(size, count=2):
    return noise_pictures(count, *size) / 100 - 0.9


def assert_close(received, expected, what):
    assert received.shape == expected.shape, what
    assert np.abs(received - expected).max() < TOLERANCE * np.abs(expected).max(), what


def assert_blocks(network, ends, evaluate, sizes=SIZES):
    """Compare blocks, each from its own input: name, then its first and last layer."""
    for size in sizes:
        tensors = {}
        for name, (first, last) in ends.items():
            tensors[f"{name} in"] = network.model.get_layer(f"{name}_{first}").input
            tensors[f"{name} out"] = network.model.get_layer(f"{name}_{last}").output
        values = network.layers(pictures(size), tensors)
        for name in ends:
            assert_close(values[f"{name} out"], evaluate(values[f"{name} in"], name), (size, name))
    for name in ends:
        variables = {key for key in network.weights if key.startswith(f"{name}_")}
        assert variables
        assert variables <= network.used


def assert_network(network, evaluate, sizes):
    """Compare the probabilities of the whole network, which must have no other variables."""
    for size in sizes:
        x = pictures(size)
        expected = softmax(evaluate(x))
        assert_close(network.layers(x, {"y": network.model.output})["y"], expected, size)
    assert network.used == set(network.weights)


def average_pool(x, size, stride, border=0):
    """The padding is counted."""
    return windows(padded(x, (border,) * 2, (border,) * 2), size, stride).mean((-2, -1))


@pytest.mark.parametrize(("position", "groups"), [("branch", 3), ("unit", 8), ("stride1", 2)])
def test_shufflenet(position, groups):
    network = Network("SEShuffleNet", groups=groups, variant={"se_position": position})

    def unit(x, name):
        stride = 2 if name.endswith("block1") else 1
        # Section 3.2: the very first pointwise convolution is not grouped.
        first = 1 if name == "stage3_block1" else groups
        y = relu(network.norm(network.conv(x, f"{name}_conv1", groups=first), f"{name}_bn1"))
        order = np.arange(y.shape[-1]).reshape(groups, -1).T.ravel()
        y = network.depthwise(y[..., order], f"{name}_conv2", stride)
        y = network.conv(network.norm(y, f"{name}_bn2"), f"{name}_conv3", groups=groups)
        y = network.norm(y, f"{name}_bn3")
        here = position == "branch" or (position == "stride1" and stride == 1)
        y = network.excited(y, f"{name}_se", here)
        if stride == 2:
            y = relu(np.concatenate([y, average_pool(x, 3, 2, border=1)], -1))
        else:
            y = relu(y + x)
        return network.excited(y, f"{name}_se", position == "unit")

    last = "se" if position == "unit" else "relu"
    ends = {
        "stage3_block1": ("shortcut_pad", last),
        "stage3_block2": ("conv1", last),
        "stage4_block1": ("shortcut_pad", last),
    }
    assert_blocks(network, ends, unit)


@pytest.mark.parametrize("position", ["pointwise", "pointwise_linear", "depthwise"])
def test_mobilenet(position):
    network = Network("SEMobileNet", 1e-3, alpha=0.5, variant={"se_position": position})
    # ReLU6 has something to cut off.
    for name, variable in named_variables(network.model).items():
        if name.endswith("gamma"):
            variable.assign(4 * variable)
            network.weights[name] *= 4
    cut = []

    def relu6(x):
        cut.append((x > 6).any())
        return np.clip(x, 0, 6)

    def block(x, name):
        stride = 2 if name.endswith("block1") and name != "stage1_block1" else 1
        border = (1, 1)
        if stride == 2:
            x, border = padded(x, (0, 0), (1, 1)), (0, 0)
        y = network.depthwise(x, f"{name}_depthwise_conv", stride, border)
        y = relu6(network.norm(y, f"{name}_depthwise_bn"))
        y = network.excited(y, f"{name}_se", position == "depthwise")
        y = network.norm(network.conv(y, f"{name}_pointwise_conv"), f"{name}_pointwise_bn")
        y = relu6(network.excited(y, f"{name}_se", position == "pointwise_linear"))
        return network.excited(y, f"{name}_se", position == "pointwise")

    last = "se" if position == "pointwise" else "pointwise_relu"
    ends = {
        "stage1_block1": ("depthwise_conv", last),
        "stage2_block1": ("depthwise_pad", last),
        "stage2_block2": ("depthwise_conv", last),
    }
    assert_blocks(network, ends, block)
    assert any(cut)


def test_bn_inception():
    """At odd sizes of the modules, and with negative activations, which no zero may outdo."""
    network = Network("SEBNInception", se=SEConfig(gate="tanh"))

    def pool(x, name):
        if name == "stage3_block1":
            return average_pool(x, 3, 1, border=1)
        if name == "stage5_block3":
            return windows(padded(x, (1, 1), (1, 1), -np.inf), 3, 1).max((-2, -1))
        # Caffe's ceil mode at an even size; at an odd one, around the convolutions' positions.
        x = padded(x, [length % 2 for length in x.shape[1:3]], (1, 1), -np.inf)
        return windows(x, 3, 2).max((-2, -1))

    def module(x, name):
        def ends():
            halves = f"{name}_branch1_1_conv/kernel" not in network.weights
            stride = 2 if halves else 1
            if not halves:
                yield network.step(x, f"{name}_branch1_1")
            y = network.step(x, f"{name}_branch2_1")
            yield network.step(y, f"{name}_branch2_2", stride)
            y = network.step(network.step(x, f"{name}_branch3_1"), f"{name}_branch3_2")
            yield network.step(y, f"{name}_branch3_3", stride)
            yield pool(x, name) if halves else network.step(pool(x, name), f"{name}_branch4_2")

        return network.excited(np.concatenate(list(ends()), -1), f"{name}_se")

    # 3a with an average, 3c and 4e, 5b with a maximum; 3c at 9 x 6 and at 8 x 8.
    ends = {
        "stage3_block1": ("branch2_1_conv", "se"),
        "stage4_block1": ("branch2_1_conv", "se"),
        "stage5_block1": ("branch2_1_conv", "se"),
        "stage5_block3": ("branch2_1_conv", "se"),
    }
    assert_blocks(network, ends, module, [(64, 64), (71, 53)])


@pytest.mark.parametrize(
    ("variant", "last", "sizes"),
    [
        pytest.param({}, 10, [(123, 108)], id="branch"),
        pytest.param(
            {"se_position": "concat"}, 10, [(123, 108)], id="concat", marks=pytest.mark.networks
        ),
        pytest.param(
            {"blocks": (1, 1, 2), "alpha": 0.2, "stem": "small"}, 2, [(28, 28), (17, 32)],
            id="small",
        ),
    ],
)  # fmt: skip
def test_inception_resnet_v2(variant, last, sizes):
    network = Network("SEInceptionResNetV2", 1e-3, variant=variant)
    position = variant.get("se_position", "branch")
    branches = {
        "stage3": [("1_1",), ("2_1", "2_2"), ("3_1", "3_2", "3_3")],
        "stage4": [("1_1",), ("2_1", "2_2", "2_3")],
        "stage5": [("1_1",), ("2_1", "2_2", "2_3")],
    }
    scales = {"stage3": 0.17, "stage4": 0.1, "stage5": 0.2}

    def block(x, name):
        stage = name.split("_")[0]
        ends = []
        for steps in branches[stage]:
            y = x
            for step in steps:
                y = network.step(y, f"{name}_branch{step}")
            ends.append(y)
        y = network.excited(np.concatenate(ends, -1), f"{name}_se", position == "concat")
        y = network.conv(y, f"{name}_conv")
        y = network.excited(y, f"{name}_se", position == "branch")
        # The very last block is neither scaled nor activated.
        return x + y if name == f"stage5_block{last}" else relu(x + scales[stage] * y)

    ends = {f"stage{n}_block1": ("branch1_1_conv", "relu") for n in (3, 4, 5)}
    ends[f"stage5_block{last}"] = ("branch1_1_conv", "add")
    assert_blocks(network, ends, block, sizes)


@pytest.mark.parametrize("position", ["block+transition", "block", "layer"])
def test_densenet(position):
    network = Network(
        "SEDenseNet121", 1.001e-5, classes=7, variant={"blocks": (2, 3), "se_position": position}
    )

    def normalised_relu(x, name):
        return relu(network.norm(x, name))

    def evaluate(x):
        x = normalised_relu(network.conv(x, "stem_conv", 2), "stem_bn")
        x = max_pool_pad1(x)
        for stage, count in ((2, 2), (3, 3)):
            for n in range(1, count + 1):
                name = f"stage{stage}_block{n}"
                y = network.conv(normalised_relu(x, f"{name}_bn1"), f"{name}_conv1")
                y = network.conv(normalised_relu(y, f"{name}_bn2"), f"{name}_conv2")
                y = network.excited(y, f"{name}_se", position == "layer")
                x = np.concatenate([x, y], -1)
            x = network.excited(x, f"stage{stage}_se", position != "layer")
            if stage == 2:
                x = network.conv(normalised_relu(x, "transition2_bn"), "transition2_conv")
                x = average_pool(x, 2, 2)
                x = network.excited(x, "transition2_se", position == "block+transition")
        return network.dense(normalised_relu(x, "post_bn").mean((1, 2)), "predictions")

    assert_network(network, evaluate, SIZES)


def adaptive_average_pool(x, size):
    """As many averages, over parts that overlap where the size is not a multiple."""
    parts = [
        [slice(i * n // size, -(-(i + 1) * n // size)) for i in range(size)] for n in x.shape[1:3]
    ]
    rows = [[x[:, i, j].mean((1, 2)) for j in parts[1]] for i in parts[0]]
    return np.moveaxis(np.array(rows), 2, 0)


def test_vgg16():
    """At 224 pixels the fully connected layers take the 7 x 7 maps themselves."""
    variant = {"widths": (8, 12, 16, 16, 20), "fully_connected": (24, 16)}
    network = Network("SEVGG16", classes=7, se=SEConfig(4), variant=variant)

    def evaluate(x):
        size = x.shape[1:3]
        for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
            for n in range(1, count + 1):
                x = network.conv(x, f"stage{stage}_conv{n}")
                x = network.excited(
                    relu(network.norm(x, f"stage{stage}_bn{n}")), f"stage{stage}_se{n}"
                )
            x = windows(x, 2, 2).max((-2, -1))
        if size != (224, 224):
            x = adaptive_average_pool(x, 7)
        assert x.shape[1:] == (7, 7, 20)
        x = x.reshape(len(x), -1)
        for layer in ("fc1", "fc2"):
            x = relu(network.dense(x, layer))
        return network.dense(x, "predictions")

    assert_network(network, evaluate, [(224, 224), (301, 70), (40, 33)])


@pytest.mark.parametrize(
    ("builder", "variant"),
    [
        ("SEShakeShake26", {"se_position": "sum"}),
        ("SEShakeShake26", {"se_position": "branch"}),
        ("SEShakeShake29", {"se_position": "sum"}),
    ],
    ids=["sum", "branch", "bottleneck"],
)
def test_shake_shake(builder, variant):
    """At inference, the mean of the two branches."""
    variant = {"blocks": (1, 2), "widths": (32, 64), **variant}
    network = Network(builder, classes=7, variant=variant)
    bottleneck = builder == "SEShakeShake29"
    position = variant["se_position"]

    def branch(x, name, stride):
        strides, groups = ((1, stride, 1), (1, 4, 1)) if bottleneck else ((stride, 1), (1, 1))
        for n, (step, parts) in enumerate(zip(strides, groups, strict=True), start=1):
            x = network.conv(relu(x), f"{name}_conv{n}", step, parts)
            x = network.norm(x, f"{name}_bn{n}")
        return network.excited(x, f"{name}_se", position == "branch")

    def shortcut(x, name, stride):
        shifted = padded(x, (1, 1), (0, 0))[:, :-1, :-1]
        halves = [
            network.conv(y[:, ::stride, ::stride], f"{name}_conv{n}")
            for n, y in enumerate((x, shifted), start=1)
        ]
        return network.norm(np.concatenate(halves, -1), f"{name}_bn")

    def evaluate(x):
        x = network.norm(network.conv(x, "stem_conv"), "stem_bn")
        for name, stride in (("stage2_block1", 1), ("stage3_block1", 2), ("stage3_block2", 1)):
            y = sum(branch(x, f"{name}_branch{n}", stride) for n in (1, 2)) / 2
            y = network.excited(y, f"{name}_se", position == "sum")
            if name.endswith("block1"):
                x = shortcut(relu(x), f"{name}_shortcut", stride)
            x = x + y
        return network.dense(relu(x).mean((1, 2)), "predictions")

    assert_network(network, evaluate, [(16, 16), (17, 27)])


@pytest.mark.parametrize(
    ("name", "options", "narrowest"),
    [
        ("SEMobileNet", {"alpha": 0.05}, 3),
        ("SEMobileNet", {"alpha": 0.05, "variant": {"se_position": "depthwise"}}, 1),
        (
            "SEInceptionResNetV2",
            {"variant": {"alpha": 0.04, "blocks": (1, 1, 1), "stem": "small"}},
            10,
        ),
        ("SEResNet20", {"variant": {"blocks": (1, 1), "widths": (4, 8)}}, 4),
        ("SEVGG16", {"variant": {"blocks": (1, 1), "widths": (2, 4)}}, 2),
    ],
)
def test_networks_narrower_than_the_ratio(name, options, narrowest):
    """The default ratio leaves their blocks one hidden unit."""
    model = getattr(keras_se, name)(weights=None, input_shape=(32, 32, 3), classes=3, **options)
    blocks = [layer for layer in model.layers if isinstance(layer, keras_se.SqueezeExcite)]
    assert min(block.reduce_kernel.shape[0] for block in blocks) == narrowest
    assert all(b.reduce_kernel.shape[1] == max(1, b.reduce_kernel.shape[0] // 16) for b in blocks)
    assert model(np.ones((2, 32, 32, 3))).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("SEMobileNet", _signatures.MobileNetBuilder),
        ("SEShuffleNet", _signatures.ShuffleNetBuilder),
        ("SEResNet50", _builder.Builder),
        ("SEDenseNet121", _builder.Builder),
    ],
)
def test_arguments_are_those_that_type_checkers_know(name, protocol):
    typed = inspect.signature(protocol.__call__).parameters
    real = inspect.signature(getattr(keras_se, name)).parameters
    assert {n: p.kind for n, p in typed.items() if n != "self"} == {
        n: p.kind for n, p in real.items()
    }
