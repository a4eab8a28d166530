"""The networks of the publications in plain NumPy and float64, to compare the package with.

Written from the papers, not from the package: Hu et al. (arXiv:1709.01507), Eqs. 2 to 4, Table 1
and Section 7; He et al. (arXiv:1512.03385 and arXiv:1603.05027); Xie et al. (arXiv:1611.05431).
Arrays are `(batch, height, width, channels)`.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BATCH_NORM_EPSILON = 1e-5


def noise_pictures(count, height, width, channels=3, seed=0):
    """Whole numbers in 0..255; each picture is darker than the one before, for SE sees means."""
    brightest = np.linspace(256, 64, count, dtype=int).reshape(-1, 1, 1, 1)
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, brightest, shape).astype("uint8")


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(x / 6 + 0.5, 0, 1)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


ACTIVATIONS = {"relu": relu, "sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid, "tanh": np.tanh}


def normalise(pictures, mean, std):
    """Pictures in 0..255 by the channels' mean and standard deviation in 0..1."""
    return (np.asarray(pictures, "float64") / 255 - mean) / std


def padded(x, before, after, value=0.0):
    """`x` with `before` and `after`, each (rows, columns), around it."""
    sides = zip(before, after, strict=True)
    return np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=value)


def windows(x, size, stride):
    """All windows of `size`: `(batch, rows, columns, channels, *size)`."""
    size = (size, size) if isinstance(size, int) else size
    return sliding_window_view(x, size, axis=(1, 2))[:, ::stride, ::stride]


def convolution(x, kernel, stride=1, groups=1, border=None):
    """Convolution; `kernel` is (rows, columns, in, out).

    `border` is how many (rows, columns) of zeros are on every side; by default half the kernel.
    """
    border = tuple(length // 2 for length in kernel.shape[:2]) if border is None else border
    patches = windows(padded(x, border, border), kernel.shape[:2], stride)
    parts = zip(np.split(patches, groups, axis=3), np.split(kernel, groups, axis=3), strict=True)
    return np.concatenate(
        [np.tensordot(part, own, axes=((3, 4, 5), (2, 0, 1))) for part, own in parts], axis=-1
    )


def batch_norm(x, gamma, beta, mean, variance, epsilon=BATCH_NORM_EPSILON):
    """Batch normalisation with the moving statistics."""
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def missing_for_ceil(x, size, stride):
    """Rows and columns that the last window of a pool in ceil mode lacks."""
    return [-(length - size) % stride for length in x.shape[1:3]]


def max_pool_ceil(x):
    """3x3/2 maximum; windows may reach over the right and the lower edge (Caffe)."""
    x = padded(x, (0, 0), missing_for_ceil(x, 3, 2), -np.inf)
    return windows(x, 3, 2).max((-2, -1))


def max_pool_pad1(x):
    """3x3/2 maximum with a border of one on every side (Torch)."""
    return windows(padded(x, (1, 1), (1, 1), -np.inf), 3, 2).max((-2, -1))


def average_pool(x):
    """2x2/2 average; an odd last row or column is left out."""
    return windows(x, 2, 2).mean((-2, -1))


def average_pool_ceil(x):
    """2x2/2 average; an odd last row or column is averaged by itself."""
    x = padded(x, (0, 0), missing_for_ceil(x, 2, 2), np.nan)
    return np.nanmean(windows(x, 2, 2), (-2, -1))


STEM_POOLS = {"ceil": max_pool_ceil, "pad1": max_pool_pad1, "average": average_pool, None: None}


def squeeze_excite(
    x, reduce_kernel, expand_kernel, reduce_bias=0.0, expand_bias=0.0,
    squeeze="avg", gate="sigmoid", activation="relu",
):  # fmt: skip
    """Eqs. 2 to 4: z = mean(x), s = sigmoid(W2 relu(W1 z + b1) + b2), s x."""
    z = {
        "avg": lambda: x.mean((1, 2), keepdims=True),
        "max": lambda: x.max((1, 2), keepdims=True),
        None: lambda: x,
    }[squeeze]()
    reduced = ACTIVATIONS[activation](z @ reduce_kernel + reduce_bias)
    return x * ACTIVATIONS[gate](reduced @ expand_kernel + expand_bias)


def hidden_width(channels, ratio, divisor):
    """C / r, or with a divisor the nearest multiple of it, halves upwards (timm)."""
    if divisor is None:
        return max(channels // ratio, 1)
    return max(divisor, int(np.floor(channels / ratio / divisor + 0.5)) * divisor)


class Evaluation:
    """One network's layers by name; every weight must have the shape that the papers give it."""

    def __init__(self, net, se, weights):
        self.net = net
        self.se = se
        self.unused = {name: np.asarray(value, "float64") for name, value in weights.items()}

    def weight(self, name, shape):
        array = self.unused.pop(name)
        if array.shape != tuple(shape):
            raise ValueError(f"{name}: expected {tuple(shape)}. Received: {array.shape}")
        return array

    def convolution(self, x, name, filters, size, stride=1, groups=1):
        shape = (size, size, x.shape[-1] // groups, filters)
        return convolution(x, self.weight(f"{name}/kernel", shape), stride, groups)

    def batch_norm(self, x, name):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return batch_norm(x, *(self.weight(f"{name}/{n}", x.shape[-1:]) for n in names))

    def normalised_relu(self, x, name):
        return relu(self.batch_norm(x, name))

    def has_squeeze_excite(self, unit, placement):
        stage = int(unit.removeprefix("stage").split("_")[0])
        se = self.se
        return bool(se) and se.placement == placement and stage in (se.stages or self.net.stages)

    def squeeze_excite(self, x, unit, placement):
        """SE if the network has it in this place of the unit, else `x`."""
        if not self.has_squeeze_excite(unit, placement):
            return x
        se, channels = self.se, x.shape[-1]
        hidden = hidden_width(channels, se.ratio, self.net.hidden_divisor)
        weights = [
            self.weight(f"{unit}_se/reduce_kernel", (channels, hidden)),
            self.weight(f"{unit}_se/expand_kernel", (hidden, channels)),
        ]
        if se.use_bias:
            weights.append(self.weight(f"{unit}_se/reduce_bias", (hidden,)))
            weights.append(self.weight(f"{unit}_se/expand_bias", (channels,)))
        return squeeze_excite(
            x, *weights, squeeze=se.squeeze, gate=se.gate, activation=se.activation
        )

    def shortcut(self, x, unit, filters, stride):
        kind = self.net.shortcut
        if stride == 1 and x.shape[-1] == filters:
            return x
        if kind == "zero_pad":
            x = x[:, ::stride, ::stride]
            return np.pad(x, ((0, 0),) * 3 + ((0, filters - x.shape[-1]),))
        size = 1
        if stride > 1 and kind == "3x3":
            size = 3
        if stride > 1 and kind == "average_pool":
            x, stride = average_pool_ceil(x), 1
        x = self.convolution(x, f"{unit}_shortcut_conv", filters, size, stride)
        return x if self.net.preactivation else self.batch_norm(x, f"{unit}_shortcut_bn")

    def widths(self, planes):
        """Channels of a bottleneck unit's three convolutions."""
        inner = self.net.groups * (planes * self.net.base_width // 64)
        return inner // self.net.reduce_divisor, inner, 4 * planes

    def strides(self, stride):
        """Strides of a bottleneck unit's first two convolutions."""
        return (stride, 1) if self.net.stride_on == "1x1" else (1, stride)

    def convolution_3x3(self, x, name, filters, stride, groups=1):
        """With the stride, or without it; then the average comes after the unit's activation."""
        return self.convolution(x, name, filters, 3, 1 if self.net.antialias else stride, groups)

    def antialias(self, x, stride):
        return average_pool_ceil(x) if self.net.antialias and stride > 1 else x

    def basic_unit(self, x, unit, planes, stride):
        shortcut = self.shortcut(x, unit, planes, stride)
        shortcut = self.squeeze_excite(shortcut, unit, "identity")
        x = self.squeeze_excite(x, unit, "pre")
        x = self.convolution_3x3(x, f"{unit}_conv1", planes, stride)
        x = self.normalised_relu(x, f"{unit}_bn1")
        x = self.squeeze_excite(x, unit, "conv3x3")
        x = self.antialias(x, stride)
        x = self.convolution(x, f"{unit}_conv2", planes, 3)
        x = self.batch_norm(x, f"{unit}_bn2")
        return self.joined(x, unit, shortcut)

    def bottleneck_unit(self, x, unit, planes, stride):
        first, inner, outer = self.widths(planes)
        stride_1x1, stride_3x3 = self.strides(stride)
        shortcut = self.shortcut(x, unit, outer, stride)
        shortcut = self.squeeze_excite(shortcut, unit, "identity")
        x = self.squeeze_excite(x, unit, "pre")
        x = self.convolution(x, f"{unit}_conv1", first, 1, stride_1x1)
        x = self.normalised_relu(x, f"{unit}_bn1")
        x = self.convolution_3x3(x, f"{unit}_conv2", inner, stride_3x3, self.net.groups)
        x = self.normalised_relu(x, f"{unit}_bn2")
        x = self.squeeze_excite(x, unit, "conv3x3")
        x = self.antialias(x, stride_3x3)
        x = self.convolution(x, f"{unit}_conv3", outer, 1)
        x = self.batch_norm(x, f"{unit}_bn3")
        return self.joined(x, unit, shortcut)

    def joined(self, x, unit, shortcut):
        if self.net.relu_before_se:
            x = relu(x)
        x = self.squeeze_excite(x, unit, "standard")
        return self.squeeze_excite(relu(x + shortcut), unit, "post")

    def preactivation_unit(self, x, unit, planes, stride, after_stem):
        """BN-ReLU-convolution; the first BN-ReLU is the shortcut's too where the shape changes.

        It is as well in the first unit after a stem without activation (arXiv:1603.05027,
        appendix).
        """
        outer = 4 * planes if self.net.bottleneck else planes
        shared = after_stem or stride > 1 or x.shape[-1] != outer
        if shared:
            x = self.normalised_relu(x, f"{unit}_bn1")
        shortcut = self.shortcut(x, unit, outer, stride)
        shortcut = self.squeeze_excite(shortcut, unit, "identity")
        x = self.squeeze_excite(x, unit, "pre")
        if not shared:
            x = self.normalised_relu(x, f"{unit}_bn1")
        if self.net.bottleneck:
            first, inner, outer = self.widths(planes)
            stride_1x1, stride_3x3 = self.strides(stride)
            x = self.convolution(x, f"{unit}_conv1", first, 1, stride_1x1)
            x = self.normalised_relu(x, f"{unit}_bn2")
            x = self.convolution_3x3(x, f"{unit}_conv2", inner, stride_3x3, self.net.groups)
            x = self.antialias(x, stride_3x3)
            x = self.normalised_relu(x, f"{unit}_bn3")
            x = self.squeeze_excite(x, unit, "conv3x3")
            x = self.convolution(x, f"{unit}_conv3", outer, 1)
        else:
            x = self.convolution_3x3(x, f"{unit}_conv1", planes, stride)
            x = self.antialias(x, stride)
            x = self.normalised_relu(x, f"{unit}_bn2")
            x = self.squeeze_excite(x, unit, "conv3x3")
            x = self.convolution(x, f"{unit}_conv2", planes, 3)
        x = self.squeeze_excite(x, unit, "standard")
        return self.squeeze_excite(x + shortcut, unit, "post")

    def stem(self, x):
        """The stem's output, and the name of the layer that it comes from."""
        net = self.net
        count = len(net.stem_widths)
        for number, width in enumerate(net.stem_widths, start=1):
            suffix = "" if count == 1 else str(number)
            size = net.stem_kernel if count == 1 else 3
            stride = net.stem_stride if number == 1 else 1
            x = self.convolution(x, f"stem_conv{suffix}", width, size, stride)
            name = f"stem_conv{suffix}"
            if number < count or net.stem_pool or not net.preactivation:
                x = self.normalised_relu(x, f"stem_bn{suffix}")
                name = f"stem_relu{suffix}"
        if net.stem_pool == "conv":
            x = self.convolution(x, "stem_pool_conv", x.shape[-1], 3, 2)
            return self.normalised_relu(x, "stem_pool_bn"), "stem_pool"
        pool = STEM_POOLS[net.stem_pool]
        return (x, name) if pool is None else (pool(x), "stem_pool")

    def unit(self, x, stage, block, planes):
        """A unit's output, and the name of the layer that it comes from."""
        net, unit = self.net, f"stage{stage}_block{block}"
        stride = 2 if block == 1 and stage > 2 else 1
        if net.preactivation:
            after_stem = stage == 2 and block == 1 and net.stem_pool is None
            x = self.preactivation_unit(x, unit, planes, stride, after_stem)
        elif net.bottleneck:
            x = self.bottleneck_unit(x, unit, planes, stride)
        else:
            x = self.basic_unit(x, unit, planes, stride)
        if self.has_squeeze_excite(unit, "post"):
            return x, f"{unit}_se"
        return x, f"{unit}_{'add' if net.preactivation else 'relu'}"


def evaluate(net, se, weights, x):
    """The outputs of a network's blocks, one after the other.

    Args:
        net: `keras_se.models.ResidualNetwork`.
        se: `keras_se.SEConfig`, or `None` for the plain network.
        weights: Arrays by `<layer name>/<variable name>`.
        x: Normalised pictures, `(batch, height, width, channels)`.

    Yields:
        `(layer name, array)` for the stem, each residual unit, the last BN-ReLU of a
        pre-activation network, and `predictions` with the probabilities.

    Raises:
        KeyError: If a weight is missing.
        ValueError: If a weight has another shape, or is left over.
    """
    layers = Evaluation(net, se, weights)
    x, name = layers.stem(np.asarray(x, "float64"))
    yield name, x
    for stage, (blocks, planes) in enumerate(zip(net.blocks, net.widths, strict=True), start=2):
        for block in range(1, blocks + 1):
            x, name = layers.unit(x, stage, block, planes)
            yield name, x
    if net.preactivation:
        x = layers.normalised_relu(x, "post_bn")
        yield "post_relu", x
    classes = layers.unused["predictions/bias"].shape
    kernel = layers.weight("predictions/kernel", x.shape[-1:] + classes)
    bias = layers.weight("predictions/bias", classes)
    yield "predictions", softmax(x.mean((1, 2)) @ kernel + bias)
    if layers.unused:
        raise ValueError(f"Weights without a place: {sorted(layers.unused)}")


def trained_like(model, seed):
    """Give every variable of `model` a value such as a trained network has, the same every time.

    Fresh BatchNorm statistics and biases are zeros and ones, behind which exchanged or forgotten
    variables hide. The last BatchNorm of a unit has a small gamma, so that activations stay of
    the order of one at any depth. The classifier's and the SE blocks' first kernels are small: no
    probability is zero or one, and hardly any hidden unit, of which some blocks have one, is dead.

    Args:
        model: A network of the package, with or without its head.
        seed: Seed of the values.

    Returns:
        `model`.
    """
    random = np.random.default_rng(seed)
    names = {layer.name for layer in model.layers}
    for layer in model.layers:
        unit, _, role = layer.name.rpartition("_bn")
        last = role.isdigit() and unit != "stem" and f"{unit}_bn{int(role) + 1}" not in names
        for variable in layer.weights:
            shape = tuple(variable.shape)
            depthwise = type(layer).__name__.startswith("DepthwiseConv")
            fan_in = np.prod(shape[:-2] if depthwise else shape[:-1])
            if variable.name.endswith("kernel"):
                gain = 0.5 if layer.name == "predictions" or variable.name == "reduce_kernel" else 2
                value = random.normal(0, np.sqrt(gain / fan_in), shape)
            elif variable.name == "gamma":
                value = random.uniform(*((0.2, 0.5) if last else (0.5, 1.5)), shape)
            elif variable.name in ("beta", "moving_mean"):
                value = random.uniform(-0.3, 0.3, shape)
            elif variable.name == "moving_variance":
                value = random.uniform(0.5, 2, shape)
            elif variable.name == "reduce_bias":
                value = random.uniform(-0.1, 1.5, shape)
            elif variable.name in ("expand_bias", "position_bias", "bias"):
                value = random.normal(0, 0.5, shape)
            else:
                raise ValueError(f"Unknown variable: {layer.name}/{variable.name}")
            variable.assign(value.astype("float32"))
    return model
