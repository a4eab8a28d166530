"""Excitations of data sets that TensorFlow Datasets has prepared."""

import io
import json

import keras
import numpy as np
import prepared_sets
import pytest
import tensorflow_datasets as tfds
from command_line import assert_mistake
from excitation_networks import STREAMED, assert_same, small
from PIL import Image
from reference import noise_pictures

import keras_se
from keras_se import excitations
from keras_se.data.tfds import evaluated_on
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data

NAME = "se_resnet20.fashion_mnist"


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepared_sets.prepare(prepared_sets.TinyPictures, folder, 3, config="few")
    for builder in (prepared_sets.TinyHidden, prepared_sets.TinyScenes, prepared_sets.TinyGrey):
        prepared_sets.prepare(builder, folder)
    return folder


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    """The test pictures of `tiny_pictures`, as TFDS' own reader gives their bytes, in folders."""
    folder = tmp_path_factory.mktemp("folder")
    data = tfds.builder("tiny_pictures/few", data_dir=prepared).as_dataset(
        split="test", decoders={"image": tfds.decode.SkipDecoding()}
    )
    for n, example in enumerate(data.as_numpy_iterator()):
        part = folder / ("tall", "wide")[example["label"]]
        part.mkdir(exist_ok=True)
        kind = Image.open(io.BytesIO(example["image"])).format.lower()
        (part / f"{n}.{kind}").write_bytes(example["image"])
    return folder


def test_pictures_of_a_set_are_those_of_a_folder(prepared, folder):
    model = small(shape=(32, 32, 3))
    expected = excitations(model, folder)
    found = excitations(model, "tfds:tiny_pictures/few:1.0.0", data_dir=prepared)
    assert_same(found, expected)
    assert found.classes == expected.classes == ("tall", "wide")
    assert found.counts.tolist() == [5, 5]
    for name, gates in expected.extremes.gates.items():
        np.testing.assert_allclose(found.extremes.gates[name], gates, rtol=0, atol=STREAMED)
    named = excitations(
        model, "tfds:tiny_pictures/few", samples_per_class=2, class_names=["a", "b"],
        data_dir=str(prepared),
    )  # fmt: skip
    assert (named.classes, named.counts.tolist()) == (("a", "b"), [2, 2])


@pytest.mark.parametrize("name", ["tiny_pictures/few", "tiny_hidden", "tiny_grey"])
def test_tested_on_what_training_tests_on(name, prepared):
    """Of a set without test labels its validation, of one with `train` alone a fifth of it."""
    recipe = Recipe(
        model="SEResNet20", data=f"tfds:{name}", data_dir=str(prepared), image_size=32, batch=4,
        epochs=2, variant={"blocks": (1, 1, 1)},
    )  # fmt: skip
    expected = load_data(recipe, pytest.fail)["test"]
    records, indices, names = evaluated_on(f"tfds:{name}", str(prepared))
    assert records.title == expected.source.title
    assert sorted(indices) == sorted(expected.chosen)
    assert names == expected.names


def test_grey_pictures_of_one_size(prepared):
    found = excitations(small(shape=(16, 16, 1)), "tfds:tiny_grey", data_dir=prepared)
    assert found.counts.sum() == 5
    assert found.extremes.thumbnails.shape == (5, 16, 16, 1)


def test_command(run, prepared, tmp_path):
    """A set of weights takes the pictures as its own evaluation does; a file as a folder's."""
    arguments = ("tfds:tiny_hidden", "--data-dir", prepared, "--json")
    code, out, err = run(
        "excitations", NAME, *arguments, "--html", tmp_path / "a.html", "--block", "SE_4_3",
        "--class", "wide",
    )  # fmt: skip
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["counts"] == {"tall": 4, "wide": 4}
    records, indices, _ = evaluated_on("tfds:tiny_hidden", str(prepared))
    x = [keras_se.load_image(records.read(n), NAME) for n in indices]
    model = keras_se.SEResNet20(weights=NAME)
    expected = excitations(
        model, np.concatenate(x), records.labels[indices], class_names=["t", "w"]
    )
    for row, wanted in zip(report["blocks"], expected.summary().blocks, strict=True):
        assert row["mean"] == pytest.approx(wanted.mean, abs=STREAMED)
    assert "Line chart of SE_4_3: gates of wide" in (tmp_path / "a.html").read_text("utf-8")
    model.save(tmp_path / "a.keras")
    code, out, err = run("excitations", tmp_path / "a.keras", *arguments)
    assert (code, err) == (0, "")
    assert json.loads(out)["counts"] == {"tall": 4, "wide": 4}


def test_mistakes(run, prepared, tmp_path):
    for data, expected in {
        "tfds:mnsit": "Did you mean 'tfds:mnist'",
        "tfds:mnist": "tfds build mnist --data_dir=",
        "tfds:tiny_scenes": "supervised_keys=None",
    }.items():
        result = run("excitations", NAME, data, "--data-dir", prepared)
        assert_mistake(result, expected)
    assert_mistake(
        run("excitations", NAME, "--data-dir", prepared), "`data_dir` is only supported with"
    )
    x, model = noise_pictures(2, 32, 32, 3), small(shape=(32, 32, 3))
    with pytest.raises(ValueError, match="`data_dir` is only supported with"):
        excitations(model, x, [0, 1], data_dir=prepared)
    with pytest.raises(ValueError, match="`labels` must be None"):
        excitations(model, "tfds:tiny_grey", [0, 1], data_dir=prepared)
    with pytest.raises(ValueError, match="`class_names` must have one name per class"):
        excitations(model, "tfds:tiny_grey", class_names=["a"], data_dir=prepared)


def test_damaged_picture(prepared, tmp_path):
    """The error names the set and the picture."""
    builder = prepared_sets.prepare(prepared_sets.TinyHidden, tmp_path)
    (shard,) = builder.data_path.glob("*validation*")
    data = shard.read_bytes()
    assert b"\xff\xd8\xff" in data
    shard.write_bytes(data.replace(b"\xff\xd8\xff", bytes(3), 1))
    with pytest.raises(ValueError, match=r"tiny_hidden validation: picture .: expected") as caught:
        excitations(small(shape=(32, 32, 3)), "tfds:tiny_hidden", data_dir=tmp_path)
    assert len(str(caught.value).splitlines()) == 1
