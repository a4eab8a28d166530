"""The authors' Caffe networks, written as Caffe writes them.

The layers have the names of the authors' published `.prototxt` files; their own layer Axpy
(`a * x + y`), which other programs do not know, is a Scale and an Eltwise here. BatchNorm's
statistics are stored as sums with the factor to divide them by.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_se.weights.caffe import net_parameter

# Caffe's BatchNorm stores sums over this many batches, weighted.
FACTOR = 999.98
BLOCKS = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "154": (3, 8, 36, 3)}


@dataclass
class Writer:
    """Layers as text for the network and as messages for its weights."""

    random: np.random.Generator
    text: list[str] = field(default_factory=list)
    net: object = field(default_factory=lambda: net_parameter()(name="network"))

    def layer(self, name, kind, bottoms, options="", blobs=()):
        """Add a layer; its output has its name."""
        lines = "".join(f'bottom: "{bottom}" ' for bottom in bottoms)
        self.text.append(
            f'layer {{ name: "{name}" type: "{kind}" {lines}top: "{name}" {options} }}'
        )
        message = self.net.layer.add(name=name, type=kind)
        for blob in blobs:
            stored = message.blobs.add(data=np.ascontiguousarray(blob, "<f4").tobytes())
            stored.shape.dim.extend(np.shape(blob))
        return name

    def convolution(self, name, bottom, shape, stride=1, groups=1, bias=False):
        """A convolution of (out, in, height, width)."""
        out, width, kernel, _ = shape
        width //= groups
        weight = self.random.normal(
            0, np.sqrt(2 / (width * kernel**2)), (out, width, kernel, kernel)
        )
        blobs = [weight, self.random.normal(0, 0.3, out)][: 1 + bias]
        return self.layer(
            name, "Convolution", [bottom],
            f"convolution_param {{ num_output: {out} bias_term: {str(bias).lower()} "
            f"pad: {kernel // 2} kernel_size: {kernel} stride: {stride} group: {groups} }}",
            blobs,
        )  # fmt: skip

    def normalised(self, name, bottom, channels, relu=True, gamma=1.0):
        """BatchNorm, Scale and maybe ReLU behind a convolution."""
        mean = self.random.normal(0, 0.2, channels)
        variance = self.random.uniform(0.7, 1.5, channels)
        blobs = [mean * FACTOR, variance * FACTOR, [FACTOR]]
        x = self.layer(
            f"{name}/bn",
            "BatchNorm",
            [bottom],
            "batch_norm_param { use_global_stats: true }",
            blobs,
        )
        blobs = [
            gamma * self.random.uniform(0.5, 1.2, channels),
            self.random.uniform(-0.3, 0.3, channels),
        ]
        x = self.layer(f"{name}/bn/scale", "Scale", [x], "scale_param { bias_term: true }", blobs)
        return self.layer(f"{name}/relu", "ReLU", [x]) if relu else x


# SE-BN-Inception: the channels of 1x1; 3x3 and its reduction; the double 3x3 and its reduction; the
# pool and, if it is projected, the channels of that.
MODULES = {
    "3a": (64, (64, 64), (64, 96, 96), ("AVE", 32)),
    "3b": (64, (64, 96), (64, 96, 96), ("AVE", 64)),
    "3c": (0, (128, 160), (64, 96, 96), ("MAX", 0)),
    "4a": (224, (64, 96), (96, 128, 128), ("AVE", 128)),
    "4b": (192, (96, 128), (96, 128, 128), ("AVE", 128)),
    "4c": (160, (128, 160), (128, 160, 160), ("AVE", 128)),
    "4d": (96, (128, 192), (160, 192, 192), ("AVE", 128)),
    "4e": (0, (128, 192), (192, 256, 256), ("MAX", 0)),
    "5a": (352, (192, 320), (160, 224, 224), ("AVE", 128)),
    "5b": (352, (192, 320), (192, 224, 224), ("MAX", 128)),
}


def write(name: str, folder: Path, classes: int, seed: int = 0) -> tuple[Path, Path]:
    """Write the network `SE-ResNet-50` or such; returns the paths of its text and its weights."""
    w = Writer(np.random.default_rng(seed))
    w.text.append('input: "data" input_shape { dim: 1 dim: 3 dim: 224 dim: 224 }')
    if name == "SE-BN-Inception":
        x, channels = inception(w)
    else:
        x, channels = residual(w, name)
    x = w.layer("pool5", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    blobs = [w.random.normal(0, 0.05, (classes, channels)), w.random.normal(0, 0.5, classes)]
    w.layer("classifier", "InnerProduct", [x],
            f"inner_product_param {{ num_output: {classes} }}", blobs)  # fmt: skip
    text, weights = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    text.write_text("\n".join(w.text), "utf-8")
    weights.write_bytes(w.net.SerializeToString())
    return text, weights


def excitation(w, unit, y, channels, hidden):
    """The gates of `y`, by layers named after the unit."""
    s = w.layer(f"{unit}_global_pool", "Pooling", [y],
                "pooling_param { pool: AVE global_pooling: true }")  # fmt: skip
    s = w.convolution(f"{unit}_1x1_down", s, (hidden, channels, 1, 1), bias=True)
    s = w.layer(f"{unit}_1x1_down/relu", "ReLU", [s])
    s = w.convolution(f"{unit}_1x1_up", s, (channels, hidden, 1, 1), bias=True)
    return w.layer(f"{unit}_prob", "Sigmoid", [s])


def inception(w):
    """SE-BN-Inception up to its last feature maps."""

    def conv(name, x, shape, stride=1):
        return w.normalised(name, w.convolution(name, x, shape, stride), shape[0])

    def pool(name, x, options):
        return w.layer(name, "Pooling", [x], f"pooling_param {{ {options} }}")

    halve = "pool: MAX kernel_size: 3 stride: 2"
    x = pool("pool1/3x3_s2", conv("conv1/7x7_s2", "data", (64, 3, 7, 7), 2), halve)
    x = conv("conv2/3x3_reduce", x, (64, 64, 1, 1))
    x, channels = pool("pool2/3x3_s2", conv("conv2/3x3", x, (192, 64, 3, 3)), halve), 192
    for letters, (single, triple, double, (kind, projected)) in MODULES.items():
        m, stride = f"inception_{letters}", 1 if single else 2
        ends = [conv(f"{m}/1x1", x, (single, channels, 1, 1))] if single else []
        y = conv(f"{m}/3x3_reduce", x, (triple[0], channels, 1, 1))
        ends.append(conv(f"{m}/3x3", y, (triple[1], triple[0], 3, 3), stride))
        y = conv(f"{m}/double3x3_reduce", x, (double[0], channels, 1, 1))
        y = conv(f"{m}/double3x3a", y, (double[1], double[0], 3, 3))
        ends.append(conv(f"{m}/double3x3b", y, (double[2], double[1], 3, 3), stride))
        y = pool(f"{m}/pool", x, f"pool: {kind} kernel_size: 3 stride: 1 pad: 1"
                 if projected else halve)  # fmt: skip
        ends.append(conv(f"{m}/pool_proj", y, (projected, channels, 1, 1)) if projected else y)
        channels = single + triple[1] + double[2] + (projected or channels)
        y = w.layer(f"{m}/concat", "Concat", ends)
        s = excitation(w, m, y, channels, channels // 16)
        x = w.layer(f"{m}/output", "Scale", [y, s], "scale_param { axis: 0 }")
    return x, channels


def residual(w, name):
    """The others up to their last feature maps."""
    kind, depth = name.rsplit("-", 1) if name != "SENet-154" else ("SENet", "154")
    if kind == "SENet":
        x, channels = "data", 3
        for layer, out, stride in (
            ("conv1_1/3x3_s2", 64, 2), ("conv1_2/3x3", 64, 1), ("conv1_3/3x3", 128, 1)
        ):  # fmt: skip
            x = w.convolution(layer, x, (out, channels, 3, 3), stride)
            x, channels = w.normalised(layer, x, out), out
    else:
        x, channels = w.convolution("conv1/7x7_s2", "data", (64, 3, 7, 7), 2), 64
        x = w.normalised("conv1/7x7_s2", x, 64)
    x = w.layer("pool1/3x3_s2", "Pooling", [x],
                "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")  # fmt: skip
    groups = {"SE-ResNet": 1, "SE-ResNeXt": 32, "SENet": 64}[kind]
    for stage, blocks in enumerate(BLOCKS[depth], start=2):
        planes = 64 * 2 ** (stage - 2)
        width = planes if groups == 1 else planes * 4 * groups // 64
        first = width // 2 if kind == "SENet" else width
        for block in range(1, blocks + 1):
            unit, stride = f"conv{stage}_{block}", 2 if block == 1 and stage > 2 else 1
            strides = (stride, 1) if kind == "SE-ResNet" else (1, stride)
            shortcut = x
            y = w.convolution(f"{unit}_1x1_reduce", x, (first, channels, 1, 1), strides[0])
            y = w.normalised(f"{unit}_1x1_reduce", y, first)
            y = w.convolution(f"{unit}_3x3", y, (width, first, 3, 3), strides[1], groups)
            y = w.normalised(f"{unit}_3x3", y, width)
            y = w.convolution(f"{unit}_1x1_increase", y, (planes * 4, width, 1, 1))
            y = w.normalised(f"{unit}_1x1_increase", y, planes * 4, relu=False, gamma=0.3)
            s = excitation(w, unit, y, planes * 4, planes // 4)
            if block == 1:
                kernel = 3 if kind == "SENet" and stage > 2 else 1
                shape = (planes * 4, channels, kernel, kernel)
                shortcut = w.convolution(f"{unit}_1x1_proj", x, shape, stride)
                shortcut = w.normalised(f"{unit}_1x1_proj", shortcut, planes * 4, relu=False)
            y = w.layer(f"{unit}_scaled", "Scale", [y, s], "scale_param { axis: 0 }")
            y = w.layer(unit, "Eltwise", [y, shortcut], "eltwise_param { operation: SUM }")
            x, channels = w.layer(f"{unit}/relu", "ReLU", [y]), planes * 4
    return x, channels
