"""`load_checkpoint` and `keras-se convert`: users' own files, of any number of classes."""

import argparse
import dataclasses
import json
import re

import click.testing
import keras
import ml_dtypes
import numpy as np
import published_files
import pytest
from places import PUBLISHED
from safetensors.numpy import save_file

import keras_se
from keras_se import checkpoint
from keras_se.cli import cli
from keras_se.weights.variable_file import named_variables

pytestmark = pytest.mark.weights

# Two graphs of the same values.
TOLERANCE = 1e-5


def tensors(name="timm.seresnet18"):
    """The tensors of a recorded file."""
    return published_files.read(PUBLISHED / f"{name}.npz").values


@pytest.fixture
def write(tmp_path):
    """Writes tensors to a file."""

    def write(arrays, name="model.safetensors"):
        arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        save_file(arrays, tmp_path / name)
        return tmp_path / name

    return write


def load(path, model="SEResNet18", layout="timm", **options):
    return keras_se.load_checkpoint(path, layout=layout, model=model, **options)


def message(path, **options):
    """The error's one line, which names the file."""
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_classes_channels_and_activation_are_the_files(write):
    arrays = tensors()
    arrays["conv1.weight"] = arrays["conv1.weight"][:, :1]
    arrays["fc.weight"], arrays["fc.bias"] = arrays["fc.weight"][:3], arrays["fc.bias"][:3]
    model = load(write(arrays), classifier_activation="sigmoid")
    assert (model.input_shape, model.output_shape) == ((None, 224, 224, 1), (None, 3))
    np.testing.assert_array_equal(model.get_layer("predictions").bias, arrays["fc.bias"])
    kernel = model.get_layer("stem_conv").kernel
    np.testing.assert_array_equal(kernel, arrays["conv1.weight"].transpose(2, 3, 1, 0))


def test_a_file_without_a_classifier(write):
    arrays = {n: array for n, array in tensors().items() if not n.startswith("fc.")}
    model = load(write(arrays))
    assert model.output_shape == (None, None, None, 512)


@pytest.mark.parametrize("dtype", ["float16", "float64", ml_dtypes.bfloat16], ids=str)
def test_other_floating_types(write, dtype):
    arrays = {name: array.astype(dtype) for name, array in tensors().items()}
    model = load(write(arrays))
    kernel = arrays["layer1.0.conv1.weight"].astype("float32").transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("stage2_block1_conv1").kernel, kernel)


def test_pictures_are_normalised_as_the_publisher_does(write):
    path = write(tensors())
    rgb = np.random.default_rng(3).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    normalised = (rgb / 255 - (0.485, 0.456, 0.406)) / np.array((0.229, 0.224, 0.225))
    inside = load(path, input_shape=(64, 64, 3))(rgb)
    outside = load(path, input_shape=(64, 64, 3), include_preprocessing=False)(normalised)
    np.testing.assert_allclose(inside, outside, rtol=0, atol=TOLERANCE)


def test_networks_of_the_same_tensors_are_told_apart_by_name(write, tmp_path):
    recorded = published_files.read(PUBLISHED / "osmr_h5.seresnet20_cifar10.npz")
    model = load(recorded.write(tmp_path), model="SEResNet20", layout="osmr")
    assert model.output_shape == (None, 10)
    # osmr's SE-ResNet-50 and 50b differ in where they stride, and not in their tensors.
    path = write(tensors("timm.seresnet50"))
    assert "the tensors do not match seresnet50" in message(path, model="SEResNet50", layout="osmr")
    arrays = {osmr_name(name): array for name, array in tensors("timm.seresnet50").items()}
    path = write(arrays, "osmr.safetensors")
    strides = [
        load(path, model=name, layout="osmr").get_layer("stage3_block1_conv1").strides
        for name in ("SEResNet50", "seresnet50", "seresnet50b")
    ]
    assert strides == [(2, 2), (2, 2), (1, 1)]


def osmr_name(name):
    """Osmr's name of one of timm's tensors."""
    stem = {"conv1": "features.init_block.conv.conv", "bn1": "features.init_block.conv.bn"}
    head, variable = name.rsplit(".", 1)
    if head in stem or head == "fc":
        return f"{stem.get(head, 'output')}.{variable}"
    stage, block, *parts = head.split(".")
    part = ".".join(parts)
    ours = {
        **{f"conv{n}": f"body.conv{n}.conv" for n in (1, 2, 3)},
        **{f"bn{n}": f"body.conv{n}.bn" for n in (1, 2, 3)},
        "se.fc1": "se.conv1",
        "se.fc2": "se.conv2",
        "downsample.0": "identity_conv.conv",
        "downsample.1": "identity_conv.bn",
    }[part]
    number = stage.removeprefix("layer")
    return f"features.stage{number}.unit{int(block) + 1}.{ours}.{variable}"


def test_ambiguous_networks_ask_for_a_name(write, monkeypatch):
    """Timm's SE-ResNeXt-101d and aa101d differ in their pools, not in their tensors."""
    (network,) = (n for n in checkpoint.list_networks() if n.name == "seresnext26t_32x4d")
    pooled = dataclasses.replace(network, name="other", variant={**network.variant})
    monkeypatch.setattr(checkpoint, "list_networks", lambda: [network, pooled])
    path = write(tensors("timm.seresnext26t_32x4d"))
    received = message(path, model="SEResNeXt50")
    assert "seresnext26t_32x4d and other have the same tensors; name one of them" in received


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "torchvision"}, ("'timm'", "torchvision")),
        ({"model": "ResNet18"}, ("'SEResNet18'", "'ResNet18'")),
        ({"model": "seresnet18b"}, ("Did you mean 'seresnet18'?",)),
    ],
)
def test_unknown_names(tmp_path, options, words):
    with pytest.raises(ValueError, match="must be one of") as caught:
        load(tmp_path / "none", **options)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("prefix", ["model.", "encoder.", "backbone.", "module.model."])
def test_prefixes_of_wrappers(write, prefix):
    """Also where the classifier is not in the wrapped network."""
    expected = load(write(tensors()))
    x = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3))
    for bare in ((), ("fc.",)):
        arrays = {k if k.startswith(bare) else prefix + k: v for k, v in tensors().items()}
        found = load(write(arrays, "prefixed.safetensors"))
        np.testing.assert_array_equal(found(x), expected(x))


def test_the_files_own_names_are_shown(write):
    text = message(write({f"trunk.{name}": array for name, array in tensors().items()}))
    assert "missing: stem_conv/kernel" in text
    assert "the file has trunk." in text


@pytest.mark.parametrize(
    ("name", "instead"),
    [("own.keras", "keras.models.load_model"), ("own.weights.h5", "the builder's `weights=`")],
)
def test_files_of_keras(name, instead, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    (model.save if name == "own.keras" else model.save_weights)(tmp_path / name)
    assert instead in message(tmp_path / name)


def test_unknown_network_is_one_short_line(tmp_path):
    with pytest.raises(ValueError, match="'seresnet50'") as caught:
        keras_se.load_checkpoint(tmp_path / "x", layout="timm", model="seresnet5")
    assert len(str(caught.value)) <= 300


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")


def run(*arguments):
    return click.testing.CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_convert(write, tmp_path, name):
    source, target = write(tensors()), tmp_path / name
    result = run("convert", source, target, "--layout", "timm", "--model", "SEResNet18", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["network"] == "se_resnet18"
    assert report["tensors"] == len(tensors())
    expected = {key: v.numpy() for key, v in named_variables(load(source)).items()}
    if name.endswith(".keras"):
        model = keras.saving.load_model(target)
    else:
        model = keras_se.SEResNet18(weights=None, classes=7, variant=VARIANT)
        model.load_weights(target)
    for key, variable in named_variables(model).items():
        np.testing.assert_array_equal(variable, expected[key], err_msg=key)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, name])


VARIANT = {"stem_pool": "pad1", "hidden_divisor": 8}


def test_convert_says_what_went_where(write, tmp_path):
    arguments = (write(tensors()), tmp_path / "m.keras", "--layout", "timm")
    result = run("convert", *arguments, "--model", "SEResNet18", "--verbose")
    assert "stage2_block1_se/reduce_kernel  <-  layer1.0.se.fc1.weight" in result.output
    assert sum("  <-  " in line for line in result.output.splitlines()) == len(tensors())


@pytest.mark.parametrize(
    ("target", "words"),
    [("model.h5", "must end in .keras or .weights.h5"), ("no/model.keras", "no such folder")],
)
def test_convert_to_a_bad_target(write, tmp_path, target, words):
    path = write(tensors())
    result = run("convert", path, tmp_path / target, "--layout", "timm", "--model", "SEResNet18")
    assert result.exit_code != 0
    assert words in str(result.exception)
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def state():
    """A Torch state dict."""
    torch = pytest.importorskip("torch")
    return {name: torch.from_numpy(array) for name, array in tensors().items()}


@pytest.mark.backends
@pytest.mark.parametrize("form", ["plain", "old", "training", "parallel", "bfloat16", "averaged"])
def test_torch_files(state, tmp_path, form):
    import torch

    path, options, saved = tmp_path / "model.pth", {}, state
    changed = {name: tensor + 1 for name, tensor in state.items()}
    if form == "old":
        options["_use_new_zipfile_serialization"] = False
    elif form == "training":
        arguments = argparse.Namespace(model="seresnet18", lr=0.1)
        saved = {"epoch": 3, "arch": "seresnet18", "state_dict": state, "args": arguments}
    elif form == "averaged":
        saved = {"state_dict": changed, "state_dict_ema": state}
    elif form == "parallel":
        saved = {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    elif form == "bfloat16":
        saved = {name: tensor.bfloat16() for name, tensor in state.items()}
    torch.save(saved, path, **options)
    expected = tensors()["fc.weight"].T
    tolerance = 2**-8 if form == "bfloat16" else 0
    kernel = load(path).get_layer("predictions").kernel.numpy()
    np.testing.assert_allclose(kernel, expected, rtol=tolerance, atol=0)


class Payload:
    """What a pickle must not be allowed to do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.backends
def test_a_payload_is_not_run(state, tmp_path):
    import torch

    torch.save({**state, "payload": Payload(tmp_path / "written")}, tmp_path / "model.pth")
    assert "Python objects other than tensors" in message(tmp_path / "model.pth")
    assert not (tmp_path / "written").exists()
