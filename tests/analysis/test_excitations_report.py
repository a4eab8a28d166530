"""What `keras_se.excitations` gives: the summary, the file, the figure, and the command line."""

import io
import json

import keras
import numpy as np
import pytest
from command_line import assert_mistake
from excitation_networks import CLASSES, STREAMED, assert_same, network, pictures, small, texts
from PIL import Image
from reference import noise_pictures

import keras_se
from keras_se import Excitations, excitations
from keras_se.analysis.figure import STYLES, compose


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.backend.clear_session()


# The result


@pytest.fixture
def found():
    """Three blocks of which the first tells no classes apart, the last saturates; class 3 empty."""
    random = np.random.default_rng(5)
    moved = {"stage2_block3_se": (0.5, 0.0), "stage10_block6_se": (0.5, 0.3), "odd/name": (0.98, 0)}
    mean = {}
    for (name, (centre, between)), width in zip(moved.items(), (16, 128, 7), strict=True):
        own = random.normal(0, 0.01, width) + between * random.uniform(-1, 1, (CLASSES, width))
        mean[name] = np.clip(centre + own, 0, 1)
    std = {name: random.uniform(0.01, 0.1, array.shape) for name, array in mean.items()}
    high = {name: (array > 0.9).mean(1) for name, array in mean.items()}
    low = {name: (array < 0.1).mean(1) for name, array in mean.items()}
    for part in (mean, std, high, low):
        for array in part.values():
            array[3] = np.nan
    counts = np.array([50, 50, 50, 0, 50, 50, 50])
    names = (
        "goldfish",
        "pug",
        "plane",
        "nothing",
        "cliff",
        "a name_much too long for a panel",
        "x",
    )
    return Excitations(names, counts, mean, std, high, low)


def test_summary(found):
    rows = found.summary().blocks
    assert [row.label for row in rows] == ["SE_2_3", "SE_10_6", "odd/name"]
    for row in rows:
        mean, std = (np.delete(part[row.name], 3, axis=0) for part in (found.mean, found.std))
        assert row.channels == mean.shape[1]
        assert row.mean == pytest.approx(mean.mean())
        assert row.high == pytest.approx((mean > 0.9).mean())
        assert row.low == pytest.approx((mean < 0.1).mean())
        assert row.between == pytest.approx(np.sqrt(((mean - mean.mean(0)) ** 2).mean()))
        assert row.within == pytest.approx(np.sqrt((std**2).mean()))
        assert row.ratio == pytest.approx(row.between**2 / row.within**2)
    assert rows[0].ratio < 1e-6 < 1 < rows[1].ratio
    assert rows[2].high > 0.9
    lines = str(found.summary()).splitlines()
    assert lines[0].split() == [
        "block", "layer", "channels", "mean", ">", "0.9", "<", "0.1", "between", "within", "ratio"
    ]  # fmt: skip
    assert lines[1].split()[:3] == ["SE_2_3", "stage2_block3_se", "16"]
    assert len(lines) == 4


def test_summary_of_one_picture_a_class():
    model, (x, _) = small(), pictures(CLASSES)
    summary = excitations(model, x, np.arange(CLASSES)).summary()
    assert {(row.within, row.ratio) for row in summary.blocks} == {(0.0, None)}
    assert str(summary)


def test_saved_and_loaded(found, tmp_path):
    found.save(tmp_path / "found.npz")
    loaded = Excitations.load(str(tmp_path / "found.npz"))
    assert loaded.classes == found.classes
    assert_same(loaded, found, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["found.npz"]
    with pytest.raises(OSError, match="cannot be written"):
        found.save(tmp_path / "absent" / "found.npz")


def test_files_that_are_none(found, tmp_path):
    path = tmp_path / "found.npz"
    found.save(path)
    whole = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)

    def written(**changes):
        np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
        return path.read_bytes()

    array = io.BytesIO()
    np.save(array, np.zeros(3))
    cases = {
        "empty": b"",
        "cut": whole[:-100],
        "an array": array.getvalue(),
        "pickle": written(classes=np.array([{"a": 1}], object)),
        "missing": written(**{"std/1": None}),
        "another shape": written(**{"std/1": np.zeros((2, 2))}),
        "other counts": written(counts=np.zeros(3)),
        "no blocks": written(blocks=np.array([], str)),
    }
    for name, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(ValueError, match="expected a file written by") as caught:
            Excitations.load(path)
        assert len(str(caught.value).splitlines()) == 1, name
    with pytest.raises(FileNotFoundError):
        Excitations.load(tmp_path / "absent.npz")


# The figure


@pytest.mark.parametrize("classes", [None, ["x"], [5, 4, "pug", 0, 2, 6]])
def test_no_labels_overlap(found, classes):
    boxes = texts(compose(found, classes, 50, None))
    assert len(boxes) > 20
    for n, (text, box) in enumerate(boxes):
        for other, second in boxes[:n]:
            assert not box.overlaps(second), (text, other)


def test_panels_are_the_papers_figures(found):
    figure = compose(found, ["plane", 0], 50, ["SE_10_6", "odd/name"])
    panels = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in panels[0]] == ["mean of each class", "plane", "goldfish"]
    assert [row[0].get_ylabel().split("\n")[0] for row in panels] == ["SE_10_6", "odd/name"]
    for row, name, count in zip(panels, found.blocks[1:], (50, 7), strict=True):
        mean, std = found.mean[name], found.std[name]
        at = np.linspace(0, mean.shape[1] - 1, count).round().astype(int)
        every, *lines = row[0].get_lines()
        np.testing.assert_allclose(every.get_ydata(), np.nanmean(mean, axis=0)[at])
        for line, axes, number in zip(lines, row[1:], (2, 0), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), at)
            np.testing.assert_array_equal(line.get_ydata(), mean[number, at])
            (own,) = axes.get_lines()
            np.testing.assert_array_equal(own.get_ydata(), mean[number, at])
            # The same colour and marker everywhere.
            assert line.get_color() == own.get_color()
            assert line.get_marker() == own.get_marker()
            band = axes.collections[0].get_paths()[0].vertices
            assert band[:, 1].max() == pytest.approx((mean + std)[number, at].max())
            assert band[:, 1].min() == pytest.approx((mean - std)[number, at].min())
        assert len({axes.get_ylim() for axes in panels.ravel()}) == 1


def test_classes_are_told_apart_without_colour():
    assert len({line for _, line, _ in STYLES}) == len({m for *_, m in STYLES}) == len(STYLES)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_plot_writes_one_file(found, suffix, tmp_path):
    path = tmp_path / f"figure{suffix}"
    found.plot(path, ["pug"], channels=5)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    magic = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(magic)


PLOT_MISTAKES = {
    "another suffix": ({"path": "figure.bmp"}, "`path` must end in"),
    "no class": ({"classes": []}, "`classes` must be one to 6"),
    "too many": ({"classes": [0, 1, 2, 4, 5, 6, 3]}, "`classes` must be one to 6"),
    "twice": ({"classes": [1, "pug"]}, "distinct"),
    "unknown": ({"classes": ["pig"]}, "Did you mean 'pug'?"),
    "number": ({"classes": [7]}, "classes=7"),
    "without pictures": ({"classes": ["nothing"]}, "`classes` must have pictures.*'nothing'"),
    "channels": ({"channels": 0}, "`channels` must be an integer"),
    "block": ({"blocks": ["SE_2_2"]}, "Did you mean 'SE_2_3'?"),
    "no blocks": ({"blocks": []}, "`blocks` must name a block"),
}


@pytest.mark.parametrize("name", PLOT_MISTAKES)
def test_mistakes_of_a_figure(found, name, tmp_path):
    arguments, expected = PLOT_MISTAKES[name]
    path = tmp_path / str(arguments.get("path", "figure.png"))
    with pytest.raises(ValueError, match=expected) as caught:
        found.plot(**{**arguments, "path": path})
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


# The command line

NAME = "se_resnet20.fashion_mnist"


@pytest.fixture
def garments(tmp_path):
    """A picture of noise for each class of Fashion-MNIST, in folders of their identifiers."""
    for n, picture in enumerate(noise_pictures(10, 28, 28, 1)):
        (tmp_path / "garments" / str(n)).mkdir(parents=True)
        Image.fromarray(picture[..., 0]).save(tmp_path / "garments" / str(n) / "0.png")
    return tmp_path / "garments"


def test_command(run, garments, tmp_path):
    code, out, err = run(
        "excitations", NAME, garments, "--json", "--samples-per-class", "all",
        "--plot", tmp_path / "a.png", "--class", "Bag", "--block", "SE_4_3",
        "--save", tmp_path / "a.npz", "--html", tmp_path / "a.html",
    )  # fmt: skip
    assert (code, err) == (0, "")
    report = json.loads(out)
    model = keras_se.SEResNet20(weights=NAME)
    expected = excitations(model, noise_pictures(10, 28, 28, 1), np.arange(10))
    assert_same(Excitations.load(tmp_path / "a.npz"), expected)
    assert report["counts"]["Bag"] == 1
    for row, wanted in zip(report["blocks"], expected.summary().blocks, strict=True):
        assert (row["label"], row["name"]) == (wanted.label, wanted.name)
        assert row["mean"] == pytest.approx(wanted.mean, abs=STREAMED)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
    page = (tmp_path / "a.html").read_text("utf-8")
    assert f"<h1>{NAME}</h1>" in page
    assert page.count("Line chart of SE_4_3") == 2
    model.save(tmp_path / "a.keras")
    code, out, _ = run("excitations", tmp_path / "a.keras", garments)
    assert code == 0
    assert out.splitlines() == str(expected.summary()).splitlines()


def test_mistakes_of_the_command(run, garments, tmp_path):
    network(se=None, input_shape=(32, 32, 3)).save(tmp_path / "plain.keras")
    for arguments, expected in {
        ("se_resnet20.fashion",): f"Did you mean '{NAME}'?",
        ("absent.keras", garments): "does not exist",
        (tmp_path / "plain.keras",): "`data` must be a folder",
        (tmp_path / "plain.keras", garments): "`model` must hold attention blocks",
        (NAME, "absent"): "`data` must be a folder",
        (NAME, tmp_path): "every folder must be a class",
        (NAME, "--samples-per-class", "some"): "or 'all'",
        (NAME, "--samples-per-class", "0"): "`samples-per-class` must be an integer",
        (NAME, "--plot", "a.bmp"): "`path` must end in",
        (NAME, "--class", "Bag"): "`--plot` or `--html` must be given",
        (NAME, "--html", "a.pdf"): "`path` must end in",
        (NAME, "--html", tmp_path / "absent" / "a.html"): "folder that can be written to",
        (
            NAME,
            garments,
            "--html",
            tmp_path / "a.html",
            "--block",
            "SE_4_4",
        ): "Did you mean 'SE_4_3'",
        (NAME, garments / "..", "--html", tmp_path / "a.html"): "every folder must be a class",
        (NAME, garments, "--plot", tmp_path / "a.png", "--class", "Bog"): "Did you mean 'Bag'?",
        (NAME, garments, "--save", tmp_path / "absent" / "a.npz"): "cannot be written",
        ("se_resnet50.osmr_imagenet",): "must be a folder of pictures",
    }.items():
        assert_mistake(run("excitations", *arguments), expected)
    assert not list(tmp_path.glob("a.*"))
