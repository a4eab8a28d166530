"""Which cases of a test the default suite runs."""

import pytest


def marked(names, quick):
    """All names as parameters; those that are not `quick` are left to `tox -e networks`."""
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.networks) for name in names
    ]
