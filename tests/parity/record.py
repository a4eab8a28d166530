"""Writes `tests/published`: python tests/parity/record.py (in `tox -e parity`'s environment)."""

import sys
import tempfile
from pathlib import Path

import publishers  # isort: skip (before TensorFlow)

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import caffe_networks
import opencv
import paddle_networks
from places import PUBLISHED
from published_files import Recorded, pictures, value

from keras_se.weights.namings import COUNTERS
from keras_se.weights.tensors import open_tensors

CASES = (
    ("osmr_h5", "seresnet20_cifar10", (33, 29), 10),
    ("osmr_h5", "sepreresnet20_cifar10", (33, 29), 10),
    ("osmr_h5", "sepreresnet12", (65, 49), 7),
    ("osmr_torch", "seresnet10", (65, 49), 7),
    ("timm", "seresnet18", (65, 49), 7),
    # `weights="imagenet"` of SEResNet50.
    ("timm", "seresnet50", (65, 49), 1000),
    ("timm", "seresnext26t_32x4d", (65, 49), 7),
    ("timm", "resnetrs50", (65, 49), 7),
    ("timm", "legacy_seresnet18", (65, 49), 7),
    ("mmpretrain", "seresnet50", (65, 49), 7),
    ("qubvel", "seresnet18", (65, 49), 7),
    ("zfturbo", "seresnet18", (33, 35, 32), 0),
)


def averaged(outputs):
    """All outputs; those of the stages as their means over all positions."""
    return {
        name: array.mean(tuple(range(1, array.ndim - 1))) if name.startswith("stage") else array
        for name, array in outputs.arrays.items()
    }


def record(source, name, size, classes, folder):
    net = publishers.PUBLISHERS[source](name, classes)
    path = net.save(folder)
    with open_tensors(path) as file:
        out_first = file.out_first
        shapes = {n: list(t.shape) for n, t in file.tensors.items() if not COUNTERS.fullmatch(n)}
    if out_first:
        import torch

        state = {n: torch.from_numpy(value(n, s, True)) for n, s in shapes.items()}
        unset, unknown = net.net.load_state_dict(state, strict=False)
        assert not unknown
        assert all(COUNTERS.fullmatch(key) for key in unset)
        net.net.eval()
    else:
        with h5py.File(path, "r+") as file:
            root = file.get("model_weights", file)
            for n, shape in shapes.items():
                layer, weight = n.split("|")
                root[f"{layer}/{weight}:0"][()] = value(n, shape, False)
        net.net.load_weights(str(path))
    batch = pictures(size, net.raw_pictures)
    outputs = averaged(publishers.Outputs(batch, *net.outputs(batch)))
    print(source, name, {n: float(np.abs(output).max()) for n, output in outputs.items()})
    Recorded(source, name, size, classes, shapes, outputs).save()
    net.close()


def record_paddle(name, size, classes, folder):
    published = paddle_networks.publish(name, folder, [size], classes, "--by-name")
    with open_tensors(published.path) as file:
        shapes = {n: list(t.shape) for n, t in file.tensors.items()}
    (given,) = published.outputs
    Recorded("paddleclas", name, size, classes, shapes, averaged(given)).save()


def record_caffe(name, classes, folder):
    text, weights = caffe_networks.write(name, folder, classes)
    outputs = opencv.outputs(text, weights, 60 * pictures((224, 224), raw=False))
    means = {n: output.mean(axis=(1, 2)) for n, output in outputs.items() if n != "logits"}
    np.savez_compressed(
        PUBLISHED / f"{name}.npz", **means, logits=outputs["logits"].reshape(1, classes)
    )


if __name__ == "__main__":
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            record(*case, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        record_paddle("SE_ResNet18_vd", (65, 49), 7, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        record_caffe("SE-ResNet-50", 7, Path(folder))
