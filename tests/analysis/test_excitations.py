"""`keras_se.excitations`: the gates of any network by class, from any source of pictures."""

import os
import tracemalloc
import warnings
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from excitation_networks import (
    BLOCKS,
    CLASSES,
    SIZE,
    STREAMED,
    assert_same,
    network,
    pictures,
    small,
)
from keras import layers
from PIL import Image
from reference import noise_pictures, sigmoid, trained_like

import keras_se
from keras_se import SEConfig, SqueezeExcite, excitations
from keras_se.analysis.figure import compose
from keras_se.analysis.gates import Gates
from keras_se.analysis.moments import Moments
from keras_se.commands._excitations import excitations_of

# A gate of a float32 network, against the formula in float64 on the same feature maps.
FORMULA = 1e-5
# Gates of a float32 network, computed layer by layer and compiled as a whole.
COMPILED = 1e-5


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.config.set_image_data_format("channels_last")
    keras.backend.clear_session()


def gates_of(model, x):
    """All gates at once, by name: outputs of the blocks over their inputs."""
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    taps = keras.Model(model.inputs[0], [block.input for block in blocks])
    maps = taps(x.astype("float32"))
    return {b.name: np.asarray(b.gates(y)) for b, y in zip(blocks, maps, strict=True)}


# What is measured


def test_gates_are_those_of_the_formula():
    """On the bundled network, picture by picture: each is a class of its own."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    x = noise_pictures(20, 28, 28, 1)
    found = excitations(model, x, np.arange(20), class_names=[f"picture {n}" for n in range(20)])
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    assert found.blocks == [block.name for block in blocks]
    taps = keras.Model(model.inputs[0], [block.input for block in blocks])
    for block, maps in zip(blocks, taps(x.astype("float32")), strict=True):
        w1, b1, w2, b2 = (
            np.asarray(getattr(block, name), "float64")
            for name in ("reduce_kernel", "reduce_bias", "expand_kernel", "expand_bias")
        )
        z = np.asarray(maps, "float64").mean((1, 2))
        expected = sigmoid(np.maximum(z @ w1 + b1, 0) @ w2 + b2)
        assert np.ptp(expected, axis=0).max() > 10 * FORMULA, "all pictures look alike"
        np.testing.assert_allclose(found.mean[block.name], expected, rtol=0, atol=FORMULA)
        np.testing.assert_array_equal(found.std[block.name], 0)


def test_streaming_is_all_at_once():
    model, (x, labels) = network(), pictures(150)
    found = excitations(model, x, labels, samples_per_class=None)
    assert found.blocks == BLOCKS
    assert found.classes == tuple("0123456")
    np.testing.assert_array_equal(found.counts, np.bincount(labels))
    for name, gates in Gates(model)(x).items():
        np.testing.assert_allclose(gates, gates_of(model, x)[name], rtol=0, atol=COMPILED)
        for label in range(CLASSES):
            own = gates[labels == label].astype("float64")
            for statistic, expected in (
                ("mean", own.mean(0)),
                ("std", own.std(0)),
                ("high", (own > 0.9).mean()),
                ("low", (own < 0.1).mean()),
            ):
                received = getattr(found, statistic)[name][label]
                np.testing.assert_allclose(received, expected, rtol=0, atol=STREAMED)


def test_moments_of_any_parts_are_those_of_the_whole():
    random = np.random.default_rng(0)
    # A large mean beside a small deviation is what naive sums lose.
    rows, labels = 1e4 + random.normal(0, 1e-2, (500, 3)), random.integers(0, 4, 500)
    moments = Moments()
    for part in np.split(np.arange(500), np.sort(random.integers(0, 500, 30))):
        moments.add(rows[part], labels[part])
    for label in range(4):
        own = rows[labels == label]
        np.testing.assert_allclose(moments.mean(5)[label], own.mean(0), rtol=1e-13)
        np.testing.assert_allclose(moments.std(5)[label], own.std(0), rtol=1e-8)
    assert moments.counts(5).tolist() == [*np.bincount(labels), 0]
    assert np.isnan(moments.mean(5)[4]).all()
    assert np.isnan(moments.std(5)[4]).all()


def test_samples_per_class_are_the_first():
    model, (x, labels) = small(), pictures(150)
    first = np.sort(np.concatenate([np.flatnonzero(labels == n)[:5] for n in range(CLASSES)]))
    expected = excitations(model, x[first], labels[first], samples_per_class=None)
    assert expected.counts.tolist() == [5] * CLASSES
    assert_same(excitations(model, x, labels, samples_per_class=5), expected)
    few = excitations(model, x, labels, samples_per_class=22)
    assert few.counts.tolist() == np.minimum(np.bincount(labels), 22).tolist()
    everything = excitations(model, x, labels)
    assert_same(everything, excitations(model, x, labels, samples_per_class=None))


class Batches(keras.utils.PyDataset):
    """Batches of 16, and how many of them were asked for."""

    def __init__(self, x, labels):
        super().__init__()
        self.x, self.labels, self.asked = x, labels, 0

    def __len__(self):
        return -(-len(self.x) // 16)

    def __getitem__(self, n):
        self.asked += 1
        part = slice(16 * n, 16 * n + 16)
        return self.x[part], self.labels[part]


SOURCES = {
    "list": lambda x, y: (x.tolist(), y.tolist()),
    "tensors": lambda x, y: (tf.constant(x), tf.constant(y)),
    "column of labels": lambda x, y: (x, y[:, None]),
    "float labels": lambda x, y: (x, y.astype("float32")),
    "one-hot": lambda x, y: (x, np.eye(CLASSES)[y]),
    "tf.data": lambda x, y: (tf.data.Dataset.from_tensor_slices((x, y)).batch(16), None),
    "tf.data, one-hot": lambda x, y: (
        tf.data.Dataset.from_tensor_slices((x, np.eye(CLASSES)[y], y)).batch(16),
        None,
    ),
    "PyDataset": lambda x, y: (Batches(x, y), None),
    "generator": lambda x, y: (((x[n : n + 9], y[n : n + 9]) for n in range(0, 40, 9)), None),
}


MULTI_HOT = {
    "array": lambda x, table: (x, table),
    "array of floats": lambda x, table: (x, table.astype("float32")),
    "array of booleans": lambda x, table: (x, table.astype(bool)),
    "tf.data": lambda x, table: (tf.data.Dataset.from_tensor_slices((x, table)).batch(3), None),
}


@pytest.mark.parametrize("source", MULTI_HOT)
def test_several_labels_a_picture(source):
    """A picture counts for each of its classes, one without a class for none."""
    model, (x, _) = small(classes=4), pictures(9)
    table = np.array([[1, 1, 0, 0], [0, 1, 1, 0]] * 4 + [[0, 0, 0, 0]])
    with pytest.warns(UserWarning, match="1 of 4 classes have no pictures.*: 3$"):
        found = excitations(model, *MULTI_HOT[source](x, table))
    assert found.counts.tolist() == [4, 8, 4, 0]
    with pytest.warns(UserWarning, match="1 of 4 classes"):
        first = excitations(model, *MULTI_HOT[source](x, table), samples_per_class=3)
    assert first.counts.tolist() == [3, 3, 3, 0]
    for name, gates in gates_of(model, x).items():
        for label, own in enumerate((gates[:8:2], gates[:8], gates[1:8:2])):
            np.testing.assert_allclose(found.mean[name][label], own.mean(0), atol=COMPILED)
            np.testing.assert_allclose(found.std[name][label], own.std(0), atol=COMPILED)
            np.testing.assert_allclose(first.mean[name][label], own[:3].mean(0), atol=COMPILED)
    # The last picture has no class: it is shown nowhere.
    assert all(len(order) == 8 for order in found.extremes.order.values())
    assert set(found.extremes.labels.tolist()) == {0, 1}


def test_columns_of_labels_are_classes_without_a_classifier():
    model, (x, _) = small(classes=None), pictures(6)
    table = np.eye(9)[[0, 1, 2, 0, 1, 2]]
    for arguments in ((x, table), (iter([(x, table)]),)):
        with pytest.warns(UserWarning, match="6 of 9 classes"):
            assert excitations(model, *arguments).counts.tolist() == [2, 2, 2, *[0] * 6]


@pytest.mark.parametrize("source", SOURCES)
def test_sources(source):
    model, (x, labels) = small(), pictures(40)
    expected = excitations(model, x, labels, samples_per_class=4)
    found = excitations(model, *SOURCES[source](x, labels), samples_per_class=4)
    assert_same(found, expected)
    assert found.classes == expected.classes


def test_a_data_set_is_read_until_every_class_is_full():
    model, (x, _) = small(), pictures(160)
    data = Batches(x, np.arange(160) % CLASSES)
    excitations(model, data, samples_per_class=2)
    assert data.asked == 1
    # Without a classifier only the labels tell how many classes there are.
    data.asked = 0
    headless = small(classes=None)
    assert excitations(headless, data, samples_per_class=2).counts.tolist() == [2] * CLASSES
    assert data.asked == 10


def test_array_mapped_into_memory(tmp_path):
    model, (x, labels) = small(), pictures(20)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_same(excitations(model, mapped, labels), excitations(model, x, labels))


@pytest.fixture
def folder(tmp_path):
    """A folder of three pictures for each class, and a file that is none."""
    for n in range(CLASSES):
        part = tmp_path / "pictures" / f"class_{n}"
        part.mkdir(parents=True)
        (part / "notes.txt").write_text("no picture")
        for m, picture in enumerate(noise_pictures(3, 32, 32, 3, seed=n)):
            Image.fromarray(picture).save(part / f"{m}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_folder(folder, data_format):
    keras.config.set_image_data_format(data_format)
    first = data_format == "channels_first"
    model = small(shape=(3, 32, 32) if first else (32, 32, 3))
    x = np.concatenate([noise_pictures(3, 32, 32, 3, seed=n)[:2] for n in range(CLASSES)])
    x, labels = np.moveaxis(x, -1, 1) if first else x, np.repeat(np.arange(CLASSES), 2)
    found = excitations(model, folder, samples_per_class=2)
    assert_same(found, excitations(model, x, labels))
    assert found.classes == tuple(f"class_{n}" for n in range(CLASSES))
    # In another order, with one more.
    names = ["absent", *reversed(found.classes)]
    with pytest.warns(UserWarning, match="1 of 8 classes have no pictures.*: absent$"):
        other = excitations(model, str(folder), samples_per_class=2, class_names=names)
    assert other.counts.tolist() == [0, *[2] * CLASSES]
    for name in found.blocks:
        np.testing.assert_allclose(other.mean[name][:0:-1], found.mean[name], rtol=0, atol=STREAMED)


def test_folder_with_more_than_pictures(folder):
    """Names that begin with a dot are left out; a class has a name that can be written."""
    (folder / ".ipynb_checkpoints").mkdir()
    for name in (".ipynb_checkpoints/0-checkpoint.png", "class_0/._0.png"):
        (folder / name).write_bytes(b"")
    found = excitations(small(shape=(32, 32, 3)), folder)
    assert found.classes == tuple(f"class_{n}" for n in range(CLASSES))
    assert found.counts.tolist() == [3] * CLASSES
    os.mkdir(os.fsencode(folder) + b"/\xff")
    with pytest.raises(ValueError, match="whose name is UTF-8"):
        excitations(small(shape=(32, 32, 3)), folder)


def test_memory_does_not_grow_with_the_pictures():
    """NumPy's, which Python traces; the pictures are made as they are asked for.

    Each block keeps 12 pictures. The first batches have the same ones for several blocks, so that
    the number of those kept still grows a little.
    """
    model = small()

    class Made(Batches):
        def __init__(self, count):
            super().__init__(range(count), None)

        def __getitem__(self, n):
            return noise_pictures(16, *SIZE, seed=n), np.arange(16) % CLASSES

    def peak(count):
        tracemalloc.start()
        excitations(model, Made(count), samples_per_class=None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(16)
    assert peak(3200) < 1.2 * peak(800)


# Which networks


def test_nested_models_and_files(tmp_path):
    inner, (x, labels) = small(classes=None), pictures(20)
    inputs = keras.Input((*SIZE, 3))
    outputs = layers.Dense(3, activation="softmax")(layers.Dropout(0.5)(inner(inputs)))
    outer = keras.Sequential([layers.Identity(), keras.Model(inputs, outputs, name="outer")])
    outer.build((None, *SIZE, 3))
    outer.save(tmp_path / "outer.keras")
    expected = excitations(inner, x, labels % 3)
    for model in (outer, keras.saving.load_model(tmp_path / "outer.keras")):
        found = excitations(model, x, labels % 3)
        assert found.blocks == [f"outer/{inner.name}/{name}" for name in expected.blocks]
        for name in expected.blocks:
            np.testing.assert_allclose(
                found.mean[f"outer/{inner.name}/{name}"], expected.mean[name], atol=STREAMED
            )


def test_after_fine_tuning():
    model, (x, labels) = small(), pictures(20)
    before = excitations(model, x, labels)
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    model.fit(x, labels, verbose=0)
    found = excitations(model, x, labels)
    for name, gates in gates_of(model, x).items():
        assert np.abs(found.mean[name] - before.mean[name]).max() > 10 * STREAMED
        own = gates[labels == 0].mean(0)
        np.testing.assert_allclose(found.mean[name][0], own, rtol=0, atol=COMPILED)


def test_network_that_was_given_blocks():
    plain, (x, labels) = network(se=None), pictures(20)
    model = keras_se.add_squeeze_excite(plain)
    found = excitations(model, x, labels)
    assert len(found.blocks) == 3
    for name in found.blocks:
        np.testing.assert_array_equal(found.mean[name], 0.5)
        np.testing.assert_array_equal(found.std[name], 0)


def test_layers_that_are_called_twice():
    block, conv = SqueezeExcite(2, name="se"), layers.Conv2D(3, 3, name="conv")
    inputs = keras.Input((None, None, 3))
    inner = keras.Model(inputs, block(conv(inputs)), name="inner")
    x = keras.Input((*SIZE, 3))
    model = keras.Model(x, inner(inner(0.01 * x)))
    images, labels = pictures(20)
    found = excitations(model, images, labels)
    assert found.blocks == ["inner/se", "inner/se:2"]
    y = 0.01 * images.astype("float32")
    for name in found.blocks:
        expected = np.asarray(block.gates(conv(y)))[labels == 2].mean(0)
        np.testing.assert_allclose(found.mean[name][2], expected, rtol=0, atol=COMPILED)
        y = inner(y)


def test_layers_and_models_with_a_call_of_their_own():
    class Branch(layers.Layer):
        def __init__(self):
            super().__init__(name="branch")
            self.conv, self.se = layers.Conv2D(8, 3), SqueezeExcite(2, name="se")

        def call(self, x):
            return self.se(self.conv(x))

    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.branches = [Branch()]
            self.pool = layers.GlobalAveragePooling2D()

        def call(self, x, training=None):
            assert not training
            return self.pool(self.branches[0](x))

    model, (images, labels) = Mine(), pictures(20)
    images = images.astype("float32")
    with pytest.raises(ValueError, match="`model` must be built"):
        excitations(model, images, labels)
    model(images[:1])
    found = excitations(model, images, labels)
    assert found.blocks == ["branch/se"]
    branch = model.branches[0]
    gates = np.asarray(branch.se.gates(branch.conv(images)))
    expected = gates[labels == 2].mean(0)
    np.testing.assert_allclose(found.mean["branch/se"][2], expected, rtol=0, atol=COMPILED)


@pytest.mark.parametrize("squeeze", ["max", None])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_settings_of_the_blocks(squeeze, data_format):
    """Without a squeeze the mean over the positions."""
    keras.config.set_image_data_format(data_format)
    first = data_format == "channels_first"
    shape = (3, *SIZE) if first else (*SIZE, 3)
    model = network(input_shape=shape, se=SEConfig(squeeze=squeeze, gate="tanh"))
    x, labels = pictures(20)
    x = np.moveaxis(x, -1, 1) if first else x
    found = excitations(model, x, labels)
    for name, gates in gates_of(model, x).items():
        own = gates[labels == 0]
        own = own if squeeze else own.mean((1, 2))
        assert found.mean[name].shape == (CLASSES, gates.shape[-1])
        np.testing.assert_allclose(found.mean[name][0], own.mean(0), rtol=0, atol=COMPILED)
        np.testing.assert_allclose(found.std[name][0], own.std(0), rtol=0, atol=COMPILED)


def test_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, (x, labels) = network(), pictures(20)
        found = excitations(model, x, labels)
        for name, gates in gates_of(model, x).items():
            own = gates[labels == 0]
            # Feature maps of 8 bits, computed in another order.
            np.testing.assert_allclose(found.mean[name][0], own.mean(0), rtol=0, atol=0.02)
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_model_stays_as_it_is():
    model, (x, labels) = network(), pictures(20)
    model.get_layer("stage2_block1_bn1").trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [np.array(v) for v in model.variables]
    state = (model.predict(x, verbose=0), model.optimizer, model.predict_function)
    nodes = [len(layer._outbound_nodes) for layer in model.layers]
    trainable = [layer.trainable for layer in model.layers]
    paths = [v.path for v in model.variables]
    excitations(model, x, labels)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert (model.optimizer, model.predict_function) == state[1:]
    np.testing.assert_array_equal(model.predict(x, verbose=0), state[0])
    assert [len(layer._outbound_nodes) for layer in model.layers] == nodes
    assert [layer.trainable for layer in model.layers] == trainable
    assert [v.path for v in model.variables] == paths


# Mistakes


MISTAKES = {
    "no model": (lambda x, y: {"model": None}, "`model` must be a `keras.Model`"),
    "no blocks": (lambda x, y: {"model": network(se=None)}, "`model` must hold attention blocks"),
    "fewer labels": (lambda x, y: {"labels": y[1:]}, "one label per picture.*19 labels, 20"),
    "no labels": (lambda x, y: {"labels": None}, "`labels` must be given"),
    "label too large": (lambda x, y: {"labels": y + 1}, "from 0 to 6. Received: 7"),
    "negative label": (lambda x, y: {"labels": y - 1}, "from 0 to 6. Received: -1"),
    "fractions": (lambda x, y: {"labels": y / 2}, "`labels` must be whole numbers"),
    "smoothed": (
        lambda x, y: {"labels": 0.9 * np.eye(CLASSES)[y] + 0.1 / CLASSES},
        "zeros and ones, .*Received: 0.0142.* in labels of shape .20, 7.",
    ),
    "probabilities": (lambda x, y: {"labels": np.full((20, 7), 1 / 7)}, "zeros and ones"),
    "no class at all": (
        lambda x, y: {"labels": np.zeros((20, CLASSES))},
        "at least one picture of a class",
    ),
    "more columns than outputs": (
        lambda x, y: {"images": iter([(x, np.eye(9)[y + 2])]), "labels": None},
        "from 0 to 6. Received: ",
    ),
    "texts": (lambda x, y: {"labels": y.astype(str)}, "`labels` must be whole numbers"),
    "no pictures": (lambda x, y: {"images": x[:0], "labels": y[:0]}, "at least one image"),
    "no batches": (lambda x, y: {"images": iter(()), "labels": None}, "at least one picture"),
    "another size": (lambda x, y: {"images": x[:, 1:]}, r"None, 33, 32, 3.*\(20, 32, 32, 3\)"),
    "objects": (lambda x, y: {"images": [None] * 20}, "`images` must be numbers"),
    "not finite": (lambda x, y: {"images": np.where(x > 200, np.nan, x)}, "finite numbers"),
    "ragged": (lambda x, y: {"images": [[1], [1, 2]]}, "images of one size"),
    "nothing": (lambda x, y: {"images": 3, "labels": None}, "`images` must be an array"),
    "labels twice": (lambda x, y: {"images": Batches(x, y)}, "`labels` must be None"),
    "only pictures": (
        lambda x, y: {"images": iter([x]), "labels": None},
        r"batches of \(pictures, labels\)",
    ),
    "not batched": (
        lambda x, y: {"images": iter([(x[0], 1)]), "labels": None},
        "one label per picture|whole numbers",
    ),
    "samples": (lambda x, y: {"samples_per_class": 0}, "`samples_per_class` must be an integer"),
    "names": (lambda x, y: {"class_names": ["a", "a"]}, "`class_names` must be distinct"),
    "one name": (lambda x, y: {"class_names": "cat"}, "`class_names` must be distinct"),
    "fewer names": (lambda x, y: {"class_names": ["a", "b"]}, "from 0 to 1"),
    "empty text": (lambda x, y: {"images": "", "labels": None}, "must be a folder or 'tfds:NAME'"),
    "no folder": (lambda x, y: {"images": "absent", "labels": None}, "`images` must be a folder"),
    "folder, not square": (lambda x, y: {"images": ".", "labels": None}, "square"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name, monkeypatch):
    change, expected = MISTAKES[name]
    shape = (32, 32, 3) if name == "no folder" else (*SIZE, 3)
    x, labels = pictures(20)
    arguments = {"model": small(shape=shape), "images": x, "labels": labels}
    arguments |= change(x, labels)

    def refuse(*_):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Gates, "__call__", refuse)
    with pytest.raises(ValueError, match=expected) as caught:
        excitations(**arguments)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("saved", [False, True])
def test_fused_networks_are_measured_and_pruned_before(saved, tmp_path):
    """Also one whose file has lost the report, and one that is a layer of another."""
    model, (x, labels) = network(), pictures(7)
    found, fused = excitations(model, x, labels), keras_se.fuse(model)
    if saved:
        fused.save(tmp_path / "fused.keras")
        fused = keras.models.load_model(tmp_path / "fused.keras")
    inputs = keras.Input((*SIZE, 3))
    for given in (fused, keras.Model(inputs, fused(inputs))):
        for act in (
            lambda given=given: excitations(given, x, labels),
            lambda given=given: keras_se.prune(given, found),
            lambda given=given: keras_se.drop_stage(given, 3),
        ):
            with pytest.raises(ValueError, match="measure and prune first, then fuse") as caught:
                act()
            assert len(str(caught.value)) <= 300
            assert "add_squeeze_excite" not in str(caught.value)


def test_fused_network_that_kept_its_blocks():
    """Behind a depthwise unit the blocks stay, and are measured as before."""
    model = keras_se.SEMobileNet(weights=None, alpha=0.25, input_shape=(*SIZE, 3), classes=7)
    model = trained_like(model, seed=3)
    (x, labels), fused = pictures(7), keras_se.fuse(model)
    expected, found = (excitations(m, x, labels) for m in (model, fused))
    for name in expected.blocks:
        np.testing.assert_allclose(found.mean[name], expected.mean[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("squeeze", ["avg", None])
def test_masked_steps_do_not_count(squeeze):
    """Nor in the mean over the positions of a block without a squeeze."""
    inputs = keras.Input((None,))
    features = layers.Embedding(20, 8, mask_zero=True)(inputs)
    block = SqueezeExcite(2, squeeze=squeeze, name="se")
    outputs = layers.GlobalAveragePooling1D()(block(features))
    model = keras.Model(inputs, outputs)
    random = np.random.default_rng(0)
    for weight in block.weights:
        weight.assign(random.normal(size=weight.shape))
    ids, longer = random.integers(1, 20, (4, 5)), np.zeros((4, 9), int)
    longer[:, :5] = ids
    expected, found = (excitations(model, x, np.arange(4)) for x in (ids, longer))
    np.testing.assert_allclose(found.mean["se"], expected.mean["se"], rtol=0, atol=COMPILED)


def test_class_without_pictures():
    model, (x, labels) = small(), pictures(20)
    labels[labels == 3] = 2
    with pytest.warns(UserWarning, match="1 of 7 classes have no pictures.*: 3$") as caught:
        found = excitations(model, x, labels)
    assert caught[0].filename == __file__
    assert found.counts[3] == 0
    for name in found.blocks:
        assert np.isnan(found.mean[name][3]).all()
        assert np.isnan(found.std[name][3]).all()
        assert np.isfinite(np.delete(found.mean[name], 3, axis=0)).all()
    for row in found.summary().blocks:
        assert np.isfinite([row.mean, row.high, row.low, row.between, row.within]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compose(found, None, 50, None)


def test_classes_of_a_network_without_a_classifier():
    """The labels tell, however many features it puts out."""
    x, labels = pictures(20)
    with pytest.warns(UserWarning, match="33 of 40 classes"):
        found = excitations(small(classes=None), x, labels + 33)
    assert found.counts.tolist() == [0] * 33 + np.bincount(labels).tolist()


@pytest.mark.parametrize("config", ["[" * 200_000 + "]" * 200_000, "{}", "no json"])
def test_damaged_model_file_is_one_line(config, tmp_path):
    path = tmp_path / "deep.keras"
    small().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, config if name == "config.json" else content)
    with pytest.raises(ValueError, match=r"deep\.keras: expected a Keras model") as caught:
        excitations_of(str(path), str(tmp_path), "all")
    assert len(str(caught.value).splitlines()) == 1
