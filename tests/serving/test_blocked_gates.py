"""ONNX files whose gates stay in onnxruntime's blocked layout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import Run, assert_mistake
from every_network import VARIANTS, smallest
from exported import noise, small_network, trained_like

import keras_se
from keras_se.serving import converted

pytestmark = pytest.mark.export

# Of the largest output: sums of the gates in another order.
TOLERANCE = 1e-5
SIZE = (45, 61)
FAMILIES = (
    "SEResNet18", "SEResNet20", "SEResNeXt50", "SEBNInception", "SEMobileNet", "SEShuffleNet",
    "SEVGG16",
)  # fmt: skip
MOVES = ("ReorderInput", "ReorderOutput")


def network(name: str, **options) -> keras.Model:
    """A small network of a family, of an odd size."""
    least = smallest(name)
    model = getattr(keras_se, name)(
        weights=None, classes=10, input_shape=(*(max(side, least) for side in SIZE), 3),
        classifier_activation=None, variant=VARIANTS.get(name), **options,
    )  # fmt: skip
    return trained_like(model)


def written(model: keras.Model, path: Path, monkeypatch, *, blocked: bool = True, **options):
    """The file, and how many gates were rewritten in it."""
    counts = []

    def rewrite(proto):
        counts.append(rewritten(proto) if blocked else 0)

    rewritten = converted.with_blocked_gates
    with monkeypatch.context() as patch:
        patch.setattr(converted, "with_blocked_gates", rewrite)
        keras_se.export(model, path, "onnx", **options)
    return path, counts[0]


def operations(path: Path, folder: Path, batch: int | None = None) -> Counter[str]:
    """What onnxruntime runs for a file."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # That its own file suits only this processor.
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    if batch is not None:
        options.add_free_dimension_override_by_name("batch", batch)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def runs_blocked(folder: Path) -> bool:
    """Whether onnxruntime has the blocked layout on this processor."""
    model = keras.Sequential([keras.Input((8, 8, 16)), keras.layers.Conv2D(16, 3)])
    keras_se.export(model, folder / "conv.onnx", "onnx")
    return "ReorderInput" in operations(folder / "conv.onnx", folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_same_answers(name, tmp_path, monkeypatch):
    import onnx

    model = network(name)
    new, count = written(model, tmp_path / "new.onnx", monkeypatch)
    assert count == sum(isinstance(layer, keras_se.SqueezeExcite) for layer in model.layers) > 0
    onnx.checker.check_model(new)
    old, _ = written(model, tmp_path / "old.onnx", monkeypatch, blocked=False)
    for batch in (1, 3):
        x = noise(batch, *model.input_shape[1:])
        (ours,), (before,) = (converted.run_onnx(path, x) for path in (new, old))
        expected = model.predict(x, verbose=0)
        most = np.abs(expected).max()
        np.testing.assert_allclose(ours, before, rtol=0, atol=TOLERANCE * most)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=10 * TOLERANCE * most)


def test_maps_stay_in_the_layout(tmp_path, monkeypatch):
    """Gates add no reordering, and the additions run inside the convolutions, at any batch size."""
    if not runs_blocked(tmp_path):
        pytest.skip("onnxruntime has no blocked layout on this processor")
    plain, _ = written(network("SEResNet50", se=None), tmp_path / "plain.onnx", monkeypatch)
    path, count = written(network("SEResNet50"), tmp_path / "se.onnx", monkeypatch)
    assert count == 16
    least = operations(plain, tmp_path)
    fixed, _ = written(network("SEResNet50"), tmp_path / "8.onnx", monkeypatch, batch_size=8)
    for file, batch in ((path, None), (path, 1), (path, 8), (fixed, None)):
        found = operations(file, tmp_path, batch)
        assert found["ReorderInput"] == least["ReorderInput"]
        assert found["ReorderOutput"] <= least["ReorderOutput"] + 1
        assert found["Add"] == least["Add"] == 0
        assert found["Relu"] == least["Relu"]


def test_hidden_units_fill_a_block(tmp_path, monkeypatch):
    """One, two and four hidden units, with biases, are computed in the layout, too."""
    if not runs_blocked(tmp_path):
        pytest.skip("onnxruntime has no blocked layout on this processor")
    model = network("SEResNet20")
    path, count = written(model, tmp_path / "se.onnx", monkeypatch)
    assert count == 9
    assert sum(operations(path, tmp_path)[name] for name in MOVES) <= 4


@pytest.mark.parametrize("batch", [None, 3])
def test_other_readers(batch, tmp_path, monkeypatch):
    import onnx.reference
    import openvino

    model = small_network()
    path, count = written(model, tmp_path / "small.onnx", monkeypatch, batch_size=batch)
    assert count == 2
    x = noise(3, 33, 31, 3)
    expected = model.predict(x, verbose=0)
    (reference,) = onnx.reference.ReferenceEvaluator(str(path)).run(None, {"images": x})
    np.testing.assert_allclose(reference, expected, rtol=0, atol=TOLERANCE)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(x)[0], expected, rtol=0, atol=TOLERANCE)


def test_other_products_stay(tmp_path, monkeypatch):
    """Gates of positions, gates that a convolution over the channels computes, and any size."""
    for name, se in {"eca": keras_se.ECAConfig(), "scse": keras_se.SCSEConfig()}.items():
        _, count = written(network("SEResNet20", se=se), tmp_path / f"{name}.onnx", monkeypatch)
        assert count == 0
    free = small_network((None, None, 3))
    path, count = written(free, tmp_path / "free.onnx", monkeypatch)
    assert count == 0
    assert converted.run_onnx(path, noise(1, 40, 50, 3))[0].shape == (1, 7)


@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
def test_sizes(format, tmp_path):
    """A model that takes any size, in a file of one size and one batch."""
    model = small_network((None, None, 3))
    suffix = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}[format]
    path = tmp_path / f"sized{suffix}"
    keras_se.export(model, path, format, image_size=(40, 50), batch_size=3)
    run = {"onnx": converted.run_onnx, "openvino": converted.run_openvino}
    x = noise(3, 40, 50, 3)
    (answer,) = run.get(format, converted.run_litert)(path, x)
    np.testing.assert_allclose(answer, model.predict(x, verbose=0), rtol=0, atol=TOLERANCE)
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == [3, 40, 50, 3]


MISTAKES = {
    "a SavedModel": ({"batch_size": 1}, "folder", "only supported with format"),
    "no batch": ({"batch_size": 0}, "a.onnx", "`batch_size` must be an integer of at least 1"),
    "three sizes": ({"image_size": (1, 2, 3)}, "a.onnx", "`image_size` must be an integer or 2"),
    "another size": ({"image_size": 40}, "a.onnx", "`image_size` must be None or"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, tmp_path):
    options, name, message = MISTAKES[mistake]
    format = "onnx" if name.endswith("onnx") else "tf_saved_model"
    with pytest.raises(ValueError, match=message):
        keras_se.export(small_network(), tmp_path / name, format, **options)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path, run: Run):
    path = tmp_path / "shoes.onnx"
    options = ("--format", "onnx", "--batch-size", 4)
    assert run("export", "se_resnet20.fashion_mnist", path, *options)[0] == 0
    other = ("--image-size", 64)
    assert_mistake(
        run("export", "se_resnet20.fashion_mnist", tmp_path / "b.onnx", "--format", "onnx", *other),
        "`image_size` must be None or (28, 28)",
    )
