"""The report of the excitations: one HTML page, and what is gathered for it."""

import base64
import io
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import colour_vision
import keras
import numpy as np
import pytest
from excitation_networks import CLASSES, STREAMED, network, pictures, small, texts
from PIL import Image

import keras_se
from keras_se import Excitations, excitations
from keras_se.analysis.architecture import stages
from keras_se.analysis.extremes import KEPT, SIDE, Extremest
from keras_se.analysis.figure import STYLES
from keras_se.analysis.gates import Gates
from keras_se.analysis.report import SUFFIXES, compose
from keras_se.analysis.sentences import sentences
from keras_se.analysis.summary import BlockSummary

# The least difference of two colours that are told apart in thin lines; 2 is just seen in areas.
APART = 15
MOST_BYTES = 5e6


# The pictures


def test_extremes_of_any_batches_are_those_of_the_whole():
    random = np.random.default_rng(0)
    gates = {"a": random.random((200, 5)), "b": random.random((200, 3))}
    shown = random.integers(0, 256, (200, 7, 9, 3))
    labels = random.integers(-1, 4, 200)
    extremest = Extremest()
    for part in np.split(np.arange(200), [1, 4, 30, 31, 150]):
        extremest.add(
            {name: array[part] for name, array in gates.items()}, shown[part], labels[part]
        )
    found = extremest.found()
    assert found.thumbnails.shape[1:] == (9, 9, 3)
    assert len(found.thumbnails) <= 2 * 2 * KEPT
    for name, array in gates.items():
        scores = np.where(labels < 0, np.nan, array.mean(1))
        falling = np.argsort(-scores)[: (labels >= 0).sum()]
        expected = np.concatenate([falling[:KEPT], falling[-KEPT:]])
        np.testing.assert_allclose(found.gates[name], scores[expected], rtol=1e-12)
        own = found.order[name]
        np.testing.assert_array_equal(found.labels[own], labels[expected])
        # On a white square.
        np.testing.assert_array_equal(found.thumbnails[own][:, 1:-1], shown[expected])
        assert (found.thumbnails[own][:, [0, -1]] == 255).all()


def test_extremes_of_a_few_pictures_are_each_there_once():
    extremest = Extremest()
    scores = np.array([[0.2], [0.9], [0.5]])
    extremest.add({"a": scores}, np.zeros((3, 4, 4, 1)), np.arange(3))
    found = extremest.found()
    assert found.labels[found.order["a"]].tolist() == [1, 2, 0]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [((0, 51, 255), (0, 51, 255)), ((0, 0.2, 1), (0, 51, 255)), ((-2, -1.2, 2), (0, 51, 255))],
)
def test_thumbnails_are_what_people_see(values, expected, data_format):
    """Of pictures in 0..255, in 0..1, and around zero."""
    keras.config.set_image_data_format(data_format)
    picture = np.array(values).repeat(4).reshape(1, 3, 4, 1)
    try:
        extremest = Extremest()
        given = np.moveaxis(picture, -1, 1) if data_format == "channels_first" else picture
        extremest.add({"a": np.ones((1, 1))}, given, np.zeros(1, int))
    finally:
        keras.config.set_image_data_format("channels_last")
    rows = extremest.found().thumbnails[0, :3, 0, 0]
    np.testing.assert_array_equal(rows, expected)


def test_large_pictures_and_none():
    extremest = Extremest()
    extremest.add({"a": np.ones((1, 1))}, np.zeros((1, 5, 8)), np.zeros(1, int))
    extremest.add({"a": np.ones((1, 1))}, {"one": np.zeros((1, 5, 8, 3))}, np.zeros(1, int))
    extremest.add({"a": np.ones((1, 1))}, np.zeros((1, 5, 8, 4)), np.zeros(1, int))
    assert extremest.found() is None
    extremest.add({"a": np.ones((1, 1))}, np.zeros((1, 301, 200, 3)), np.zeros(1, int))
    assert extremest.found().thumbnails.shape == (1, SIDE, SIDE, 3)


# A page


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def found(model):
    names = ["<b>bold</b>", "a & b", '"quoted"', "pug", "x" * 50, "plane", "empty"]
    x, labels = pictures(70)
    with pytest.warns(UserWarning, match="no pictures.*: empty"):
        return excitations(model, x[labels < 6], labels[labels < 6], class_names=names)


@pytest.fixture(scope="module")
def page(found, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    found.report(folder / "page.html", model, ["pug", 0], title="<i>mine</i>")
    assert [path.name for path in folder.iterdir()] == ["page.html"]
    return (folder / "page.html").read_text("utf-8")


class Page(HTMLParser):
    """The elements of a page, each closed where it was opened."""

    EMPTY = ("meta", "link", "img")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_extremes_are_those_of_the_network(found, model):
    x, labels = pictures(70)
    x, labels = x[labels < 6], labels[labels < 6]
    for name, gates in Gates(model)(x).items():
        scores = np.sort(gates.mean(1))[::-1]
        expected = np.concatenate([scores[:KEPT], scores[-KEPT:]])
        np.testing.assert_allclose(found.extremes.gates[name], expected, rtol=0, atol=STREAMED)


def test_page_stands_alone(page):
    assert len(page.encode()) < MOST_BYTES
    document = Page(page)
    addresses = [
        attributes[key]
        for _, attributes in document.elements
        for key in ("src", "href", "srcset", "action", "data")
        if key in attributes
    ]
    assert len(addresses) > 20
    assert {re.match("data:|#", address)[0] for address in addresses} == {"data:", "#"}
    assert not re.search(r"@import|url\(|<script", page)
    (policy,) = [m["content"] for m in document.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'")
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in document.all("a")} <= set(ids)


def test_page_is_accessible(page):
    document = Page(page)
    assert document.all("html") == [{"lang": "en"}]
    assert all("alt" in image for image in document.all("img"))
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in header for header in document.all("th"))
    assert len(document.all("caption")) == len(document.all("table")) == 3
    assert "width=device-width" in str(document.all("meta"))


def test_names_are_text(page):
    for name in ("<i>mine</i>", "<b>bold</b>", "a & b", 'of "quoted"'):
        assert name not in page
    for name in ("&lt;i&gt;mine&lt;/i&gt;", "&lt;b&gt;bold&lt;/b&gt;", "a &amp; b"):
        assert name in page


def test_page_has_what_was_measured(page, found, model):
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page))
    counted = keras_se.cost(model)
    assert f"{counted.params_total:,}" in text
    assert f"{100 * counted.se_params / counted.params_total:.2f} %" in text
    assert f"{counted.macs:,}" in text
    for row in found.summary().blocks:
        figures = f"{row.label} {row.channels} {row.mean:.3f} {100 * row.high:.1f} %"
        assert figures in text
        ratio = "\N{EN DASH}" if row.ratio is None else f"{row.ratio:.2f}"
        assert f"{row.between:.4f} {row.within:.4f} {ratio}" in text
    # Fig. 6 of three blocks, Fig. 7 of two classes.
    charts = [i["alt"] for i in Page(page).all("img") if i["alt"].startswith("Line chart")]
    assert len(charts) == 3 + 2 * 3
    assert sum("of pug over channels" in chart for chart in charts) == 3
    assert "Classes without pictures: empty" in text
    shown = [image for image in Page(page).all("img") if image["alt"].startswith("Picture of")]
    assert len(shown) == 3 * 2 * KEPT


def test_thumbnails_and_drawings_are_sound(page):
    """Small pictures are kept bit for bit."""
    kinds = set()
    for image in Page(page).all("img"):
        kind, data = re.fullmatch("data:image/(.*);base64,(.*)", image["src"]).groups()
        kinds.add(kind)
        data = base64.b64decode(data)
        if kind == "webp":
            with Image.open(io.BytesIO(data)) as opened:
                assert opened.size == (33, 33)
        else:
            assert b"<svg" in data
    assert kinds == {"webp", "svg+xml"}


def test_classes_have_one_colour(page):
    """The line of the legend is also the class's in the headings and beside its pictures."""
    document = Page(page)
    lines = [image["src"] for image in document.all("img") if image.get("class") == "line"]
    legend = lines[:3]
    assert len(set(legend)) == 3
    assert set(lines) == set(legend)
    for address, (colour, *_) in zip(legend[1:], STYLES, strict=False):
        drawing = base64.b64decode(address.partition(",")[2]).decode()
        assert colour.lower() in drawing.lower()


def test_no_labels_of_a_panel_overlap(found, model, monkeypatch):
    papers = []

    def keep(paper):
        papers.append(paper)
        return ""

    monkeypatch.setattr("keras_se.analysis.report._drawing", keep)
    compose(found, model, ["pug", 0], 50, None, None, None)
    # Lines of the legend, Fig. 6 of three blocks, Fig. 7 of two classes.
    assert len(papers) == 3 + 3 * (1 + 2)
    for paper in papers[3:]:
        boxes = texts(paper)
        assert len(boxes) >= 4
        for (text, box), (other, second) in itertools.combinations(boxes, 2):
            assert not box.overlaps(second), (text, other)


def test_same_figures_make_the_same_page(found, model, page, tmp_path):
    found.save(tmp_path / "found.npz")
    loaded = Excitations.load(tmp_path / "found.npz")
    loaded.report(tmp_path / "again.HTM", model, ["pug", 0], title="<i>mine</i>")
    assert (tmp_path / "again.HTM").read_text("utf-8") == page


def test_extremes_that_do_not_fit(found, tmp_path):
    path = tmp_path / "found.npz"
    found.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    for name, changed in {
        "extremes/order/0": np.full(3, 99),
        "extremes/gates/1": np.zeros(2),
        "extremes/thumbnails": np.zeros((3, 4, 4, 3)),
        "extremes/labels": arrays["extremes/labels"] + 7,
    }.items():
        np.savez(path, **arrays | {name: changed})
        with pytest.raises(ValueError, match="do not fit together"):
            Excitations.load(path)


def test_network_without_costs_stages_and_pictures(tmp_path):
    """A `call` of the user's own; two classes of which each has one picture."""

    class Mine(keras.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.inner = small(classes=None)

        def call(self, x):
            return self.inner(x)

    x, _ = pictures(2)
    model = Mine()
    model(x.astype("float32"))
    found = replace(excitations(model, x.astype("float32"), [0, 1]), extremes=None)
    found.report(tmp_path / "page.html", model, channels=3)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "The costs are not known." in page
    assert "Cannot be told" in page
    assert "Most excited" not in page
    Page(page)


# What is beside the figures


@pytest.mark.parametrize("name", ["SEResNet20", "SEVGG16", "own"])
def test_stages(name):
    if name == "own":
        model = keras_se.add_squeeze_excite(network(se=None))
        model = keras.Model(model.input, keras.layers.Softmax(name="last")(model.output))
    elif name == "SEVGG16":
        model = keras_se.SEVGG16(weights=None, input_shape=(32, 32, 3), include_top=False)
    else:
        model = keras_se.SEResNet20(weights=None)
    counted = keras_se.cost(model)
    found = stages(counted)
    for figure in ("params", "macs", "se_params", "se_macs"):
        expected = getattr(counted, "params_total" if figure == "params" else figure)
        assert expected == sum(getattr(stage.whole, figure) for stage in found)
        assert expected == sum(getattr(part, figure) for stage in found for part in stage.blocks)
    names = [stage.whole.name for stage in found]
    if name == "SEResNet20":
        assert names == ["stem", "stage 2", "stage 3", "stage 4", "predictions"]
        assert [part.name for part in found[1].blocks] == ["block 1", "block 2", "block 3"]
        assert found[2].whole.output_shape == (16, 16, 32)
        assert found[3].blocks[2].squeeze_excite == ("stage4_block3_se",)
    if name == "SEVGG16":
        assert found[0].blocks[1].name == "stage1_conv2 … stage1_se2"


def test_stages_of_layers_with_other_names():
    """Feature maps of one size; a block ends with its gates."""
    counted = keras_se.cost(small())
    found = stages(counted)
    names = [[part.name for part in stage.blocks] for stage in found]
    assert [part[-1].endswith(end) for part, end in zip(names, ("one", "two"), strict=False)]
    assert [stage.whole.output_shape for stage in found] == [(16, 15, 8), (7, 7, 8), (CLASSES,)]


def rows(*figures):
    """Blocks with such shares above 0.9 and ratios."""
    return [
        BlockSummary(f"SE_{n}", f"se{n}", 8, 0.5, high, 0.0, 0.1, 0.1, ratio)
        for n, (high, ratio) in enumerate(figures)
    ]


@pytest.mark.parametrize(
    ("figures", "stages", "expected"),
    [
        # As in the paper: 2, 2, 3, 3, 4, 4, 4.
        (
            [(0, 9), (0, 0.1), (0, 0), (0, 2), (0, 3), (0.8, 0), (0, 0)],
            [2, 2, 3, 3, 4, 4, 4],
            [True, True, True],
        ),
        (
            [(0, 0), (0, 1.5), (0, 9), (0, 0.5), (0, 3), (0.4, 9), (0.9, 9)],
            [2, 2, 3, 3, 4, 4, 4],
            [False, False, False],
        ),
        ([(0, 0.1), (0.6, 0), (0, 2)], [None, None, None], [True, True, True]),
        ([(0, None), (0, 1), (0, None)], [2, 3, 4], [None, None, False]),
        ([(0.9, 0.1)], [2], [True, None, None]),
    ],
)
def test_sentences(figures, stages, expected):
    assert [sentence.holds for sentence in sentences(rows(*figures), stages)] == expected


@pytest.mark.parametrize("vision", colour_vision.VISIONS)
def test_colours_are_told_apart(vision):
    """Those of the classes, of all classes, and the paper's white."""
    colours = [colour for colour, *_ in STYLES]
    for one, other in itertools.combinations([*colours, "#000000", "#ffffff"], 2):
        assert colour_vision.difference(one, other, vision) > APART, (one, other)


def test_colour_vision_is_that_of_the_literature():
    """A red and a green are alike without the cones of green; black and white never are."""
    for vision in colour_vision.VISIONS:
        assert colour_vision.difference("#000000", "#ffffff", vision) == pytest.approx(100, abs=1)
    assert colour_vision.difference("#b05050", "#508050") > 50
    assert colour_vision.difference("#b05050", "#6e6e00", "deuteranopia") < 30


# Mistakes

MISTAKES = {
    "another suffix": ({"path": "page.pdf"}, "`path` must end in"),
    "no folder": ({"path": "absent/page.html"}, "folder that can be written to"),
    "a folder": ({"path": "folder.html"}, "folder that can be written to"),
    "class": ({"classes": ["pig"]}, "Did you mean 'pug'?"),
    "without pictures": ({"classes": ["empty"]}, "`classes` must have pictures"),
    "channels": ({"channels": 0}, "`channels` must be an integer"),
    "block": ({"blocks": ["SE_2_2"]}, "Did you mean 'SE_"),
    "another model": ({"model": small}, "the one that was measured.*'stage2_block1_se'"),
    "no blocks": ({"model": lambda: network(se=None)}, "the one that was measured"),
    "another shape": ({"input_shape": (32, 32, 5)}, "`input_shape` must be"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name, found, model, tmp_path):
    changes, expected = MISTAKES[name]
    (tmp_path / "folder.html").mkdir()
    arguments = {"model": model, "classes": ["pug"]} | changes
    if callable(arguments["model"]) and not isinstance(arguments["model"], keras.Model):
        arguments["model"] = arguments["model"]()
    with pytest.raises(ValueError, match=expected) as caught:
        found.report(**{**arguments, "path": tmp_path / arguments.get("path", "page.html")})
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


def test_disk_is_full(found, model, tmp_path, monkeypatch):
    """Nothing is half-written, and what was there stays."""
    (tmp_path / "page.html").write_text("before")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match=r"page.html: cannot be written \(No space"):
        found.report(tmp_path / "page.html", model, ["pug"], blocks=["SE_2_1"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_library_is_missing(missing, found, model, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(ValueError, match=rf"needs {missing}: pip install 'keras-se\[report\]'"):
        found.report(tmp_path / f"page{SUFFIXES[0]}", model)
