"""The page that sets the paper's figures beside ours is in step with the networks."""

import importlib.util
import re

import pytest
from places import ROOT

from keras_se import SEConfig

SCRIPT = ROOT / "benchmarks" / "complexity.py"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("complexity", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(script):
    """The lines of each section."""
    parts = script.PAGE.read_text("utf-8").split("\n## ")
    assert parts[0] == script.HEAD
    return {title: lines for title, _, *lines in (part.splitlines() for part in parts[1:])}


def rows(script, lines):
    """The rows of a table of the page."""
    cells = [re.fullmatch(r"\| (.*) \|", line)[1].split(" | ") for line in lines[2:]]
    return [
        script.Row(network, paper, figure, ours, exact, remark.strip())
        for network, figure, paper, ours, exact, remark in cells
    ]


def test_every_difference_is_explained(script, page):
    for lines in page.values():
        for row in rows(script, lines):
            assert row.explained, row


def test_every_figure_is_on_the_page(script, page, monkeypatch):
    """The paper's figures; for ours a small network stands in."""
    small = script.counted("SEResNet20", SEConfig())
    monkeypatch.setattr(script, "counted", lambda builder, se: small)
    assert list(page) == list(script.SECTIONS)
    for title, section in script.SECTIONS.items():
        expected = [(row.network, row.figure, row.paper) for row in section()]
        assert [(r.network, r.figure, r.paper) for r in rows(script, page[title])] == expected


@pytest.mark.parametrize(
    "title", ["Table 3: mobile networks", "Table 15: SE after the 3x3 convolution"]
)
def test_table(script, page, title):
    assert page[title] == script.table(script.SECTIONS[title]())


def test_equation_5(script, page):
    table = script.table(script.equation_5([50]))
    assert page["Equation 5: weights of SE"][: len(table)] == table
