"""The report of the excitations: one HTML page."""

import base64
import io
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from excitation_networks import STREAMED, network, pictures, small, texts
from PIL import Image

import keras_se
from keras_se import Excitations, excitations
from keras_se.analysis.extremes import KEPT
from keras_se.analysis.figure import STYLES
from keras_se.analysis.gates import Gates
from keras_se.analysis.report import SUFFIXES, compose

MOST_BYTES = 5e6


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


def test_heat_maps_are_those_of_grad_cam(found, model):
    """Each picture is found again among the given ones by its bits."""
    x, labels = pictures(70)
    x = x[labels < 6]
    expected = np.round(255 * keras_se.grad_cam(model, x))
    height, width = x.shape[1:3]
    # They lie on a square.
    thumbnails, maps = (
        array[:, :height, :width] for array in (found.extremes.thumbnails, found.extremes.maps)
    )
    for shown, heat in zip(thumbnails, maps, strict=True):
        (place,) = np.flatnonzero((x == shown).all((1, 2, 3)))
        np.testing.assert_allclose(heat, expected[place], rtol=0, atol=1, err_msg=str(place))


def test_page_shows_heat_maps(page, found):
    times = sum(len(order) for order in found.extremes.order.values())
    assert page.count("The same picture with its heat map") == times
    assert "where the network looks" in page


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
        "extremes/maps": arrays["extremes/maps"][:, 1:],
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
    found = excitations(model, x.astype("float32"), [0, 1])
    assert found.extremes.maps is None
    found = replace(found, extremes=None)
    found.report(tmp_path / "page.html", model, channels=3)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "The costs are unknown." in page
    assert "Undetermined" in page
    assert "Most excited" not in page
    Page(page)


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
    "more blocks": (
        {"model": lambda: network(variant={})},
        "a block that was not measured, 'stage",
    ),
    "no blocks": ({"model": lambda: network(se=None)}, "the one that was measured"),
    "another shape": ({"input_shape": (32, 32, 5)}, "`input_shape` must fit"),
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
