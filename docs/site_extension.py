"""What the pages need besides Sphinx: links from docstrings, and the recipes."""

from __future__ import annotations

import importlib
import re
from typing import Any

import keras
from docutils import nodes
from sphinx import addnodes
from sphinx.util import inspect
from sphinx.util.docutils import SphinxDirective, SphinxRole

import keras_se
from keras_se.recipes import get_recipe, recipe_names

NAMES = {
    *(f"keras_se.{name}" for name in keras_se.__all__),
    *(f"keras_se.layers.{name}" for name in keras_se.layers.__all__),
    *(f"keras_se.models.{name}" for name in keras_se.models.__all__),
} - {"keras_se.layers", "keras_se.models"}


class Public(SphinxRole):
    """Code; a public name of this package is a link to its page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        code = nodes.literal(self.rawtext, self.text)
        prefixed = self.text if self.text.startswith("keras_se.") else f"keras_se.{self.text}"
        # In their one home: the networks are in `keras_se.models`, too.
        target = re.sub(
            r"^keras_se\.(layers|models)\.(SE\w+|SqueezeExcite)$", r"keras_se.\2", prefixed
        )
        if target not in NAMES:
            return [code], []
        place = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refwarn": True}
        return [addnodes.pending_xref("", code, refdoc=self.env.docname, **place)], []


class RecipeTable(SphinxDirective):
    """A row for each recipe, with a link to its section."""

    def run(self) -> list[nodes.Node]:
        rows = ["| recipe | network | data | epochs | batch |", "| --- | --- | --- | ---: | ---: |"]
        for name in recipe_names():
            recipe = get_recipe(name)
            cells = f"`{recipe.model}` | `{recipe.data}` | {recipe.epochs} | {recipe.batch}"
            rows.append(f"| [`{name}`](#{name}) | {cells} |")
        return self.parse_text_to_nodes("\n".join(rows))


class RecipeSections(SphinxDirective):
    """A section for each recipe: the docstring of its module."""

    def run(self) -> list[nodes.Node]:
        text = []
        for name in recipe_names():
            module = importlib.import_module(f"keras_se.recipes.{name}")
            self.env.note_dependency(str(module.__file__))
            text += [f"### `{name}`", _markdown(str(module.__doc__))]
        return self.parse_text_to_nodes("\n\n".join(text), allow_section_headings=True)


def _markdown(text: str) -> str:
    """A docstring whose commands, which are indented, are fenced; the first line in bold."""
    title, _, rest = text.partition("\n")

    def fenced(match: re.Match[str]) -> str:
        return f"```sh\n{re.sub('^ {4}', '', match[0], flags=re.MULTILINE)}```\n"

    return f"**{title}**\n" + re.sub(r"(?:^ {4}.*\n)+", fenced, rest, flags=re.MULTILINE)


def _signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: Any
) -> tuple[str | None, Any]:
    """The arguments of a Keras layer's own `__init__`; `SEConfig()` where that is the default."""
    if what == "class" and issubclass(obj, keras.Layer):
        own = inspect.signature(obj.__init__, bound_method=True)
        signature = inspect.stringify_signature(own, show_return_annotation=False)
    return signature and signature.replace(repr(keras_se.SEConfig()), "SEConfig()"), returned


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_role("public", Public())
    app.connect("autodoc-process-signature", _signature)
    app.add_directive("recipe-table", RecipeTable)
    app.add_directive("recipe-sections", RecipeSections)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
