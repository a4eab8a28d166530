"""What a network takes and answers travels with it, and nobody has to say it twice."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from places import EXAMPLES
from reference import trained_like

import keras_se
from keras_se.inspection import tell

SET = "se_resnet20.fashion_mnist"
NAMES = ("ant", "bee", "cat")
# Means, deviations and crop that no default has.
PICTURES = {"size": 30, "crop": 0.9, "interpolation": "bicubic"}


def described(model: keras.Model) -> tuple[object, ...]:
    known = keras_se.describe(model)
    return known.labels, known.scores, known.answers, known.size, known.crop, known.interpolation


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """A network as a training run leaves it: logits, names, crop."""
    model = trained_like(
        keras_se.SEResNet20(
            weights=None, input_shape=(30, 30, 3), classes=3, classifier_activation=None
        ),
        seed=0,
    )
    tell(model, **PICTURES, labels=NAMES, scores="sigmoid")
    return model


KNOWN = (NAMES, "sigmoid", "logits", 30, 0.9, "bicubic")


def test_of_a_run(trained: keras.Model) -> None:
    assert described(trained) == KNOWN


def test_through_a_keras_file(trained: keras.Model, tmp_path: Path) -> None:
    trained.save(tmp_path / "m.keras")
    assert described(keras.saving.load_model(tmp_path / "m.keras")) == KNOWN
    assert described(keras_se.get_model(tmp_path / "m.keras")) == KNOWN


def test_through_a_weights_file(trained: keras.Model, tmp_path: Path) -> None:
    """Also into a network that was built without a word about its classes."""
    path = tmp_path / "w.weights.h5"
    trained.save_weights(path)
    new = keras_se.SEResNet20(weights=path, input_shape=(30, 30, 3), classifier_activation=None)
    assert described(new) == KNOWN
    other = keras_se.SEResNet20(
        weights=None, input_shape=(30, 30, 3), classes=3, classifier_activation=None
    )
    other.load_weights(path)
    assert described(other) == KNOWN


def pruned(model: keras.Model) -> keras.Model:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 30, 30, 3))
    return keras_se.prune(model, keras_se.excitations(model, pictures, np.arange(6) % 3), keep=0.7)


@pytest.mark.parametrize("change", [keras_se.fuse, keras.models.clone_model, pruned])
def test_through_copies(
    trained: keras.Model, change: Callable[[keras.Model], keras.Model]
) -> None:  # fmt: skip
    assert described(change(trained)) == KNOWN


def test_through_add_squeeze_excite() -> None:
    plain = keras_se.SEResNet20(weights=None, se=None, classes=3, classifier_activation=None)
    tell(plain, **PICTURES, labels=NAMES, scores="sigmoid")
    assert described(keras_se.add_squeeze_excite(plain)) == KNOWN


def test_through_a_new_head(trained: keras.Model) -> None:
    """The pictures stay the same; the classes are others."""
    new = keras_se.with_new_head(trained, 2, labels=["no", "yes"])
    assert described(new) == (("no", "yes"), None, "probabilities", 30, 0.9, "bicubic")


def test_head_by_hand_has_no_names(trained: keras.Model) -> None:
    """A layer of the classifier's name and width may be for any classes."""
    outputs = layers.Dense(3, name="predictions")(trained.layers[-2].output)
    known = keras_se.describe(keras.Model(trained.input, outputs))
    assert (known.labels, known.answers, known.crop) == (None, "values", 0.9)


@pytest.mark.parametrize(
    ("end", "answers"),
    [
        (layers.Dense(3, "softmax"), "probabilities"),
        (layers.Dense(3, "sigmoid"), "independent probabilities"),
        (layers.Dense(3), "values"),
        (layers.BatchNormalization(), "values"),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_of_heads_by_hand(trained: keras.Model, end: layers.Layer, answers: str, nested) -> None:
    base = keras.Model(trained.input, trained.layers[-2].output)
    end = type(end).from_config(end.get_config())
    model = keras.Sequential([base, end]) if nested else keras.Model(base.input, end(base.output))
    known = keras_se.describe(model)
    assert (known.answers, known.crop, known.normalises) == (answers, 0.9, True)


def test_pictures_that_were_changed_before(trained: keras.Model) -> None:
    """Behind a layer of the user's the network's pictures are not the model's."""
    inputs = keras.Input((30, 30, 3))
    model = keras.Model(inputs, trained(layers.Rescaling(255.0)(inputs)))
    known = keras_se.describe(model)
    assert (known.normalises, known.crop) == (False, 1.0)
    assert known.labels == NAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (28, 28, 3)}, "channels"),
        ({"input_shape": (28, 28, 1), "classes": 3}, "classes=10, or include_top=False"),
        ({"input_shape": (28, 28, 1), "variant": {"stride_on": "3x3"}}, "stride_on"),
        ({"input_shape": (28, 28, 1), "se": keras_se.SEConfig(gate="tanh")}, "gate"),
        ({"input_shape": (28, 28, 1), "se": None}, "se=None"),
    ],
)
def test_weights_of_another_network(tmp_path: Path, options: dict, message: str) -> None:
    path = tmp_path / "w.weights.h5"
    keras_se.SEResNet20(weights="fashion_mnist").save_weights(path)
    with pytest.raises(ValueError, match=message) as caught:
        keras_se.SEResNet20(weights=path, **options)
    assert len(str(caught.value)) < 400


def test_weights_file_tells_the_normalisation(tmp_path: Path) -> None:
    """The builder's default is another one: a boot would be a boot with 39 % instead of 99.95."""
    path = tmp_path / "w.weights.h5"
    model = keras_se.SEResNet20(weights="fashion_mnist")
    model.save_weights(path)
    again = keras_se.SEResNet20(weights=path, input_shape=(28, 28, 1))
    x = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype("float32")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_load_weights_refuses_another_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    keras_se.SEResNet20(weights="fashion_mnist").save_weights(path)
    other = keras_se.SEResNet20(weights=None, input_shape=(28, 28, 1))
    with pytest.raises(ValueError, match=r"mean=\[0\.286\]"):
        other.load_weights(path)


def test_load_weights_refuses_other_classes(trained: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    trained.save_weights(path)
    other = keras.models.clone_model(trained)
    tell(other, **PICTURES, labels=["ant", "cat", "bee"], scores="sigmoid")
    with pytest.raises(ValueError, match="ant, bee, cat"):
        other.load_weights(path)


def test_weights_files_without_a_description(tmp_path: Path) -> None:
    """As versions before this one wrote them, and Keras' own layers do."""
    model = keras_se.SEResNet20(weights=None, classes=3)
    path = tmp_path / "w.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        for name in [name for name in names if name.endswith("/description")]:
            del file[name]
    new = keras_se.SEResNet20(weights=path, classes=3)
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(new.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("builder", ["SEResNet20", "SEMobileNet"])
def test_what_is_left_out_follows_from_the_set(builder: str) -> None:
    model = getattr(keras_se, builder)(weights="fashion_mnist")
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 10))


@pytest.mark.parametrize("what", [SET, "SEResNet20.fashion_mnist", "file", "model", "run"])
def test_every_name_of_a_network(what: str, tmp_path: Path) -> None:
    model = keras_se.SEResNet20(weights="fashion_mnist")
    source: object = what
    if what in ("file", "run"):
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "recipe.json").write_text("{}")
        model.save(folder / "last.keras")
        source = folder if what == "run" else folder / "last.keras"
    boot = EXAMPLES / "boot.png"
    source = model if what == "model" else source
    x = keras_se.load_image(boot, source)
    np.testing.assert_array_equal(x, keras_se.load_image(boot, SET))
    network = model if what == "model" else keras_se.get_model(source)
    scores = network.predict(x, verbose=0)
    ((best, *_),) = keras_se.decode_predictions(scores, 1, source)
    assert best[1] == "Ankle_boot"


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("se_resnet20.fashion_mnits", "se_resnet20.fashion_mnist"),
        ("model.safetensors", "load_checkpoint"),
        ("none.keras", "does not exist"),
        ("w.weights.h5", "builder"),
        ("SEResnet50", "SEResNet50"),
        (3, "known name"),
    ],
)
def test_names_that_are_not_known(name: object, help: str) -> None:
    with pytest.raises(ValueError, match=help) as caught:
        keras_se.get_model(name)
    assert len(str(caught.value)) <= 300


def test_arguments_with_a_file(trained: keras.Model, tmp_path: Path) -> None:
    trained.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="classes"):
        keras_se.get_model(tmp_path / "m.keras", classes=3)


def test_not_square_pictures() -> None:
    """The picture covers the shape, then the centre is cut out."""
    model = keras_se.SEResNet20(weights=None, input_shape=(40, 24, 3))
    picture = np.zeros((50, 50, 3), "uint8")
    picture[:, :6], picture[:, -6:] = 255, 255
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    x = keras_se.load_image(buffer.getvalue(), model)
    assert x.shape == (1, 40, 24, 3)
    assert x.max() == 0


@pytest.mark.parametrize("name", keras_se.list_models())
def test_default_weights_exist(name: str) -> None:
    """`None` only where nothing is published, and then the docstring says it first."""
    builder = getattr(keras_se, name)
    defaults = {entry.dataset for entry in keras_se.list_weights(name) if entry.default}
    if builder.defaults.weights is None:
        assert not defaults
        assert "No trained weights are published" in builder.__doc__.split("Args:")[0]
    else:
        assert builder.defaults.weights in defaults


@pytest.mark.parametrize("pooling", ["avg", None])
def test_features(pooling: str | None) -> None:
    """Return the input of a second classifier on the network."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    assert keras_se.describe(model).features == 64
    new = keras_se.with_new_head(model, 3)
    assert (keras_se.describe(new).features, new.output_shape) == (64, (None, 3))
    base = keras_se.SEResNet20(weights="fashion_mnist", include_top=False, pooling=pooling)
    assert keras_se.describe(base).features == (64 if pooling else None)


@pytest.mark.parametrize(("scale", "warned"), [(1 / 255, True), (1, False)])
def test_pictures_in_the_wrong_range(scale: float, warned: bool) -> None:
    """Where a network that takes 0..255 is given arrays, 0..1 is said."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    x = np.random.default_rng(0).integers(0, 256, (10, 28, 28, 1)) * scale
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keras_se.excitations(model, x, np.arange(10))
    assert any("do not divide by 255" in str(w.message) for w in caught) == warned
