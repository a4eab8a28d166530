"""Files in publishers' layouts, made anew from the names and shapes of genuine ones.

`tests/published` holds, for a few networks, the names and shapes of the tensors in a genuine file
and what the publisher's own package gives with the values that `value` makes for them. So the
default tests compare with publishers without their packages; `tests/parity` covers everything.
"""

import json
import zlib
from dataclasses import dataclass

import h5py
import numpy as np
from places import PUBLISHED
from safetensors.numpy import save_file


def value(name, shape, out_first):
    """The array of a tensor, by its name alone."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    part = name.replace("/", ".").rsplit(".", 1)[-1]
    if len(shape) > 1:
        fan_in = np.prod(shape[1:] if out_first else shape[:-1])
        array = random.normal(0, np.sqrt(2 / fan_in), shape)
    elif part in ("weight", "gamma"):
        array = random.uniform(0.4, 0.9, shape)
    elif part.endswith(("var", "variance")):
        array = random.uniform(0.6, 1.6, shape)
    else:
        array = random.normal(0, 0.2, shape)
    return array.astype("float32")


def pictures(size, raw):
    """One picture or volume of noise, as the network takes it."""
    noise = np.random.default_rng(1).normal(size=(1, *size, 3))
    return (np.clip(128 + 50 * noise, 0, 255) if raw else noise).astype("float32")


@dataclass(frozen=True)
class Recorded:
    """A genuine file's tensors, and what its network gives.

    Attributes:
        source: Who published it, as `tests/parity/publishers.py` says it.
        network: Its name there.
        size: Height and width of the picture, before them the depth of a volume.
        classes: Number of classes; 0 without a classifier.
        shapes: The tensors' shapes by name.
        outputs: `logits`, `features`, and the means over all positions of every `stage`.
    """

    source: str
    network: str
    size: tuple[int, ...]
    classes: int
    shapes: dict[str, list[int]]
    outputs: dict[str, np.ndarray]

    @property
    def out_first(self):
        return not self.source.endswith("h5") and self.source not in ("qubvel", "zfturbo")

    @property
    def values(self):
        return {n: value(n, shape, self.out_first) for n, shape in self.shapes.items()}

    def write(self, folder):
        """The file again; `.pth` as safetensors, which hold the same names without Torch."""
        if self.out_first:
            path = folder / "model.safetensors"
            save_file(self.values, path)
        else:
            path = folder / "model.h5"
            write_keras_hdf5(self.values, path)
        return path

    def save(self):
        """Into `tests/published`."""
        facts = {
            key: getattr(self, key) for key in ("source", "network", "size", "classes", "shapes")
        }
        PUBLISHED.mkdir(exist_ok=True)
        np.savez_compressed(
            PUBLISHED / f"{self.source}.{self.network}.npz", facts=json.dumps(facts), **self.outputs
        )


def read(path):
    """A recorded file."""
    with np.load(path) as arrays:
        facts = json.loads(str(arrays["facts"]))
        outputs = {name: arrays[name] for name in arrays.files if name != "facts"}
    return Recorded(**{**facts, "size": tuple(facts["size"])}, outputs=outputs)


def write_keras_hdf5(arrays, path):
    """A weights file of Keras 2; names are `<layer>|<weight>`."""
    layers: dict[str, list[str]] = {}
    for name in arrays:
        layer, weight = name.split("|")
        layers.setdefault(layer, []).append(weight)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, weights in layers.items():
            group = file.create_group(layer)
            names = [f"{weight}:0".encode() for weight in weights]
            # An attribute has room for 64 KiB.
            if sum(map(len, names)) < 60_000:
                group.attrs["weight_names"] = names
            else:
                for chunk, start in enumerate(range(0, len(names), 300)):
                    group.attrs[f"weight_names{chunk}"] = names[start : start + 300]
            for weight, name in zip(weights, names, strict=True):
                group[name.decode()] = arrays[f"{layer}|{weight}"]
