"""Which files of people's folders are trained on, and what is said of the others."""

import os
import re

import numpy as np
import pytest
from picture_folders import recipe, write
from PIL import Image

from keras_se.data.listing import list_folder
from keras_se.training.recipe_data import load_data
from keras_se.training.splits import lines, split


def paths(data):
    return {data.source.entry(index)[0] for index in data.chosen}


SPELLED = [
    ("train", "val", "test"), ("Train", "Valid", "Test"), ("TRAINING", "validation", "testing"),
    ("training", "dev", "TEST"),
]  # fmt: skip


@pytest.mark.parametrize("spelled", SPELLED)
def test_three_splits(spelled, tmp_path):
    """The best network is chosen on the validation pictures, the test pictures are for the end."""
    for name, count in zip(spelled, (5, 2, 3), strict=True):
        write(tmp_path / name, count=count)
    parts = load_data(recipe(tmp_path), pytest.fail)
    found = split(parts, recipe(tmp_path))
    assert [len(data) for data in found] == [15, 6, 9]
    for data, name in zip(found, spelled, strict=True):
        assert {path.split("/")[0] for path in paths(data)} == {name}
        assert data.names == ["a", "b", "c"]
    said = list(lines(parts, recipe(tmp_path), *found))
    assert said == [
        "3 classes: a, b, c",
        *(
            f"{part}: {len(data)} pictures, {tmp_path / name}"
            for part, data, name in zip(
                ("training", "validation", "test"), found, spelled, strict=True
            )
        ),
    ]
    held = recipe(tmp_path, "held_out=3")
    found = split(parts, held)
    assert [len(data) for data in found] == [12, 3, 9]
    assert (
        f"since `held_out` is set: {tmp_path / spelled[1]}" in list(lines(parts, held, *found))[-1]
    )


@pytest.mark.parametrize("name", ["val", "Validation", "Test"])
def test_two_splits(name, tmp_path):
    """The same pictures choose the best network and test the last one, and that is said."""
    write(tmp_path / "Train")
    write(tmp_path / name, count=2)
    parts = load_data(recipe(tmp_path), pytest.fail)
    found = split(parts, recipe(tmp_path))
    assert found[1] is found[2]
    assert [len(data) for data in found] == [15, 6, 6]
    _, _, validation, test = lines(parts, recipe(tmp_path), *found)
    assert validation.endswith(f"({tmp_path / name}): best.keras is chosen on them")
    assert test == f"test: 6 pictures, {tmp_path / name}"


@pytest.mark.parametrize("part", ["train", ""])
def test_no_split(part, tmp_path):
    write(tmp_path / part, count=10)
    parts = load_data(recipe(tmp_path), pytest.fail)
    found = split(parts, recipe(tmp_path))
    assert [len(data) for data in found] == [24, 6, 6]
    assert list(lines(parts, recipe(tmp_path), *found))[1:] == [
        f"training: 24 pictures, four fifths of {tmp_path / part}",
        f"validation: 6 pictures, the test pictures (a fifth of {tmp_path / part}): best.keras is "
        "chosen on them",
        f"test: 6 pictures, a fifth of {tmp_path / part}",
    ]


def test_classes_that_are_called_as_splits(tmp_path):
    """Without classes in it, a train is a train."""
    write(tmp_path, ("bus", "train", "tram"))
    assert list_folder(tmp_path, False, pytest.fail).names == ["bus", "train", "tram"]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("Traning", "Test"), "Received: folders a, b, c in Test, Traning"),
        (("test", "val"), "Received: folders a, b, c in test, val"),
        (("train", "val", "Valid"), "one folder of validation pictures. Received: Valid, val"),
        (("train", "Train"), "one folder of train pictures. Received: Train, train"),
        (("train", "test", "holdout"), "Received: holdout, test, train"),
    ],
)
def test_folders_that_are_not_understood(places, expected, tmp_path):
    for place in places:
        write(tmp_path / place, count=1)
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        list_folder(tmp_path, False, pytest.fail)
    assert "\n" not in str(caught.value)


def test_names_that_begin_with_a_dot(tmp_path):
    write(tmp_path)
    write(tmp_path, [".ipynb_checkpoints"])
    (tmp_path / "a" / "._0.png").write_bytes(b"what a Mac leaves")
    (tmp_path / "b" / ".DS_Store").touch()
    listing = list_folder(tmp_path, False, pytest.fail)
    assert listing.names == ["a", "b", "c"]
    assert len(listing.parts["train"]) == 15


def test_what_is_left_out_is_counted(tmp_path):
    write(tmp_path)
    write(tmp_path / "a", ["more"])
    for n in range(3):
        (tmp_path / "b" / f"{n}.heic").touch()
        (tmp_path / f"{n}.png").touch()
    (tmp_path / "LICENCE").touch()
    said = []
    assert len(list_folder(tmp_path, False, said.append).parts["train"]) == 15
    assert said == [
        f"{tmp_path}: left out: 3 picture(s) outside of the folders of classes, 3 .heic, 1 files "
        "without a suffix, 1 folders in folders"
    ]
    write(tmp_path / "parted" / "train")
    (tmp_path / "parted" / "annotations").mkdir()
    said.clear()
    list_folder(tmp_path / "parted", False, said.append)
    assert said[0].startswith(f"{tmp_path / 'parted' / 'annotations'}: left out")


def no_permission(path, monkeypatch):
    path.touch()
    access = os.access
    # Root may read everything.
    monkeypatch.setattr(os, "access", lambda name, mode: name != path and access(name, mode))


UNREADABLE = {
    "a folder": lambda path, _: path.mkdir(),
    "not a regular file": lambda path, _: os.mkfifo(path),
    "a dangling link": lambda path, _: path.symlink_to(path.with_name("absent")),
    "no permission to read it": no_permission,
}


@pytest.mark.parametrize("reason", UNREADABLE)
def test_what_is_no_file(reason, tmp_path, monkeypatch):
    """Opening a pipe would wait for ever."""
    write(tmp_path)
    path = tmp_path / "a" / "zz.png"
    UNREADABLE[reason](path, monkeypatch)
    with pytest.raises(ValueError, match=f"Received: {reason}$") as caught:
        load_data(recipe(tmp_path), pytest.fail)
    assert str(caught.value).startswith(f"{path}: expected a file that can be read")
    said = []
    parts = load_data(recipe(tmp_path, "bad_pictures=skip"), said.append)
    assert said == [f"skipped, not a picture: {path}"]
    assert sum(map(len, parts.values())) == 15


def test_names_that_are_not_utf_8(tmp_path):
    """A file may have one, a class may not."""
    write(tmp_path)
    source = tmp_path / "a" / "0.png"
    os.rename(source, os.fsencode(tmp_path / "a") + b"/\xff.png")
    parts = load_data(recipe(tmp_path), pytest.fail)
    assert "a/\\xff.png" in paths(parts["train"]) | paths(parts["test"])
    assert sum(1 for _ in parts["test"].bad()) == sum(1 for _ in parts["train"].bad()) == 0
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    with pytest.raises(ValueError, match="whose name is UTF-8") as caught:
        load_data(recipe(tmp_path), pytest.fail)
    assert str(caught.value).startswith(f"{tmp_path}/\\xff: ")
    str(caught.value).encode()


def flat(folder, count=10):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        Image.fromarray(np.full((12, 10, 3), n, "uint8")).save(folder / f"{n}.png")
    return folder


# Where the pictures and the table are, and what `data_dir` says.
PLACES = [
    ("", "labels.csv", ""), ("", "whatever.CSV", ""), ("images", "labels.csv", ""),
    ("images", "labels.csv", "labels.csv"), ("images", "labels.csv", "images"),
    ("images", "images.csv", "images"),
]  # fmt: skip


@pytest.mark.parametrize(("pictures", "table", "data_dir"), PLACES)
def test_table(pictures, table, data_dir, tmp_path):
    flat(tmp_path / pictures)
    rows = [f"{n}.png,{'cat' if n % 3 else 'dog'}" for n in range(10)]
    (tmp_path / table).write_text("\n".join(["file,label", *rows]), "utf-8")
    parts = load_data(recipe(tmp_path / data_dir), pytest.fail)
    assert [len(parts[part]) for part in ("train", "test")] == [8, 2]
    for data in parts.values():
        assert data.names == ["cat", "dog"]
        for index, label in zip(data.chosen, data.labels, strict=True):
            number = int(data.source.paths[index].split("/")[-1].removesuffix(".png"))
            assert label == (number % 3 == 0)
    assert parts["test"].origin == f"a fifth of {tmp_path / table}"


def test_table_with_splits_and_other_delimiters(tmp_path):
    flat(tmp_path)
    words = ["Train"] * 5 + ["valid"] * 2 + ["testing"] * 2
    rows = [f'"{n}.png";"größer, {n % 2}";{word}' for n, word in enumerate(words)]
    text = "\r\n".join(["Filename;Label;Split", *rows, ""])
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    said = []
    parts = load_data(recipe(tmp_path), said.append)
    assert {part: len(data) for part, data in parts.items()} == {
        "train": 5, "validation": 2, "test": 2
    }  # fmt: skip
    assert parts["train"].names == ["größer, 0", "größer, 1"]
    assert said == [f"{tmp_path / 'labels.csv'}: left out: 1 picture(s) that it does not list"]


TABLES = [
    ("name,label\n0.png,a\n1.png,b", "expected the header file,label"),
    ("file,label\n0.png,a;b\n1.png,b", "line 2: expected one label per picture"),
    ("file,label\n0.png,a\n0.png,b", "line 3: 0.png is also in line 2"),
    ("file,label\n0.png,a\n1.png,a", "expected at least two classes. Received: a"),
    ("file,label\n0.png,a\n./x/../0.png,b", "line 3: ./x/../0.png is also in line 2"),
    ("file,label\n0.png,a\n99.png,b", "99.png: expected a file that can be read"),
    ("file,label\n0.png,a\n99.png,b", "labels.csv, line 3: "),
    ("file,Class,label\n0.png,a,0\n1.png,b,1", "label, labels, class. Received: Class, label"),
    ("path,label,image\n0.png,a,0\n1.png,b,1", "image, path. Received: path, image"),
    ("file,label,split\n0.png,a,train\n1.png,b,val", "each class. Received: none of b"),
    ("file,label\n0.png,a\n1.png", "line 3: expected 2 values, with a file and a label"),
    ("file,label\n0.png,a\n,b", "line 3: expected 2 values, with a file and a label"),
    ("file,label\n0.png,a\n1.txt,b", "line 3: expected a picture"),
    ("file,label,split\n0.png,a,train\n1.png,b,later", "line 3: expected a split of train"),
    ("file,label,split\n0.png,a,test\n1.png,b,test", "expected training pictures"),
    ('file,label\n0.png,"a\n1.png,b', "expected a CSV file in UTF-8"),
    (b"file,label\n0.png,\xff\n1.png,b", "expected a CSV file in UTF-8"),
    ("", "expected the header file,label"),
]


@pytest.mark.parametrize(("text", "expected"), TABLES)
def test_tables_that_are_none(text, expected, tmp_path):
    flat(tmp_path)
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        list_folder(tmp_path, False, pytest.fail)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("file,label,subset,", "left out: 2 column(s), subset, (no name)"),
        ("Unnamed: 0,label,file,Split_", "left out: 2 column(s), Unnamed: 0, Split_"),
    ],
)
def test_columns_that_are_left_out_are_told(header, said, tmp_path):
    flat(tmp_path, 2)
    place = header.split(",").index("file")
    rows = [header.replace("file", f"{n}.png").replace("label", "ab"[n]) for n in range(2)]
    assert rows[1].split(",")[place] == "1.png"
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]))
    told = []
    assert list_folder(tmp_path, False, told.append).names == ["a", "b"]
    assert told == [f"{tmp_path / 'labels.csv'}: {said}"]


def test_pictures_beside_those_in_another_spelling(tmp_path):
    flat(tmp_path / "flat", 4)
    rows = ["./flat/../flat/0.png,a", "flat/1.png,b", f"{tmp_path}/flat/2.png,b"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    told = []
    list_folder(tmp_path / "labels.csv", False, told.append)
    assert told == [f"{tmp_path / 'labels.csv'}: left out: 1 picture(s) that it does not list"]


def test_a_missing_folder_of_a_table_is_skipped(tmp_path):
    flat(tmp_path, 2)
    (tmp_path / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\nabsent/2.png,b\n")
    told = []
    assert len(list_folder(tmp_path, True, told.append).parts["train"]) == 2
    assert told == [f"skipped, not a picture: {tmp_path / 'absent' / '2.png'}"]


def test_a_flat_test_folder_is_refused(tmp_path):
    """Kaggle's has no labels."""
    write(tmp_path / "train")
    flat(tmp_path / "test")
    expected = f"Received: no folder; data_dir={tmp_path / 'train'} leaves test out"
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        list_folder(tmp_path, False, pytest.fail)
    assert str(caught.value).startswith(f"{tmp_path / 'test'}: expected a folder of pictures for")
    assert len(list_folder(tmp_path / "train", False, pytest.fail).parts["train"]) == 15


def test_folders_and_tables_that_say_too_little(tmp_path):
    flat(tmp_path / "flat")
    with pytest.raises(ValueError, match=r"file,label. Received: 0 folder\(s\) \(none\), 10 pict"):
        list_folder(tmp_path / "flat", False, pytest.fail)
    for name in ("one", "two"):
        (tmp_path / "flat" / f"{name}.csv").write_text("file,label\n0.png,a\n1.png,b\n")
    with pytest.raises(ValueError, match=r"expected one CSV file.*Received: one.csv, two.csv"):
        list_folder(tmp_path / "flat", False, pytest.fail)
    # The folders say it.
    write(tmp_path / "classes")
    (tmp_path / "classes" / "labels.csv").write_text("file,label\na/0.png,x\nb/0.png,y\n")
    said = []
    assert list_folder(tmp_path / "classes", False, said.append).names == ["a", "b", "c"]
    assert said == [f"{tmp_path / 'classes'}: left out: 1 .csv"]
