"""Data sets that TensorFlow Datasets has prepared, read where they are."""

import io
import json
import shutil
import sys

import prepared_sets
import pytest
import tensorflow_datasets as tfds
import training_runs
from PIL import Image

from keras_se.data.labelled import Pictures
from keras_se.data.tfds import _records
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data, training_batches
from keras_se.training.run import Run
from keras_se.training.splits import split


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of all sets; records of `tiny_pictures` are in three files a split."""
    folder = tmp_path_factory.mktemp("tfds")
    prepared_sets.prepare(prepared_sets.TinyPictures, folder, 3, config="few")
    for builder in (
        prepared_sets.TinyHidden, prepared_sets.TinyScenes, prepared_sets.TinyGrey
    ):  # fmt: skip
        prepared_sets.prepare(builder, folder)
    return folder


@pytest.fixture
def own(prepared, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(prepared, tmp_path / "tfds")


def recipe(folder, *settings, data="tfds:tiny_pictures/few:1.0.0"):
    return Recipe(
        model="SEResNet20", data=data, data_dir=str(folder), image_size=32, batch=4, epochs=2,
        variant={"blocks": (1, 1, 1)}, checkpoint_steps=2,
    ).changed(settings)  # fmt: skip


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_records_are_those_that_tfds_reads(file_format, prepared, tmp_path):
    """The bytes and classes in the same order, from several files; TFDS' reader is the judge."""
    expected = tfds.builder("tiny_pictures/few", data_dir=prepared).as_dataset(
        split="train",
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    )
    builder = prepared_sets.prepare(
        prepared_sets.TinyPictures, tmp_path, 3, file_format, config="few"
    )
    assert len(builder.info.splits["train"].file_instructions) == 3
    records = _records("few train", builder, "train", "image", "label")
    count = 0
    for count, example in enumerate(expected.as_numpy_iterator(), 1):
        assert records.read(count - 1) == example["image"]
        assert records.data(count - 1).numpy() == example["image"]
        assert records.labels[count - 1] == example["label"]
    assert count == len(records.labels) == 30


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("tiny_pictures", {"train": 30, "validation": 8, "test": 10}),
        ("tiny_pictures/few", {"train": 30, "validation": 8, "test": 10}),
        ("tiny_hidden:1.0.0", {"train": 30, "test": 8}),
        ("tiny_grey", {"train": 20, "test": 5}),
    ],
)
def test_parts(name, counts, prepared):
    chosen = recipe(prepared, data=f"tfds:{name}")
    parts = load_data(chosen, pytest.fail)
    assert {part: len(data) for part, data in parts.items()} == counts
    assert parts["train"].names == ["tall", "wide"]
    assert parts["train"].shape == ((32, 32, 1) if name == "tiny_grey" else (32, 32, 3))
    training, validation, test = split(parts, chosen)
    assert validation is parts.get("validation", parts["test"])
    assert test is parts["test"]
    training, validation, _ = split(parts, chosen.changed(["held_out=6"]))
    assert not {*training.chosen} & {*validation.chosen}
    assert len(training) + len(validation) == counts["train"]


def test_labels_are_those_of_the_pictures(prepared):
    """A wide picture is class 1: seen in what is loaded, whatever the order."""
    train = load_data(recipe(prepared), pytest.fail)["train"]
    for index, label in zip(train.chosen, train.labels, strict=True):
        with Image.open(io.BytesIO(train.source.read(index))) as picture:
            assert (picture.width > picture.height) == label


def test_batches_are_pure_functions(prepared):
    settings = ("mixup=0.2", "cutmix=1.0", "flip=true")
    train = load_data(recipe(prepared, *settings), pytest.fail)["train"]
    whole, again = (list(training_batches(train, recipe(prepared, *settings), 1)) for _ in range(2))
    rest = list(training_batches(train, recipe(prepared, *settings), 1, first=5))
    other = list(training_batches(train, recipe(prepared, *settings), 2))
    assert len(whole) == 7
    for n in range(7):
        for part in (0, 1):
            one = whole[n][part].numpy()
            assert one.tobytes() == again[n][part].numpy().tobytes()
            if n >= 5:
                assert one.tobytes() == rest[n - 5][part].numpy().tobytes()
        assert (whole[n][0].numpy() != other[n][0].numpy()).mean() > 0.5


def test_pictures_of_one_size_are_held_in_memory(prepared):
    chosen = recipe(prepared, "image_size=null", "shift=1", data="tfds:tiny_grey")
    parts = load_data(chosen, pytest.fail)
    assert all(isinstance(data, Pictures) for data in parts.values())
    assert parts["test"].shape == (8, 8, 1)
    examples = tfds.builder("tiny_grey", data_dir=prepared).as_dataset(split="train")
    expected = {
        (example["image"].tobytes(), int(example["label"]))
        for example in examples.as_numpy_iterator()
    }
    got = {
        (picture.tobytes(), int(label))
        for data in parts.values()
        for picture, label in zip(data.pictures, data.labels, strict=True)
    }
    assert got == expected
    assert len(got) == 25


@pytest.mark.training
def test_run_goes_on_bit_for_bit(prepared, tmp_path):
    chosen = recipe(prepared, "mixup=0.2", "flip=true")
    expected, values = training_runs.whole_and_resumed(chosen, tmp_path)
    assert values == expected
    assert "Validation (8 other pictures)" in (tmp_path / "run" / "README.md").read_text()


def damage(path, old, new):
    """Change one place in a file, and nothing else."""
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def shard(folder, name):
    """The first file of records of a set's training split."""
    return sorted(folder.glob(f"{name}/**/*train*-00000-of-*"))[0]


@pytest.mark.parametrize(
    ("data", "size", "mark"),
    [("tiny_pictures/few", "32", b"\xff\xd8\xff"), ("tiny_grey", "null", b"\x89PNG")],
)
def test_pictures_that_are_none(data, size, mark, own, tmp_path):
    damage(shard(own, data.split("/")[0]), mark, bytes(len(mark)))
    chosen = recipe(own, f"image_size={size}", data=f"tfds:{data}")
    with pytest.raises(ValueError, match="expected an undamaged picture") as caught:
        Run(chosen, tmp_path / "run").train()
    message = str(caught.value)
    assert f"{data} train: picture " in message
    assert "bad_pictures=skip" in message
    assert "\n" not in message
    lines = []
    parts = load_data(chosen.changed(["bad_pictures=skip"]), lines.append)
    (line,) = lines
    assert line.startswith(f"skipped, not a picture: {data} train: picture ")
    whole = 25 if data == "tiny_grey" else 48
    assert sum(map(len, parts.values())) == whole - 1


# The tag of a list of integers, and the one that is in it.
LABEL = b"\x1a\x03\x0a\x01"


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda path: damage(path, LABEL + b"\x01", LABEL + b"\x07"), "labels from 0 to 1"),
        (lambda path: damage(path, b"label", b"lable"), "with 'image' and 'label'"),
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "one that ends at byte"),
        (lambda path: path.write_bytes(b""), "TFRecords. Received: 0"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_damaged_records(break_it, expected, own):
    break_it(shard(own, "tiny_pictures"))
    with pytest.raises((ValueError, OSError)) as caught:
        load_data(recipe(own), pytest.fail)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


MISTAKES = [
    ("mnsit", (), "Did you mean 'tfds:mnist'"),
    ("a b", (), "'tfds:NAME[/CONFIG][:VERSION]'"),
    ("huggingface:mnist", (), "'tfds:NAME[/CONFIG][:VERSION]'"),
    ("tiny_pictures/fwe", (), "BuilderConfig fwe not found"),
    ("tiny_pictures:9.9.9", (), "9.9.9"),
    ("tiny_pictures/many", (), "tfds build tiny_pictures/many --data_dir="),
    ("mnist", (), "tfds build mnist --data_dir="),
    ("tiny_scenes", (), "supervised_keys=None"),
    ("tiny_pictures", ("image_size=null",), "image_size=None"),
    ("tiny_pictures", ("shift=1",), "shift=1"),
    ("tiny_pictures", ("batch=31",), "at most the 30 training pictures"),
    ("tiny_pictures", ("held_out=30",), "less than the 30 training pictures"),
]


@pytest.mark.parametrize(("name", "settings", "expected"), MISTAKES)
def test_mistakes(name, settings, expected, prepared, tmp_path):
    with pytest.raises(ValueError, match=r"Received|tfds build") as caught:
        Run(recipe(prepared, *settings, data=f"tfds:{name}"), tmp_path / "run").train()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_too_large_for_memory(prepared, monkeypatch):
    monkeypatch.setattr("keras_se.data.tfds.MOST", 25 * 64 - 1)
    with pytest.raises(ValueError, match="too large for memory"):
        load_data(recipe(prepared, "image_size=null", data="tfds:tiny_grey"), pytest.fail)


def test_tfds_is_not_installed(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match=r"pip install keras-se\[tfds\]"):
        load_data(recipe(prepared), pytest.fail)


def test_command_line(run, prepared, tmp_path, monkeypatch):
    """Fine-tuned on a prepared set of colour pictures, which become grey as the weights want."""
    monkeypatch.chdir(tmp_path)
    arguments = [
        "finetune", "--set=model=SEResNet20", "--set=weights=fashion_mnist", "--set=epochs=1",
        "--set=warmup_epochs=0", "--set=data=tfds:tiny_hidden", f"--set=data_dir={prepared}",
        "--set=batch=8",
    ]  # fmt: skip
    folder = tmp_path / "run"
    code, out, _ = run("train", *arguments, "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert plan["input_shape"] == [28, 28, 1]
    assert plan["classes"] == 2
    assert plan["steps_per_epoch"] == 3
    code, out, err = run("train", *arguments, "--run", folder)
    assert code == 0, err
    code, out, _ = run("evaluate", folder, "--json")
    assert code == 0
    report = json.loads(out)
    results = json.loads((folder / "results.json").read_text())
    assert report["classes"] == ["tall", "wide"]
    assert report["pictures"] == 8
    assert report["cross_entropy"] == pytest.approx(results["test"]["cross_entropy"], rel=1e-5)
    code, _, err = run("train", *arguments, "--set=data=tfds:tiny_hiden")
    assert code == 2
    assert "Received: data='tfds:tiny_hiden'" in err.splitlines()[-1]
