"""The tests lie as the package does."""

import re

from places import ROOT, TESTS

# Beside those of the package: what has no folder there, the documents, environments of their own.
FOLDERS = {"documentation", "hub", "package", "parity"}


def test_folders_are_those_of_the_package():
    rooms = {path.parent.name for path in (ROOT / "keras_se").glob("*/__init__.py")}
    assert {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")} <= (
        rooms | FOLDERS
    )


def test_no_file_imports_a_test():
    for path in TESTS.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) test_", path.read_text("utf-8"), re.M), path
