"""How Sphinx builds the documentation: `tox -e docs`."""

import shutil
import sys
from pathlib import Path

import keras_se

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

project = "keras-se"
author = "the keras-se developers"
project_copyright = "the keras-se developers, Apache-2.0"
version = release = keras_se.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "site_extension",
]
exclude_patterns = ["**.ipynb_checkpoints"]
templates_path = ["_templates"]

# The notebooks of examples/, put where Sphinx finds them; they are shown as they were executed.
nb_execution_mode = "off"
for notebook in (DOCS.parent / "examples").glob("0*.ipynb"):
    shutil.copy(notebook, DOCS / "examples")

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# `text` in a docstring is code, and a link where it is a public name.
default_role = "public"
autosummary_ignore_module_all = False
# Of Keras, say of `get_config`.
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
# Types of other packages, which have no page here.
nitpick_ignore_regex = [("py:.*", r"(?!keras_se\b).*")]

html_theme = "pydata_sphinx_theme"
html_title = "keras-se"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_sidebars = {"command_line": []}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "keras-se"},
    "navigation_depth": 2,
    "show_toc_level": 2,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
    # Wide tables have the room of the list of headings.
    "secondary_sidebar_items": {
        "**": ["page-toc"],
        "networks": [],
        "pretrained/weights": [],
    },
    "footer_start": ["copyright"],
    "footer_end": [],
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
