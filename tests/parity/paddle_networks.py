"""PaddleClas' side of the parity tests, in a process of its own.

Paddle and TensorFlow do not live in one process. `publish` starts this file as a program, which
needs paddlepaddle and paddleclas, and reads what it wrote:

python tests/parity/paddle_networks.py NETWORK FOLDER CLASSES HEIGHTxWIDTH... [--by-name]

With `--by-name` the weights are those that `published_files` makes of the tensors' names.
"""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import publishers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from published_files import pictures, value
from publishers import Activations, Network, Outputs, Published, jittered, trained_like


def publish(
    name: str, folder: Path, sizes: Sequence[tuple[int, ...]], classes: int, *options: str
) -> Published:
    """The same as `publishers.publish`, from another process."""
    shapes = ["x".join(map(str, size)) for size in sizes]
    command = [sys.executable, __file__, name, str(folder), str(classes), *shapes, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = []
    for number, _ in enumerate(sizes):
        with np.load(folder / f"outputs{number}.npz") as arrays:
            stages = {n: arrays[f"stage{n}"] for n in range(1, 6)}
            outputs.append(
                Outputs(arrays["pictures"], stages, arrays["features"], arrays["logits"])
            )
    (path,) = folder.glob("*.pdparams")
    return Published(path, outputs)


class PaddleClas(Network):
    """PaddleClas: files `*.pdparams`."""

    def build(self, classes: int) -> Any:
        import paddle

        paddle.device.set_device("cpu")
        module = "se_resnet_vd" if "_vd" in self.name else "se_resnext"
        if "NeXt50_vd" in self.name or "SENet" in self.name:
            module = "se_resnext_vd"
        return getattr(paddleclas_module(module), self.name)(class_num=classes)

    def fill(self, random: np.random.Generator) -> None:
        units = sum(name.endswith("squeeze.weight") for name in self.net.state_dict())
        parts = {"_conv": "convolution", "squeeze": "squeeze", "excitation": "excite"}
        for name, parameter in self.net.named_parameters():
            part, variable = name.split(".")[-2:]
            shape = parameter.shape
            if part == "_batch_norm":
                role = "gamma" if variable == "weight" else "beta"
            else:
                kind = parts.get(part, "classifier")
                role = f"{kind} {'kernel' if variable == 'weight' else 'bias'}"
            if len(shape) == 4:
                value = trained_like(role, (*shape[2:], *shape[1::-1]), random, units)
                value = value.transpose(3, 2, 0, 1)
            else:
                value = trained_like(role, tuple(shape), random, units)
            parameter.set_value(value)

    def settle(self, pictures: np.ndarray, random: np.random.Generator) -> None:
        import paddle

        norms = [layer for layer in self.net.sublayers() if hasattr(layer, "_variance")]
        for norm in norms:
            # The batch's statistics replace the old ones.
            norm._momentum = 0.0
        self.net.train()
        self.outputs(pictures)
        for norm in norms:
            tensors = (norm._mean, norm._variance, norm.weight, norm.bias)
            values = jittered(*(tensor.numpy() for tensor in tensors), random)
            with paddle.no_grad():
                for tensor, value in zip(tensors, values, strict=True):
                    tensor.set_value(value)
        self.net.eval()

    def outputs(self, pictures: np.ndarray) -> Activations:
        import paddle

        def array(tensor: Any) -> np.ndarray:
            return np.moveaxis(tensor.numpy(), 1, -1).copy()

        stages: dict[int, np.ndarray] = {}
        layers = dict(self.net.named_sublayers())
        ends = {1: layers["pool2d_max"]}
        for name, layer in layers.items():
            if name.startswith("bb_") and "." not in name:
                # The last unit of a stage comes last.
                ends[int(name.split("_")[1]) + 2] = layer

        def keep(number: int) -> Callable[[Any, Any, Any], None]:
            def hook(_layer: Any, _inputs: Any, output: Any) -> None:
                stages[number] = array(output)

            return hook

        hooks = [end.register_forward_post_hook(keep(number)) for number, end in ends.items()]
        x = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        with paddle.no_grad():
            logits = self.net(paddle.to_tensor(x)).numpy()
        for hook in hooks:
            hook.remove()
        return stages, stages[5], logits

    def save(self, folder: Path) -> Path:
        import paddle

        path = folder / f"{self.name}_pretrained.pdparams"
        # Both protocols occur: newer versions of Paddle write the fourth.
        protocol = 2 if "18" in self.name or "NeXt50" in self.name else 4
        paddle.save(self.net.state_dict(), str(path), protocol=protocol)
        return path


def paddleclas_module(name: str) -> Any:
    """A module of PaddleClas' networks, without the rest of that package and what it needs."""
    root = Path(next(iter(importlib.util.find_spec("paddleclas").submodule_search_locations)))
    folders = ("ppcls", "ppcls/arch", "ppcls/arch/backbone", "ppcls/arch/backbone/model_zoo")
    for folder in (*folders, "ppcls/utils"):
        package = ModuleType(folder.replace("/", "."))
        package.__path__ = [str(root / folder)]
        sys.modules.setdefault(package.__name__, package)
    loading = ModuleType("ppcls.utils.save_load")
    loading.load_dygraph_pretrain = None
    sys.modules.setdefault(loading.__name__, loading)
    return importlib.import_module(f"ppcls.arch.backbone.model_zoo.{name}")


def by_name(name: str, folder: Path, size: tuple[int, ...], classes: int) -> Published:
    """A network with the values that tests without Paddle make, too."""
    net = PaddleClas(name, classes)
    for key, tensor in net.net.state_dict().items():
        matrix = len(tensor.shape) == 2
        made = value(key, tensor.shape[::-1] if matrix else tensor.shape, True)
        tensor.set_value(made.T if matrix else made)
    net.net.eval()
    batch = pictures(size, net.raw_pictures)
    return Published(net.save(folder), [Outputs(batch, *net.outputs(batch))])


def main() -> None:
    *arguments, last = sys.argv[1:]
    if last != "--by-name":
        arguments.append(last)
    name, folder, classes, *shapes = arguments
    sizes = [tuple(map(int, shape.split("x"))) for shape in shapes]
    if last == "--by-name":
        published = by_name(name, Path(folder), *sizes, int(classes))
    else:
        publishers.PUBLISHERS["paddleclas"] = PaddleClas
        published = publishers.publish("paddleclas", name, Path(folder), sizes, int(classes))
    for number, given in enumerate(published.outputs):
        arrays = {"pictures": given.pictures, **given.arrays}
        np.savez(Path(folder) / f"outputs{number}.npz", **arrays)


if __name__ == "__main__":
    main()
