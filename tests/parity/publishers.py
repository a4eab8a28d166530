"""The publishers' side of the parity tests: their own packages build a network and save it.

The published files are large, and most are not what a test should wait for. So each network here
is built by its publisher's package, gets random weights and statistics such as a trained network
has, and is saved by the publisher's own function: a genuine file, of which the outputs are known.
What `keras_se` converts from the file has to give the same outputs.

Needed, each only for its own publisher: tf2cv with tf-keras (`osmr_h5`), pytorchcv (`osmr_torch`),
timm with safetensors (`timm`), mmpretrain with mmcv-lite (`mmpretrain`), image-classifiers with
tf-keras (`qubvel`), classification-models-3D with tf-keras and Keras 3 (`zfturbo`). PaddleClas is
in `paddle_networks`.

tf2cv and image-classifiers know Keras 2 only, which TensorFlow hands out if `TF_USE_LEGACY_KERAS`
is set before TensorFlow is imported. Import this module first; Keras 3 can be used beside it.
"""

import gc
import importlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_USE_LEGACY_KERAS"] = "1"
# Torch does without Triton, which ends a process that has imported TensorFlow.
sys.modules["triton"] = None  # type: ignore[assignment]

PICTURES = 1
CALIBRATION_PICTURES = 8
LARGEST_OUTPUT = 1e4

# Stages, features and logits, if there is a classifier.
Activations = tuple[dict[int, np.ndarray], np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Outputs:
    """What a network gives for some pictures.

    Attributes:
        pictures: `(N, height, width, 3)`, of volumes `(N, depth, height, width, 3)`, normalised as
            the network takes them.
        stages: Outputs by the papers' number of the stage, channels last: 1 is the stem with its
            pool, the others are the stages of residual units.
        features: The last feature maps before the global pool, channels last. They differ from
            the last stage's output where the network ends in BN-ReLU.
        logits: `(N, classes)`, before softmax; `None` without a classifier. Networks of osmr have
            a fixed pool at the end; for pictures of another size than theirs, it is the classifier
            on the mean of `features`.
    """

    pictures: np.ndarray
    stages: dict[int, np.ndarray]
    features: np.ndarray
    logits: np.ndarray | None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All of them by name, the stages as `stage1` and so on."""
        stages = {f"stage{number}": output for number, output in self.stages.items()}
        logits = {} if self.logits is None else {"logits": self.logits}
        return {**stages, "features": self.features, **logits}


@dataclass(frozen=True)
class Published:
    """A genuine weights file.

    Attributes:
        path: The file that the publisher's package has written.
        outputs: What the network in it gives for pictures of each size.
    """

    path: Path
    outputs: list[Outputs]


def noise(count: int, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Noise with differences between pictures, between their parts, and between pixels.

    Behind some layers, plain noise is the same everywhere, and a shift by a pixel is not seen.
    """
    brightness = random.normal(size=(count, *[1] * len(size), 3))
    parts = random.normal(size=(count, *[8] * len(size), 3))
    pixels = random.normal(size=(count, *size, 3))
    return (0.6 * (brightness + resampled(parts, size) + pixels)).astype("float32")


def resampled(pictures: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Pictures in another size, from the nearest pixels."""
    for axis, length in enumerate(size, start=1):
        pictures = pictures.take(np.arange(length) * pictures.shape[axis] // length, axis)
    return pictures


def trained_like(
    role: str, shape: tuple[int, ...], random: np.random.Generator, units: int = 1
) -> np.ndarray:
    """Values such as a trained network has; kernels are `(..., inputs, outputs)`.

    Channels of convolutions differ much in scale, so that BatchNorm's epsilon matters. The kernels
    of the classifier and of SE's squeeze are small, and the squeeze's biases mostly positive:
    hardly any hidden unit, of which some blocks have one, is dead. SE's gates are rather closed
    than open, the more so in networks of many `units`: otherwise these, one after the other,
    enlarge what float32 rounds off until no comparison is possible.
    """
    he = np.sqrt(2 / np.prod(shape[:-1]))
    value = {
        "convolution kernel": lambda: (
            random.normal(0, he, shape) * 10 ** random.uniform(-2, 0, shape[-1])
        ),
        "gamma": lambda: random.uniform(0.5, 1.5, shape),
        "small gamma": lambda: random.uniform(0.01, 0.1, shape),
        "beta": lambda: random.uniform(-0.3, 0.3, shape),
        "squeeze kernel": lambda: random.normal(0, he / 2, shape),
        "squeeze bias": lambda: random.uniform(-0.1, 1.5, shape),
        "excite kernel": lambda: random.normal(0, he, shape),
        "excite bias": lambda: random.normal(-2 if units < 80 else -4, 0.5, shape),
        "neighbours kernel": lambda: random.normal(0, 1, shape),
        "classifier kernel": lambda: random.normal(0, he / 2, shape),
        "classifier bias": lambda: random.normal(0, 0.5, shape),
    }[role]()
    return value.astype("float32")


def kind_of_convolution(biased: bool, inputs: int, outputs: int) -> str:
    """What a convolution is for: only those of SE have a bias."""
    if not biased:
        return "convolution"
    return "squeeze" if outputs < inputs else "excite"


def jittered(
    mean: np.ndarray,
    variance: np.ndarray,
    gamma: np.ndarray | float,
    beta: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """Statistics of a BatchNorm that are not the very ones of its inputs.

    Gamma and beta make up for the difference, so that deep networks stay in range.
    """
    shift = random.uniform(-0.2, 0.2, mean.shape)
    factor = random.uniform(0.9, 1.1, mean.shape)
    values = (
        mean + shift * np.sqrt(variance),
        factor**2 * variance,
        factor * gamma,
        beta + shift * gamma,
    )
    return tuple(value.astype("float32") for value in values)


def osmr_outputs(
    blocks: Iterable[tuple[str, Callable[[Any], Any]]], x: Any, array: Callable[[Any], np.ndarray]
) -> tuple[dict[int, np.ndarray], Any]:
    """Outputs of the stages by number, and the last feature maps.

    Args:
        blocks: Names and calls of the network's `features`, of which the pool is left out.
        x: Input of the first.
        array: What makes an array, channels last, of an output.
    """
    stages = {}
    for name, block in blocks:
        if name == "final_pool":
            break
        x = block(x)
        if name == "init_block":
            stages[1] = array(x)
        elif name.startswith("stage"):
            stages[int(name.removeprefix("stage")) + 1] = array(x)
    return stages, x


class Network(ABC):
    """A network of a publisher's package."""

    raw_pictures = False

    def __init__(self, name: str, classes: int) -> None:
        self.name = name
        self.net = self.build(classes)

    def noise(self, count: int, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """Pictures as the network takes them."""
        pictures = noise(count, size, random)
        return np.clip(np.round(128 + 50 * pictures), 0, 255) if self.raw_pictures else pictures

    @abstractmethod
    def build(self, classes: int) -> Any:
        """The publisher's network, every variable of which exists."""

    @abstractmethod
    def fill(self, random: np.random.Generator) -> None:
        """Give every trainable variable a value."""

    @abstractmethod
    def settle(self, pictures: np.ndarray, random: np.random.Generator) -> None:
        """Set the BatchNorms' statistics to about those that `pictures` give."""

    @abstractmethod
    def outputs(self, pictures: np.ndarray) -> Activations:
        """Stages, features and logits, as when the network is in use."""

    @abstractmethod
    def save(self, folder: Path) -> Path:
        """Write the weights into a file of `folder`."""

    def close(self) -> None:
        """Give back what the network holds outside itself."""
        del self.net


class TorchNetwork(Network):
    """Networks that are `torch.nn.Module`s."""

    def fill(self, random: np.random.Generator) -> None:
        import torch

        convolutions = [part for part in self.net.modules() if isinstance(part, torch.nn.Conv2d)]
        units = sum(part.bias is not None for part in convolutions) // 2
        # The gates of ECA have no bias that could close them: in deep networks the branches' scale
        # is small instead.
        neighbours = sum(isinstance(part, torch.nn.Conv1d) for part in self.net.modules())
        ends = ("bn3",) if neighbours >= 80 else ()

        def assign(parameter: Any, role: str) -> None:
            if parameter.ndim > 1:
                parameter = parameter.movedim((0, 1), (-1, -2))
            value = trained_like(role, tuple(parameter.shape), random, units)
            parameter.copy_(torch.from_numpy(value))

        with torch.no_grad():
            for name, module in self.net.named_modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    assign(module.weight, "small gamma" if name.endswith(ends) else "gamma")
                    assign(module.bias, "beta")
                elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                    biased = module.bias is not None
                    kind = "classifier"
                    if isinstance(module, torch.nn.Conv2d):
                        channels = module.in_channels, module.out_channels
                        kind = kind_of_convolution(biased, *channels)
                    assign(module.weight, f"{kind} kernel")
                    if biased:
                        assign(module.bias, f"{kind} bias")
                elif isinstance(module, torch.nn.Conv1d):
                    assign(module.weight, "neighbours kernel")
                elif list(module.parameters(recurse=False)):
                    raise ValueError(f"Unknown module: {module}")

    def settle(self, pictures: np.ndarray, random: np.random.Generator) -> None:
        import torch

        norms = [part for part in self.net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        self.net.train()
        with torch.no_grad():
            self.outputs(pictures)
            for norm in norms:
                tensors = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
                values = jittered(*(tensor.numpy() for tensor in tensors), random)
                for tensor, value in zip(tensors, values, strict=True):
                    tensor.copy_(torch.from_numpy(value))
        self.net.eval()

    @staticmethod
    def tensor(pictures: np.ndarray) -> Any:
        """Pictures as Torch takes them, channels first."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))

    @staticmethod
    def array(tensor: Any) -> np.ndarray:
        """A copy, channels last, of a tensor that a later layer may change in place."""
        return np.array(tensor.movedim(1, -1))

    def save(self, folder: Path) -> Path:
        import torch

        path = folder / f"{self.name}.pth"
        torch.save(self.net.state_dict(), path)
        return path


class OsmrTorch(TorchNetwork):
    """pytorchcv: files `*.pth`."""

    def build(self, classes: int) -> Any:
        declare_torchvision_operators()
        from pytorchcv.model_provider import get_model

        return get_model(self.name, num_classes=classes)

    def outputs(self, pictures: np.ndarray) -> Activations:
        import torch

        with torch.no_grad():
            x = self.tensor(pictures)
            stages, features = osmr_outputs(self.net.features.named_children(), x, self.array)
            whole = pictures.shape[1:3] == tuple(self.net.in_size) and not self.net.training
            logits = self.net(x) if whole else self.net.output(features.mean((2, 3)))
        return stages, self.array(features), self.array(logits)


class Timm(TorchNetwork):
    """timm: files `model.safetensors`, and `*.pth` for the networks named `legacy_*`."""

    def build(self, classes: int) -> Any:
        declare_torchvision_operators()
        import timm

        return timm.create_model(self.name, pretrained=False, num_classes=classes)

    def outputs(self, pictures: np.ndarray) -> Activations:
        import torch

        stages: dict[int, np.ndarray] = {}

        def keep(number: int) -> Callable[[Any, Any, Any], None]:
            def hook(_module: Any, _inputs: Any, output: Any) -> None:
                stages[number] = self.array(output)

            return hook

        net = self.net
        stem = net.pool0 if self.name.startswith("legacy_") else net.maxpool
        ends = (stem, net.layer1, net.layer2, net.layer3, net.layer4)
        hooks = [end.register_forward_hook(keep(n)) for n, end in enumerate(ends, start=1)]
        with torch.no_grad():
            logits = self.array(net(self.tensor(pictures)))
        for hook in hooks:
            hook.remove()
        return stages, stages[5], logits

    def save(self, folder: Path) -> Path:
        if self.name.startswith("legacy_"):
            return super().save(folder)
        from safetensors.torch import save_file

        path = folder / "model.safetensors"
        save_file(self.net.state_dict(), path)
        return path


class Mmpretrain(TorchNetwork):
    """OpenMMLab's mmpretrain: training checkpoints `*.pth`."""

    def build(self, classes: int) -> Any:
        declare_torchvision_operators()
        from mmpretrain.models import ImageClassifier

        depth = int(self.name.removeprefix("seresnet"))
        head = {"type": "LinearClsHead", "num_classes": classes, "in_channels": 2048}
        return ImageClassifier(
            {"type": "SEResNet", "depth": depth, "out_indices": (0, 1, 2, 3)},
            {"type": "GlobalAveragePooling"},
            head,
        )

    def outputs(self, pictures: np.ndarray) -> Activations:
        import torch

        backbone, x = self.net.backbone, self.tensor(pictures)
        with torch.no_grad():
            stem = backbone.maxpool(backbone.relu(backbone.norm1(backbone.conv1(x))))
            maps = [self.array(stem), *map(self.array, backbone(x))]
            logits = self.array(self.net(x))
        return dict(enumerate(maps, start=1)), maps[-1], logits

    def save(self, folder: Path) -> Path:
        import torch

        path = folder / f"{self.name}.pth"
        meta = {"mmcls_version": "0.1", "epoch": 100, "CLASSES": ["tench", "goldfish"]}
        torch.save({"meta": meta, "state_dict": self.net.state_dict()}, path)
        return path


# Operators are forgotten with the library that has declared them.
TORCHVISION_OPERATORS: list[Any] = []


def declare_torchvision_operators() -> None:
    """Let torchvision, which the packages import, do without its binary part, if that does not fit.

    torchvision then names two operators that nothing has declared; no network here uses them.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        TORCHVISION_OPERATORS.append(library)


def legacy_keras() -> Any:
    """Keras 2, in which tf2cv and image-classifiers are written."""
    import tensorflow as tf

    if not tf.keras.Model.__module__.startswith("tf_keras"):
        raise RuntimeError("TensorFlow was imported before TF_USE_LEGACY_KERAS was set")
    return tf.keras


class KerasNetwork(Network):
    """Networks that are models of Keras 2; files `*.h5`."""

    def __init__(self, name: str, classes: int) -> None:
        self.keras = legacy_keras()
        # Layers without a name are numbered from the first in the process.
        self.keras.backend.clear_session()
        super().__init__(name, classes)

    def close(self) -> None:
        super().close()
        self.keras.backend.clear_session()

    @abstractmethod
    def run(self, pictures: np.ndarray, training: bool) -> Activations:
        """Stages, features and logits."""

    def outputs(self, pictures: np.ndarray) -> Activations:
        return self.run(pictures, training=False)

    def fill(self, random: np.random.Generator) -> None:
        filled = 0
        layers = self.keras.layers
        kinds = (layers.Conv2D, layers.Conv3D)
        convolutions = [part for part in self.net.submodules if isinstance(part, kinds)]
        units = sum(part.use_bias for part in convolutions) // 2

        def assign(variable: Any, role: str) -> None:
            nonlocal filled
            variable.assign(trained_like(role, tuple(variable.shape), random, units))
            filled += 1

        for layer in self.net.submodules:
            if isinstance(layer, layers.BatchNormalization):
                if layer.scale:
                    assign(layer.gamma, "gamma")
                assign(layer.beta, "beta")
            elif isinstance(layer, (*kinds, layers.Dense)):
                kind = "classifier"
                if isinstance(layer, kinds):
                    kind = kind_of_convolution(layer.use_bias, *layer.kernel.shape[-2:])
                assign(layer.kernel, f"{kind} kernel")
                if layer.use_bias:
                    assign(layer.bias, f"{kind} bias")
        if filled != len(self.net.trainable_weights):
            raise ValueError(f"{filled} variables of {len(self.net.trainable_weights)} are filled")

    def settle(self, pictures: np.ndarray, random: np.random.Generator) -> None:
        kind = self.keras.layers.BatchNormalization
        norms = [layer for layer in self.net.submodules if isinstance(layer, kind)]
        for norm in norms:
            norm.momentum = 0.0
        self.run(pictures, training=True)
        for norm in norms:
            variables = (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
            # The BatchNorm of image-classifiers' input has no gamma.
            arrays = [1.0 if variable is None else variable.numpy() for variable in variables]
            for variable, value in zip(variables, jittered(*arrays, random), strict=True):
                if variable is not None:
                    variable.assign(value)

    def save(self, folder: Path) -> Path:
        path = folder / f"{self.name}.h5"
        self.net.save_weights(str(path))
        return path


class OsmrKeras(KerasNetwork):
    """tf2cv."""

    def build(self, classes: int) -> Any:
        from tf2cv.model_provider import get_model

        net = get_model(self.name, classes=classes)
        net(np.zeros((1, *net.in_size, 3), "float32"))
        return net

    def run(self, pictures: np.ndarray, training: bool) -> Activations:
        def call(block: Any) -> Callable[[Any], Any]:
            return lambda x: block(x, training=training)

        names = [block.name.rpartition("/")[-1] for block in self.net.features.children]
        blocks = zip(names, map(call, self.net.features.children), strict=True)
        stages, features = osmr_outputs(blocks, pictures, np.array)
        features = np.array(features)
        if pictures.shape[1:3] == tuple(self.net.in_size) and not training:
            logits = self.net(pictures, training=False)
        else:
            logits = self.net.output1(features.mean((1, 2)))
        return stages, features, np.array(logits)


class Qubvel(KerasNetwork):
    """image-classifiers, that is, `classification_models`."""

    axes = 2

    def __init__(self, name: str, classes: int) -> None:
        super().__init__(name, classes)
        # From MXNet: units begin with BatchNorm, as does the network, which scales the pictures.
        self.preactivation = self.raw_pictures = name in ("seresnet18", "seresnet34")
        self.parts = self.with_outputs()

    def build(self, classes: int) -> Any:
        # Its own `tfkeras` imports `tensorflow.keras`, which then is Keras 3.
        from classification_models.models_factory import ModelsFactory

        function, _ = ModelsFactory().get(self.name)
        shape = (None, None, 3)
        return function(input_shape=shape, classes=classes, weights=None, **modules(self.keras))

    def with_outputs(self) -> Any:
        """The network with the outputs of stem, stages, last feature maps and last `Dense`."""

        def found(kind: str) -> list[Any]:
            return [layer for layer in self.net.layers if type(layer).__name__ == kind]

        ends = found("Add")
        if not self.preactivation:
            # The unit ends in the ReLU after the sum.
            ends = [layer.outbound_nodes[0].layer for layer in ends]
        # Every stage is twice as wide as the one before; the last of each width is its end.
        stages = {layer.output.shape[-1]: layer.output for layer in ends}
        outputs = [found(f"MaxPooling{self.axes}D")[0].output, *stages.values()]
        return self.keras.Model(self.net.input, outputs + self.last(found))

    def last(self, found: Callable[[str], list[Any]]) -> list[Any]:
        """The last feature maps and the logits; `found` gives the layers of a kind."""
        return [found("GlobalAveragePooling2D")[-1].input, found("Dense")[0].output]

    def close(self) -> None:
        del self.parts
        super().close()

    def run(self, pictures: np.ndarray, training: bool) -> Activations:
        *stages, features, logits = map(np.array, self.parts(pictures, training=training))
        return dict(enumerate(stages, start=1)), features, logits


class ZFTurbo(Qubvel):
    """classification-models-3D: qubvel's networks for volumes, published without a classifier.

    The package is written in Keras 3 and builds with the modules it is given: those of Keras 2,
    which its files come from.
    """

    axes = 3

    def build(self, classes: int) -> Any:
        return zfturbo_network("3D", self.name, self.keras, input_shape=(None, None, None, 3))

    def last(self, found: Callable[[str], list[Any]]) -> list[Any]:
        return [self.net.output]

    def run(self, pictures: np.ndarray, training: bool) -> Activations:
        *stages, features = map(np.array, self.parts(pictures, training=training))
        return dict(enumerate(stages, start=1)), features, None

    def save(self, folder: Path) -> Path:
        # The whole model, as the publisher's script for inflating weights does.
        path = folder / f"{self.name}.h5"
        self.net.save(str(path))
        return path


def modules(keras: Any) -> dict[str, Any]:
    """The parts of a Keras, as qubvel's and ZFTurbo's networks take them."""
    return {part: getattr(keras, part) for part in ("backend", "layers", "models", "utils")}


def zfturbo_network(axes: str, name: str, keras: Any, **options: Any) -> Any:
    """A network of classification-models-1D or 3D, without weights, in a given Keras.

    The modules of the networks are imported one by one: the list of all needs, in 1D, a module that
    Keras 2 has moved.
    """
    deep = name in ("seresnet18", "seresnet34")
    module = importlib.import_module(
        f"classification_models_{axes}.models.{'resnet' if deep else 'senet'}"
    )
    builder = {part.lower(): part for part in vars(module)}[name]
    options = {"weights": None, "include_top": False, **options, **modules(keras)}
    return getattr(module, builder)(**options)


PUBLISHERS: dict[str, type[Network]] = {
    "osmr_h5": OsmrKeras,
    "osmr_torch": OsmrTorch,
    "timm": Timm,
    "mmpretrain": Mmpretrain,
    "qubvel": Qubvel,
    "zfturbo": ZFTurbo,
}


def publish(
    publisher: str,
    network: str,
    folder: Path,
    sizes: Sequence[tuple[int, ...]],
    classes: int,
    seed: int = 0,
) -> Published:
    """Build a network with its publisher's package, fill it, save it and use it.

    Args:
        publisher: A key of `PUBLISHERS`.
        network: Name of the network in the publisher's package.
        folder: Where the file is written; it has to exist.
        sizes: Heights and widths of the pictures, before them the depths of volumes.
        classes: Number of classes; osmr's networks for CIFAR have 10 or 100.
        seed: Seed of weights, statistics and pictures.

    Returns:
        The file and the outputs.

    Raises:
        ValueError: If an output is not finite or beyond `LARGEST_OUTPUT`, that is, of no use in
            a comparison.
    """
    random = np.random.default_rng(seed)
    net = PUBLISHERS[publisher](network, classes)
    net.fill(random)
    pictures = net.noise(CALIBRATION_PICTURES, sizes[0], random)
    net.settle(pictures, random)
    # Deep networks stay in range for pictures that the statistics are of.
    batches = [resampled(pictures[:PICTURES], size) for size in sizes]
    outputs = [Outputs(batch, *net.outputs(batch)) for batch in batches]
    published = Published(net.save(folder), outputs)
    net.close()
    del net
    gc.collect()
    for given in outputs:
        for name, array in given.arrays.items():
            if not np.abs(array).max() < LARGEST_OUTPUT:
                raise ValueError(
                    f"{publisher} {network}: output {name} up to {np.abs(array).max()}"
                )
    return published
