"""The examples in the docstrings run and show what they say."""

import doctest
import inspect

import keras
import numpy as np
import published_files
import pytest
from PIL import Image
from places import PUBLISHED

import keras_se

DOCUMENTED = [
    *(name for name in keras_se.__all__ if callable(getattr(keras_se, name))),
    "layers.BatchNormalization",
    "layers.GroupedConv2D",
    "layers.MultiplyAdd",
    "layers.ScaleOffset",
    "layers.StochasticDepth",
]


# The builders of deep networks have the same example, which takes seconds.
DEEP = {*keras_se.list_models()} - {
    "SEMobileNet", "SEResNet18", "SEResNet20", "SEResNet50", "SEShuffleNet",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.docs if name in DEEP else ()) for name in DOCUMENTED],
)
def test_example(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28), 127).save("ankle_boot.png")
    if name == "load_checkpoint":
        recorded = published_files.read(PUBLISHED / "timm.seresnet18.npz")
        recorded.write(tmp_path).rename("mine.safetensors")
    thing = keras_se
    for part in name.split("."):
        thing = getattr(thing, part)
    text = inspect.getdoc(thing)
    names = {
        "keras": keras,
        "keras_se": keras_se,
        "np": np,
        "x": np.full((1, 28, 28, 1), 127, "float32"),
    }
    example = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    if name not in ("Weights", "Description"):
        assert example.examples, "no example"
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if "." not in name])
def test_every_argument_is_documented(name):
    thing = getattr(keras_se, name)
    text = inspect.getdoc(thing)
    section = "Attributes:" if name in ("Weights", "Description") else "Args:"
    for argument in inspect.signature(thing).parameters:
        assert f"{argument}: " in text.partition(section)[2], argument
