"""The README is true: its table, its commands, its five lines."""

import re
import tomllib
from configparser import ConfigParser

import pages
import pytest
import tables
from places import ROOT

import keras_se

TEXT = tables.README.read_text("utf-8")


@pytest.mark.docs
@pytest.mark.parametrize("path", tables.TABLES, ids=lambda path: path.name)
def test_tables_are_those_of_the_code(path):
    assert tables.parts(path.read_text("utf-8"))[1] == tables.TABLES[path]()


def test_continuous_integration_runs_the_test_command():
    commands = [code.strip() for language, code in pages.blocks(TEXT) if language == "bash"]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert len(commands) == 2
    assert commands[1] in script.splitlines()


def test_five_lines(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert [language for language, _ in pages.blocks(TEXT)].count("python") == 1
    assert "[[('9', 'Ankle_boot', 0.9" in pages.execute(TEXT)


def test_inline_calls():
    calls = re.findall(r"`(keras_se\.SE\w+\(.*?\))`", TEXT)
    assert len(calls) == 1
    for call in calls:
        eval(call, {"keras_se": keras_se})


def test_links_lead_to_files():
    for target in re.findall(r"\]\((?!http)(.*?)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_versions_and_tools_are_stated_once():
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    with open(ROOT / "pyproject.toml", "rb") as file:
        assert set(tomllib.load(file)) == {"build-system", "tool"}
    assert setup["metadata"]["version"] == "attr: keras_se.__version__"
    assert f"Python {setup['options']['python_requires'].strip('>=')}" in TEXT
