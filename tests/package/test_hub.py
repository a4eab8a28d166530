"""Networks as folders for model hubs, and from a hub on this machine."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from hub_server import hub
from processes import environment

import keras_se

PROGRAM = """
import json
import sys
import numpy as np
import keras_se

pictures = np.load(sys.argv[1])
for name in sys.argv[2:]:
    try:
        print(json.dumps(np.asarray(keras_se.get_model(name)(pictures)).tolist()))
    except (OSError, ValueError) as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def network(seed=0):
    keras.utils.set_random_seed(seed)
    return keras_se.SEResNet20(weights=None, classes=7)


def pictures():
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")


def test_folder(tmp_path):
    model = network()
    model.compile("adam", "categorical_crossentropy")
    model.train_on_batch(pictures(), np.eye(7, dtype="float32")[:2])
    keras_se.save_for_hub(model, tmp_path / "hub", licence="apache-2.0")
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]
    files = {"config.json", "metadata.json", "model.weights.h5", "README.md"}
    assert {path.name for path in (tmp_path / "hub").iterdir() if path.is_file()} == files
    expected = np.asarray(model(pictures()))
    for load in (keras_se.get_model, keras.saving.load_model):
        found = load(str(tmp_path / "hub"))
        assert not found.compiled
        np.testing.assert_array_equal(found(pictures()), expected)
    # The network in training goes on.
    assert model.compiled
    model.train_on_batch(pictures(), np.eye(7, dtype="float32")[:2])


def test_card(tmp_path):
    keras_se.save_for_hub(keras_se.SEResNet20(weights="fashion_mnist"), tmp_path / "hub")
    _, fields, text = (tmp_path / "hub" / "README.md").read_text("utf-8").split("---\n", 2)
    assert fields.splitlines() == [
        "library_name: keras", "tags:", "- keras", "- squeeze-and-excitation",
        "pipeline_tag: image-classification",
    ]  # fmt: skip
    for words in ("(None, 28, 28, 1)", "0..255", "276,127", "Ankle_boot", "licence.]"):
        assert words in text


def test_other_networks(tmp_path):
    """One of signals, one without a classifier, one that gives a pyramid, and one of Keras."""
    for number, model in enumerate(
        (
            keras_se.SEResNet18(weights=None, input_shape=(65, 2), classes=3),
            keras_se.SEResNet18(weights=None, input_shape=(64, 64, 3), include_top=False),
            keras_se.feature_pyramid(keras_se.SEResNet18(weights=None, input_shape=(64, 64, 3))),
            keras.Sequential(
                [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
            ),
        )
    ):
        keras_se.save_for_hub(model, tmp_path / str(number))
        found = keras_se.get_model(tmp_path / str(number))
        x = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:]))
        theirs, ours = (keras.tree.flatten(m(x)) for m in (model, found))
        for left, right in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(left, right)
        text = (tmp_path / str(number) / "README.md").read_text("utf-8")
        assert "pipeline_tag" not in text


def test_bad_input(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    model = network()
    for folder in ("full", "file", "full/mine.txt"):
        with pytest.raises(ValueError, match=r"`folder` must be new or empty\. Received: folder="):
            keras_se.save_for_hub(model, tmp_path / folder)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    for folder in ("", None, 3):
        with pytest.raises(ValueError, match="`folder` must be a path"):
            keras_se.save_for_hub(model, folder)
    for licence in ("two words", "a\nb: c", ""):
        with pytest.raises(ValueError, match=r"`licence` must be a name such as 'apache-2\.0'"):
            keras_se.save_for_hub(model, tmp_path / "new", licence=licence)
    with pytest.raises(ValueError, match="`model` must be"):
        keras_se.save_for_hub(keras.Sequential(), tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    for name in ("hf://", "hf://user", "hf://user/a b", "hf://user/../x", "hf://user/name@"):
        with pytest.raises(ValueError, match="expected 'hf://user/repository', maybe with '@'"):
            keras_se.get_model(name)


@pytest.mark.weights
def test_downloads(tmp_path, serve):
    folders = {revision: tmp_path / f"folder {revision}" for revision in ("main", "v2")}
    expected = {}
    np.save(tmp_path / "pictures.npy", pictures())
    for seed, (revision, folder) in enumerate(folders.items()):
        keras_se.save_for_hub(model := network(seed), folder)
        expected[revision] = np.asarray(model(pictures()))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("Nothing")
    repositories = {"user/flowers": folders, "user/empty": {"main": tmp_path / "empty"}}

    def answers(url, *names, **more):
        surroundings = environment(keras.backend.backend())
        surroundings |= {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), **more}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "pictures.npy"), *names]
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    names = ["hf://user/flowers", "hf://user/flowers@v2"]
    server = serve(hub(repositories))
    main, second, *errors = answers(
        server.url, *names, "hf://user/none", "hf://user/flowers@v3", "hf://user/empty"
    )
    asked = len(server.paths)
    for found, revision in ((main, "main"), (second, "v2")):
        # Another process may use other instructions.
        np.testing.assert_allclose(found, expected[revision], rtol=0, atol=1e-6)
    assert errors == [
        "ValueError: hf://user/none: there is no such repository, or you have no access to it",
        "ValueError: hf://user/flowers@v3: the repository has no such revision",
        "ValueError: hf://user/empty: expected a Keras network, with config.json and "
        "model.weights.h5",
    ]
    again = answers(server.url, *names, "hf://user/none", KERAS_SE_OFFLINE="1")
    assert len(server.paths) == asked > 0
    assert again[:2] == [main, second]
    assert again[2] == "OSError: hf://user/none: not downloaded yet, and the hub cannot be reached"


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install keras-se\[huggingface\]"):
        keras_se.get_model("hf://user/flowers")
