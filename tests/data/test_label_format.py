"""Tables that give a picture several labels."""

import re

import numpy as np
import pytest
from picture_folders import recipe, write
from PIL import Image

from keras_se.data.label_format import LabelFormat, classes_of
from keras_se.data.listing import list_folder
from keras_se.training.recipe_data import load_data
from keras_se.training.splits import folds_of, lines, split

SEPARATED = LabelFormat("separated")
COLUMNS = LabelFormat("columns")
LABELS = {"0.png": ["cat"], "1.png": ["cat", "dog"], "2.png": [], "3.png": ["a bird", "dog"]}


def flat(folder, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        Image.fromarray(np.full((12, 10, 3), n, "uint8")).save(folder / f"{n}.png")
    return folder


def listed(folder, text, labels):
    (folder / "labels.csv").write_text(text, "utf-8")
    found = list_folder(folder, False, pytest.fail, labels)
    return found.names, {
        path.rpartition("/")[2]: [found.names[n] for n in own]
        for path, _, own in found.parts["train"]
    }


TABLES = {
    "separated": ("file,label\n0.png,cat\n1.png,dog; cat\n2.png,\n3.png,a bird;dog\n", SEPARATED),
    "bars": (
        "file,label\n0.png,cat\n1.png,dog|cat\n2.png,\n3.png,a bird | dog\n",
        LabelFormat("separated", "|"),
    ),
    "commas": (
        'file,label\n0.png,cat\n1.png,"dog,cat"\n2.png,\n3.png,"a bird,dog"\n',
        LabelFormat("separated", ","),
    ),
    "quoted": ('file;label\n0.png;cat\n1.png;"dog;cat"\n2.png;""\n3.png;"a bird;dog"\n', SEPARATED),
    "floats": (
        "file,a bird,cat,dog\n0.png,0.0,1.0,0.0\n1.png,0.0,1.0,1.0\n2.png,0,0.0,0\n3.png,1,0,1.0\n",
        COLUMNS,
    ),
    "columns": (
        "file,a bird,cat,dog\n0.png,0,1,0\n1.png,0, 1,1\n2.png,0,0,0\n3.png,1,0,1\n",
        COLUMNS,
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name, tmp_path):
    names, found = listed(flat(tmp_path), *TABLES[name])
    assert names == ["a bird", "cat", "dog"]
    assert {file: sorted(own) for file, own in found.items()} == LABELS


def test_columns_keep_their_order_and_their_names(tmp_path):
    text = "Split,Dog,Image,ant\ntrain,1,0.png,1\ntest,0,1.png,1\ntrain,0,2.png,0\n"
    (flat(tmp_path) / "labels.csv").write_text(text)
    found = list_folder(tmp_path, False, lambda _: None, COLUMNS)
    assert found.names == ["Dog", "ant"]
    assert [own for _, _, own in found.parts["train"]] == [(0, 1), ()]
    assert [own for _, _, own in found.parts["test"]] == [(1,)]


@pytest.mark.parametrize("quote", ['"', ""])
def test_commas_in_a_header_with_another_delimiter(quote, tmp_path):
    text = f"file;{quote}cat, tabby{quote};dog\n0.png;1;0\n1.png;1;1\n"
    assert listed(flat(tmp_path, 2), text, COLUMNS) == (
        ["cat, tabby", "dog"],
        {"0.png": ["cat, tabby"], "1.png": ["cat, tabby", "dog"]},
    )


def test_arrays():
    assert LabelFormat().array([(2,), (0,)], 3).tolist() == [2, 0]
    hot = SEPARATED.array([(2, 0), (), (2,)], 4)
    assert hot.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert hot.dtype == np.int64
    assert classes_of(hot).tolist() == [0, 2]
    assert classes_of(np.array([3, 1, 3])).tolist() == [1, 3]


MISTAKES = [
    ("file,label\n0.png,a;\n1.png,b", SEPARATED, "line 2: expected names that differ"),
    ("file,label\n0.png,a;b;a\n1.png,b", SEPARATED, "line 2: expected names that differ"),
    ("file,label\n0.png,a|b\n1.png,b", SEPARATED, "expected a picture with several labels, with"),
    ("file,label\n0.png,a;b\n1.png,b", LabelFormat(), "labels=separated reads several"),
    ("file,a,b\n0.png,1,0\n1.png,0,1", SEPARATED, "expected the header file,label"),
    ("file,a,b\n0.png,1,0\n1.png,0,-1", COLUMNS, "line 3: expected 0 or 1 in the column of each"),
    ("file,a,b\n0.png,1,0\n1.png,0,", COLUMNS, "Received: b=''"),
    ("file,a,b\n0.png,1,0\n1.png,0,0.5", COLUMNS, "Received: b='0.5'"),
    ("file,a,b,c,d\n0.png,1,0,0,0\n1.png,0,1,0,0", COLUMNS, "Received: none of c, d"),
    ("file,image,b\n0.png,0.png,0\n1.png,1.png,1", COLUMNS, "Received: image='0.png'"),
    ("file,label,class\n0.png,a,1\n1.png,b;a,2", SEPARATED, "Received: label, class"),
    ("file,a,b\n0.png,1,0\n1.png,0", COLUMNS, "line 3: expected 3 values"),
    (",file,a,b\n0,0.png,1,0\n1,1.png,0,1", COLUMNS, "expected columns with names that differ"),
    ("file,a,a\n0.png,1,0\n1.png,0,1", COLUMNS, "expected columns with names that differ"),
    ("file,label\n0.png,a;b\n1.png,b", COLUMNS, "Received: label='a;b'"),
    ("file,a\n0.png,1\n1.png,0", COLUMNS, "expected at least two classes"),
    ("a,b\n0,1", COLUMNS, "expected the header file,the classes"),
]


@pytest.mark.parametrize(("text", "labels", "expected"), MISTAKES)
def test_mistakes(text, labels, expected, tmp_path):
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        listed(flat(tmp_path), text, labels)
    message = str(caught.value)
    assert "\n" not in message
    assert "Received" in message
    assert str(tmp_path) in message


def test_folders_of_classes_have_one_label(tmp_path):
    write(tmp_path / "train")
    with pytest.raises(ValueError, match="expected a CSV file with labels='separated'"):
        list_folder(tmp_path, False, pytest.fail, SEPARATED)


SETTINGS = ("labels=separated", "loss=sigmoid")


def test_data_of_a_recipe(tmp_path):
    """Labels stay with their pictures in all parts, and folds share the combinations."""
    flat(tmp_path, 20)
    own = [("b", "a;b", "", "a;c")[n % 4] for n in range(20)]
    rows = [f"{n}.png,{names}" for n, names in enumerate(own)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    chosen = recipe(tmp_path, *SETTINGS, "folds=2", "fold=1")
    parts = load_data(chosen, pytest.fail)
    assert [len(parts[part]) for part in ("train", "test")] == [16, 4]
    for data in parts.values():
        for index, hot, (key, content) in zip(
            data.chosen, data.labels, data.entries(), strict=True
        ):
            number = int(key.removesuffix(".png"))
            names = [data.names[n] for n in np.flatnonzero(hot)]
            assert ";".join(names) == own[number]
            assert data.source.paths[index].endswith(f"/{number}.png")
            assert content.split(" ", 1)[1] == ", ".join(names)
    training, validation, test = split(parts, chosen)
    folds = folds_of(parts["train"].labels, 2)
    combinations = parts["train"].labels @ [1, 2, 4]
    for combination in np.unique(combinations):
        counts = np.bincount(folds[combinations == combination], minlength=2)
        assert np.ptp(counts) <= 1
    (line,) = [x for x in lines(parts, chosen, training, validation, test) if "labels:" in x]
    count = training.labels.sum(1)
    assert line == f"labels: {count.mean():.2f} per training picture, none on {(count == 0).sum()}"


def test_class_without_a_training_picture(tmp_path):
    rows = ["0.png,1,0,train", "1.png,1,0,train", "2.png,0,1,test"]
    (flat(tmp_path, 3) / "labels.csv").write_text("\n".join(["file,a,b,split", *rows]))
    with pytest.raises(ValueError, match=r"expected a training picture of each class.* none of b$"):
        load_data(recipe(tmp_path, "labels=columns", "loss=sigmoid"), pytest.fail)


def test_test_pictures_without_a_label(tmp_path):
    """There is no average precision of them."""
    rows = ["0.png,1,0,train", "1.png,1,1,train", "2.png,0,1,train", "3.png,0,0,test"]
    (flat(tmp_path) / "labels.csv").write_text("\n".join(["file,a,b,split", *rows]))
    chosen = recipe(tmp_path, "labels=columns", "loss=sigmoid", "batch=2")
    with pytest.raises(ValueError, match="split test: expected a picture with a label"):
        split(load_data(chosen, pytest.fail), chosen)


CONFLICTS = {
    "loss=softmax": "`loss` must be 'sigmoid' with labels='separated'. Received: loss='softmax'",
    "data=fashion_mnist": "`data` must be 'folder' with labels='separated'",
    "label_smoothing=0.1": "`label_smoothing` must be 0",
    "sampling=balanced": "`sampling` must be 'shuffled'",
    "class_weights=balanced": "`class_weights` must be null",
}


@pytest.mark.parametrize("setting", CONFLICTS)
def test_settings_that_need_one_label(setting, tmp_path):
    with pytest.raises(ValueError, match=re.escape(CONFLICTS[setting])):
        recipe(tmp_path, *SETTINGS, setting)


def test_separator_of_spaces(tmp_path):
    """A space, and one with spaces, are what was given; other settings are stripped."""
    for separator in (" ", "; "):
        chosen = recipe(tmp_path, "labels= separated ", "loss=sigmoid", f"separator={separator}")
        assert (chosen.labels, chosen.separator) == ("separated", separator)
    rows = ["file,label", *(f"{n}.png,{('cat', 'dog cat', 'dog')[n % 3]}" for n in range(6))]
    (flat(tmp_path, 6) / "labels.csv").write_text("\n".join(rows))
    found = load_data(chosen.changed(["separator= "]), pytest.fail)["train"]
    assert list(found.names) == ["cat", "dog"]


def test_separator_without_several_labels(tmp_path):
    with pytest.raises(ValueError, match="`separator` is only supported with several labels"):
        recipe(tmp_path, "separator=|")
    with pytest.raises(ValueError, match="`labels` must be one of: 'one', 'separated', 'columns'"):
        recipe(tmp_path, "labels=many")
