"""TensorFlow, JAX and Torch compute the same.

Keras has one backend a process, so this file is also the program that the tests start on each:
`python test_backends.py TASK FOLDER OUTPUT` calls the function of that name with the folder and
writes the arrays that it returns to an .npz file. No task finds Keras or the package imported.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import environment
from reference import noise_pictures, squeeze_excite, trained_like

pytestmark = pytest.mark.backends

BACKENDS = ("tensorflow", "jax", "torch")
# Those whose convolutions and pools take channels first on a CPU: all of them, TensorFlow with its
# oneDNN operations, which it leaves off on some processors unless told.
CHANNELS_FIRST_BACKENDS = ("tensorflow", "jax", "torch")

# Of a probability: two float32 networks of 20 layers, whose sums have different orders.
TOLERANCE = 1e-4
# Of a layer's output of the order of one, against float64.
LAYER_TOLERANCE = 1e-5

# One of each unit, with and without a change of shape.
SHORT = {"blocks": (1, 2), "widths": (32, 64)}
NETWORKS = {
    "SEResNet20": {},
    "SEResNeXt50": SHORT,
    "SEPreResNet110": SHORT,
    # Those with layers of their own.
    "SEShuffleNet": {},
    "SEShakeShake26": {"blocks": (1, 1), "widths": (32, 64)},
}
# Their smallest pictures, odd in height.
CHANNELS_FIRST = {
    "SEResNet20": ({}, (33, 32)),
    "SEResNeXt50": (SHORT, (33, 32)),
    "SEBNInception": ({}, (33, 32)),
    "SEDenseNet121": ({"blocks": (2, 2)}, (33, 32)),
    "SEInceptionV3": ({}, (75, 76)),
    "SEMobileNet": ({"alpha": 0.25}, (33, 32)),
    "SEShakeShake26": (NETWORKS["SEShakeShake26"], (33, 32)),
    "SEShuffleNet": ({}, (33, 32)),
    "SEVGG16": ({"fully_connected": (32, 16)}, (33, 32)),
}

CHANNELS, HIDDEN = 12, 5
SPATIAL = {3: (7,), 4: (5, 6), 5: (3, 4, 5)}
SQUEEZES = ("avg", "max", None)
GATES = ("sigmoid", "tanh", "relu", "hard_sigmoid")
DATA_FORMATS = ("channels_last", "channels_first")


def start(backend, task, folder):
    """The arrays that `task` returns in a process of its own on `backend`."""
    output = folder / f"{task.__name__}_{backend}.npz"
    process = subprocess.run(
        [sys.executable, __file__, task.__name__, folder, output],
        env=environment(backend) | {"TF_ENABLE_ONEDNN_OPTS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    with np.load(output) as arrays:
        return dict(arrays)


def pictures(shape=(32, 32, 3)):
    return noise_pictures(4, *shape).astype("float32")


def build(name, **arguments):
    import keras_se

    arguments = {"weights": None, "classes": 10, "variant": NETWORKS.get(name)} | arguments
    return getattr(keras_se, name)(**arguments)


def write_files(folder):
    """SE-ResNet-20's variables, and every network as a Keras file, with its predictions."""
    from keras_se.weights.variable_file import write_variables

    predictions = {}
    for name in NETWORKS:
        model = trained_like(build(name, input_shape=(32, 32, 3)), seed=6)
        model.save(folder / f"{name}.keras")
        predictions[name] = model.predict(pictures(), verbose=0)
        if name == "SEResNet20":
            write_variables(model, folder / "variables.h5")
    return predictions


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder that TensorFlow wrote, and TensorFlow's predictions."""
    folder = tmp_path_factory.mktemp("tensorflow")
    return folder, start("tensorflow", write_files, folder)


def probabilities(folder):
    """Of SE-ResNet-20 with the written variables, and of each set that is part of the package."""
    import keras_se
    from keras_se.weights.variable_file import place_variables, read_variables

    model = build("SEResNet20")
    place_variables(model, read_variables(folder / "variables.h5"))
    results = {"variables": model.predict(pictures(), verbose=0)}
    for entry in [e for e in keras_se.list_weights("SEResNet20") if e.url is None]:
        model = keras_se.SEResNet20(weights=entry.name, classes=entry.classes)
        results[entry.name] = model.predict(pictures(entry.input_shape), verbose=0)
    return results


def test_probabilities(written):
    folder, predictions = written
    expected, *others = (start(backend, probabilities, folder) for backend in BACKENDS)
    np.testing.assert_allclose(
        expected["variables"], predictions["SEResNet20"], rtol=0, atol=TOLERANCE
    )
    for received in others:
        assert received.keys() == expected.keys()
        for name, array in expected.items():
            assert np.ptp(array, axis=0).max() > 10 * TOLERANCE, "all pictures look alike"
            np.testing.assert_allclose(received[name], array, rtol=0, atol=TOLERANCE)


def layer_cases():
    """(name, rank, data format, squeeze, gate) of each layer to compare."""
    for rank in SPATIAL:
        for data_format in DATA_FORMATS:
            for squeeze in SQUEEZES:
                yield f"{rank} {data_format} {squeeze}", rank, data_format, squeeze, "sigmoid"
    for gate in GATES:
        yield gate, 4, "channels_last", "avg", gate


def layer_values(rank):
    """Input with channels last, kernels and biases."""
    random = np.random.default_rng(rank)
    shapes = ((3, *SPATIAL[rank], CHANNELS), (CHANNELS, HIDDEN), (HIDDEN, CHANNELS), HIDDEN)
    return [random.normal(0, 1, shape).astype("float32") for shape in (*shapes, CHANNELS)]


def layer_outputs(folder):
    """Of `SqueezeExcite`, with channels last."""
    import keras

    import keras_se

    results = {}
    for name, rank, data_format, squeeze, gate in layer_cases():
        x, *values = layer_values(rank)
        axis = 1 if data_format == "channels_first" else -1
        layer = keras_se.SqueezeExcite(
            squeeze=squeeze, gate=gate, hidden_units=HIDDEN, data_format=data_format
        )
        x = np.moveaxis(x, -1, axis)
        layer.build(x.shape)
        for weight, value in zip(("reduce", "expand"), values[:2], strict=True):
            getattr(layer, f"{weight}_kernel").assign(value)
        for weight, value in zip(("reduce", "expand"), values[2:], strict=True):
            getattr(layer, f"{weight}_bias").assign(value)
        results[name] = np.moveaxis(keras.ops.convert_to_numpy(layer(x)), axis, -1)
    return results


@pytest.mark.parametrize("backend", BACKENDS)
def test_layer(backend, tmp_path):
    received = start(backend, layer_outputs, tmp_path)
    for name, rank, _, squeeze, gate in layer_cases():
        x, *values = (array.astype("float64") for array in layer_values(rank))
        # The reference squeezes two spatial axes.
        flat = x.reshape(len(x), -1, 1, CHANNELS)
        expected = squeeze_excite(flat, *values, squeeze=squeeze, gate=gate).reshape(x.shape)
        np.testing.assert_allclose(
            received[name], expected, rtol=0, atol=LAYER_TOLERANCE, err_msg=name
        )


def data_formats(folder):
    """Predictions of the same networks with channels last and first."""
    import keras

    results = {}
    for name, (variant, size) in CHANNELS_FIRST.items():
        for data_format in DATA_FORMATS:
            keras.config.set_image_data_format(data_format)
            x, shape = pictures((*size, 3)), (*size, 3)
            if data_format == "channels_first":
                x, shape = np.moveaxis(x, -1, 1), (3, *size)
            model = trained_like(build(name, input_shape=shape, variant=variant), seed=7)
            results[f"{name} {data_format}"] = model.predict(x, verbose=0)
    return results


@pytest.mark.parametrize("backend", CHANNELS_FIRST_BACKENDS)
def test_channels_first(backend, tmp_path):
    received = start(backend, data_formats, tmp_path)
    for name in CHANNELS_FIRST:
        last, first = (received[f"{name} {data_format}"] for data_format in DATA_FORMATS)
        np.testing.assert_allclose(first, last, rtol=0, atol=TOLERANCE, err_msg=name)


def load_files(folder, order=("keras", "keras_se")):
    """Predictions of the networks in the Keras files."""
    for package in order:
        importlib.import_module(package)
    keras = sys.modules["keras"]
    models = {name: keras.models.load_model(folder / f"{name}.keras") for name in NETWORKS}
    return {name: model.predict(pictures(), verbose=0) for name, model in models.items()}


def load_files_reversed(folder):
    """The same when the package is imported before Keras."""
    return load_files(folder, ("keras_se", "keras"))


@pytest.mark.parametrize(
    ("backend", "task"),
    [("jax", load_files), ("torch", load_files), ("torch", load_files_reversed)],
)
def test_saved_model(backend, task, written):
    folder, expected = written
    received = start(backend, task, folder)
    for name, array in expected.items():
        np.testing.assert_allclose(received[name], array, rtol=0, atol=TOLERANCE, err_msg=name)


TRAINED = {
    "SEResNet20": {"blocks": (1, 1, 1), "stochastic_depth": 0.2},
    "SEShakeShake26": NETWORKS["SEShakeShake26"],
}


def train(folder):
    """The variables that one step of training left as they were, and the loss."""
    import keras

    # Otherwise one time in five hundred all pictures skip the same block.
    keras.utils.set_random_seed(3)
    results = {}
    for name, variant in TRAINED.items():
        model = trained_like(build(name, variant=variant), seed=8)
        before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        loss = model.train_on_batch(pictures(), np.arange(4))
        unchanged = [
            variable.path
            for variable, value in zip(model.variables, before, strict=True)
            if np.array_equal(keras.ops.convert_to_numpy(variable), value)
        ]
        results[f"{name} unchanged"] = np.array(unchanged, str)
        results |= {f"{name} count": len(before), f"{name} loss": loss}
    return results


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_step(backend, tmp_path):
    """It changes every variable, moving statistics and states of random draws included."""
    received = start(backend, train, tmp_path)
    for name in TRAINED:
        assert received[f"{name} unchanged"].tolist() == []
        assert received[f"{name} count"] > 0
        assert np.isfinite(received[f"{name} loss"])


def shake_and_shuffle(folder):
    """What `layers_on_backends` checks of the two layers."""
    from layers_on_backends import shaken, shuffled

    results = {f"shuffle|{name}": array for name, array in shuffled().items()}
    for backward in ("shake", "even"):
        results |= {f"{backward}|{name}": x for name, x in shaken(backward).items()}
    return results


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_shake_and_shuffle(backend, tmp_path):
    from layers_on_backends import assert_shaken, assert_shuffled

    received = start(backend, shake_and_shuffle, tmp_path)

    def part(kind):
        return {k.split("|")[1]: x for k, x in received.items() if k.startswith(f"{kind}|")}

    assert_shuffled(part("shuffle"))
    for backward in ("shake", "even"):
        assert_shaken(part(backward), backward)


def left_out(folder):
    """What `layers_on_backends` checks of the layer."""
    from layers_on_backends import left_out

    return left_out()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_stochastic_depth(backend, tmp_path):
    from layers_on_backends import assert_left_out

    assert_left_out(start(backend, left_out, tmp_path))


def conformance(folder):
    """Every layer, asked what Keras asks of layers; and that the precision of the input stays."""
    from layer_conformance import CASES, check

    for name in CASES:
        check(name, folder)
    return {"layers": np.array(list(CASES), str)}


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_layers_conform(backend, tmp_path):
    assert len(start(backend, conformance, tmp_path)["layers"]) > 7


def masked(folder):
    """Gates of blocks behind a mask, and of batches of no rows."""
    import keras

    import keras_se

    ids = np.array([[3, 4, 1, 0, 0], [2, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    results = {}
    for squeeze in ("avg", "max"):
        layer = keras_se.SqueezeExcite(4, squeeze=squeeze)
        inputs = keras.Input((None,), dtype="int32")
        features = keras.layers.Embedding(9, 8, mask_zero=True)(inputs)
        model = keras.Model(inputs, [features, layer(features)])
        for number, variable in enumerate(model.trainable_variables):
            random = np.random.default_rng(number)
            variable.assign(random.normal(size=variable.shape))
        maps, y = model.predict(ids, verbose=0)
        mask = ids > 0
        results |= {
            f"{squeeze} maps": maps,
            f"{squeeze} output": y,
            f"{squeeze} gates": keras.ops.convert_to_numpy(layer.gates(maps, mask)),
            f"{squeeze} none": keras.ops.convert_to_numpy(layer(maps[:0])),
        }
        for variable in layer.weights:
            results[f"{squeeze} {variable.name}"] = keras.ops.convert_to_numpy(variable)
    results["mask"] = mask
    return results


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks(backend, tmp_path):
    found = start(backend, masked, tmp_path)
    for squeeze, reduce in (("avg", np.mean), ("max", np.max)):
        names = ("maps", "reduce_kernel", "reduce_bias", "expand_kernel", "expand_bias")
        maps, w1, b1, w2, b2 = (found[f"{squeeze} {name}"].astype("float64") for name in names)
        z = np.stack([reduce(x[m], axis=0) for x, m in zip(maps, found["mask"], strict=True)])
        gates = 1 / (1 + np.exp(-(np.maximum(z @ w1 + b1, 0) @ w2 + b2)))
        tolerance = {"rtol": 0, "atol": LAYER_TOLERANCE}
        np.testing.assert_allclose(found[f"{squeeze} gates"], gates, **tolerance)
        np.testing.assert_allclose(found[f"{squeeze} output"], maps * gates[:, None], **tolerance)
        assert found[f"{squeeze} none"].shape == (0, 5, 8)


def excited(folder):
    """Means, deviations and summaries of the gates, of arrays and of batches."""
    import keras

    import keras_se

    results = {}
    for name, squeeze in (("avg", "avg"), ("none", None)):
        se = keras_se.SEConfig(squeeze=squeeze)
        model = build("SEResNet20", se=se, variant={"blocks": (1, 1), "widths": (16, 32)})
        inner = trained_like(model, seed=9)
        inputs = keras.Input((32, 32, 3))
        outer = keras.Model(inputs, inner(inputs))
        labels = np.arange(4) % 2
        found = keras_se.excitations(outer, pictures(), labels, class_names=["even", "odd"])
        batches = [(pictures()[:3], labels[:3]), (pictures()[3:], labels[3:])]
        streamed = keras_se.excitations(outer, iter(batches), class_names=["even", "odd"])
        for block in found.blocks:
            results[f"{name} {block} mean"] = found.mean[block]
            results[f"{name} {block} std"] = found.std[block]
            results[f"{name} {block} parts"] = streamed.mean[block] - found.mean[block]
    return results


def test_excitations(tmp_path):
    expected, *others = (start(backend, excited, tmp_path) for backend in BACKENDS)
    for statistic in ("mean", "std"):
        arrays = [array for name, array in expected.items() if name.endswith(statistic)]
        assert len(arrays) == 4
        assert max(np.ptp(array) for array in arrays) > 10 * TOLERANCE, "all gates look alike"
    for received in (expected, *others):
        assert received.keys() == expected.keys()
        for name, array in received.items():
            wanted = 0 if name.endswith("parts") else expected[name]
            np.testing.assert_allclose(array, wanted, rtol=0, atol=TOLERANCE, err_msg=name)


def imported(folder):
    """Top-level modules that are there once the package has built and called networks."""
    build("SEResNet20")
    build("SEResNeXt50", input_shape=(32, 32, 3))(pictures())
    return {"modules": np.array(sorted({name.split(".")[0] for name in sys.modules}), str)}


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_tensorflow_is_not_imported(backend, tmp_path):
    modules = start(backend, imported, tmp_path)["modules"].tolist()
    assert {"keras_se", backend} <= set(modules)
    assert "tensorflow" not in modules


if __name__ == "__main__":
    task_name, task_folder, task_output = sys.argv[1:]
    np.savez(task_output, **globals()[task_name](Path(task_folder)))
