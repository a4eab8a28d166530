"""The documentation is true: its code runs, its commands exist, no public name is missing."""

import importlib
import re
from pathlib import Path

import fashion_mnist_files
import pages
import pytest
from places import DOCS, EXAMPLES, ROOT

import keras_se
from keras_se.cli import cli
from keras_se.data import datasets
from keras_se.recipes import get_recipe, recipe_names

# Longer than a few seconds.
SLOW = {
    "analysis.md", "command_line.md", "finetuning.md", "layer.md", "networks.md", "own_networks.md",
    "segmentation.md", "training.md", "volumes.md",
}  # fmt: skip
# Run by `test_serving_page`, each block in a process of its own.
ELSEWHERE = {"serving.md"}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder with `examples`, a small Fashion-MNIST, an empty cache, no connection."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    # Three batches, beside what the recipe holds out.
    monkeypatch.setitem(fashion_mnist_files.COUNTS, "train", 5000 + 3 * 128)
    folder = fashion_mnist_files.write(tmp_path / "fashion-mnist")
    monkeypatch.setattr(datasets, "DEBIAN", folder)
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_SE_OFFLINE", "1")


def parameters(paths):
    for path in paths:
        name = path.relative_to(DOCS).as_posix()
        text = path.read_text("utf-8")
        if name in ELSEWHERE:
            continue
        if any(language in ("python", "bash") for language, _ in pages.blocks(text)):
            marks = [pytest.mark.docs] if name in SLOW else []
            yield pytest.param(text, id=name, marks=marks)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("text", list(parameters(pages.PAGES)))
def test_code_runs_and_prints_what_it_says(text, run):
    pages.execute(text, run)


def shown():
    """The commands that are only shown, on the pages and in the recipes."""
    for path in pages.PAGES:
        for language, code in pages.blocks(path.read_text("utf-8")):
            if language == "sh":
                yield from (words for words in pages.commands(code) if words[0] == "keras-se")
    for name in recipe_names():
        text = importlib.import_module(f"keras_se.recipes.{name}").__doc__
        yield from pages.commands("\n".join(re.findall(r"^ {4}.*$", text, re.MULTILINE)))


@pytest.mark.parametrize("words", list(shown()), ids=" ".join)
def test_commands_that_are_only_shown_exist(words):
    name, arguments = words[1], words[2:]
    with cli.make_context("keras-se", [name, *arguments]) as context:
        command = cli.get_command(context, name)
        values = command.make_context(name, list(arguments), parent=context).params
    if name == "train":
        get_recipe(values["recipe"]).changed(values["settings"])


def test_every_public_name_has_a_page():
    text = (DOCS / "api" / "index.md").read_text("utf-8")
    listed = re.findall(r"^   ([A-Za-z]\S*)$", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    public = set(keras_se.__all__) - {"layers", "models"}
    public |= {f"layers.{name}" for name in set(keras_se.layers.__all__) - public}
    public |= {f"models.{name}" for name in set(keras_se.models.__all__) - public}
    assert public - set(listed) == set()


def test_every_variable_of_the_environment_is_listed():
    sources = "".join(p.read_text("utf-8") for p in Path(keras_se.__file__).parent.rglob("*.py"))
    text = (DOCS / "environment.md").read_text("utf-8")
    found = set(re.findall(r"KERAS_SE_[A-Z]+", sources))
    assert len(found) >= 3
    for name in found:
        assert f"| `{name}` |" in text


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("0.6\n", "0.5799\n", True),
        ("0.6\n", "0.4\n", False),
        ("a ... c\n", "a b c\n", True),
        ("3 0.58\n", "4 0.58\n", False),
        ("1.5 2.5\n", "1.5\n", False),
    ],
)
def test_what_is_printed_is_compared(expected, printed, same):
    assert pages.prints(expected, printed) is same


def test_a_page_that_is_not_true_fails(run):
    with pytest.raises(AssertionError, match="printed"):
        pages.execute("```python\nprint(1)\n```\n\n```text\n2\n```\n", run)
    with pytest.raises(AssertionError, match="No such command"):
        pages.execute("```bash\nkeras-se nonsense\n```\n", run)


@pytest.mark.parametrize("folder", ["benchmarks", "pretrained"])
def test_what_was_measured_has_a_page(folder):
    included = "".join(page.read_text("utf-8") for page in pages.PAGES)
    for path in (ROOT / folder).glob("*.md"):
        # The list of what is in the folder.
        if path.name != "README.md":
            assert f"```{{include}} ../../{folder}/{path.name}\n" in included
