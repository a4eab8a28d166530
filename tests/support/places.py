"""Where the files are that tests and their helpers read, in a checkout."""

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
DOCS, EXAMPLES, PRETRAINED = ROOT / "docs", ROOT / "examples", ROOT / "pretrained"
# Pictures and what a set of weights answers for them.
DATA = TESTS / "data"
# Lists of the networks' variables.
GOLDEN = TESTS / "golden"
# What the publishers' own packages compute.
PUBLISHED = TESTS / "published"
