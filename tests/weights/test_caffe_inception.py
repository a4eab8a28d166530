"""The authors' SE-BN-Inception: from a .caffemodel, against the file's own numbers in NumPy."""

import keras
import numpy as np
import pytest
from caffe_networks import MODULES, write
from reference import (
    batch_norm,
    convolution,
    max_pool_ceil,
    padded,
    relu,
    squeeze_excite,
    windows,
)

import keras_se
from keras_se.checkpoint import convert_file
from keras_se.weights.namings import INCEPTION_MODULES
from keras_se.weights.tensors import open_tensors

# Of a module's largest activation: float32 sums of 3x3x256 products in two orders; oneDNN without
# AVX-512 VNNI came to 1.01e-5.
TOLERANCE = 2e-5


class File:
    """The layers of the file, evaluated."""

    def __init__(self, path):
        with open_tensors(path) as file:
            self.tensors = {name: np.asarray(t, "float64") for name, t in file.tensors.items()}
        self.used = set()

    def blob(self, name):
        self.used.add(name)
        return self.tensors[name]

    def kernel(self, layer):
        return self.blob(f"{layer}|weight").transpose(2, 3, 1, 0)

    def conv(self, x, layer, stride=1):
        x = convolution(x, self.kernel(layer), stride)
        scale = [self.blob(f"{layer}/bn/scale|{name}") for name in ("gamma", "beta")]
        statistics = [self.blob(f"{layer}/bn|{name}") for name in ("mean", "variance")]
        return relu(batch_norm(x, *scale, *statistics))

    def module(self, x, letters):
        """A module with its Squeeze-and-Excitation."""
        m, (single, _, _, (kind, projected)) = f"inception_{letters}", MODULES[letters]
        stride = 1 if single else 2
        ends = [self.conv(x, f"{m}/1x1")] if single else []
        ends.append(self.conv(self.conv(x, f"{m}/3x3_reduce"), f"{m}/3x3", stride))
        y = self.conv(self.conv(x, f"{m}/double3x3_reduce"), f"{m}/double3x3a")
        ends.append(self.conv(y, f"{m}/double3x3b", stride))
        if not projected:
            ends.append(max_pool_ceil(x))
        else:
            # Caffe divides by nine at the border, too.
            border, pool = (0, np.mean) if kind == "AVE" else (-np.inf, np.max)
            y = pool(windows(padded(x, (1, 1), (1, 1), border), 3, 1), (-2, -1))
            ends.append(self.conv(y, f"{m}/pool_proj"))
        kernels = [self.kernel(f"{m}_1x1_{step}")[0, 0] for step in ("down", "up")]
        biases = [self.blob(f"{m}_1x1_{step}|bias") for step in ("down", "up")]
        return squeeze_excite(np.concatenate(ends, -1), *kernels, *biases)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write("SE-BN-Inception", tmp_path_factory.mktemp("caffe"), classes=1000)[1]


# Caffe refuses sizes at which the branches of a module that halves the resolution would differ.
@pytest.mark.parametrize("size", [(64, 64), (96, 129)], ids=str)
def test_outputs_are_those_of_the_file(file, size):
    model = keras_se.load_checkpoint(
        file,
        layout="caffe",
        model="SEBNInception",
        input_shape=(*size, 3),
        include_preprocessing=False,
        classifier_activation=None,
    )
    names = {letters: f"{unit}_se" for letters, unit in INCEPTION_MODULES.items()}
    ends = {letters: model.get_layer(name).output for letters, name in names.items()}
    x = 60 * np.random.default_rng(1).normal(size=(2, *size, 3))
    ours = keras.Model(model.input, {**ends, "logits": model.output})(x.astype("float32"))

    given = File(file)
    x = max_pool_ceil(given.conv(x, "conv1/7x7_s2", 2))
    x = max_pool_ceil(given.conv(given.conv(x, "conv2/3x3_reduce"), "conv2/3x3"))
    for letters in MODULES:
        x = given.module(x, letters)
        assert ours[letters].shape == x.shape
        assert np.abs(ours[letters] - x).max() < TOLERANCE * np.abs(x).max(), letters
    kernel, bias = given.blob("classifier|weight"), given.blob("classifier|bias")
    logits = (x.mean((1, 2)) @ kernel.T + bias)[:, keras_se.weights.conversion._class_order()]
    assert np.abs(ours["logits"] - logits).max() < TOLERANCE * np.abs(logits).max()
    assert given.used == set(given.tensors)


def test_every_tensor_is_used_once(file, tmp_path):
    _, sources = convert_file(
        file, tmp_path / "model.keras", layout="caffe", model="SE-BN-Inception"
    )
    with open_tensors(file) as opened:
        names = list(opened.tensors)
    assert sorted(name for group in sources.values() for name in group) == sorted(names)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.count_params() == 11_951_654
