"""What the tests of the command line share; the fixture `run` is in `conftest.py`."""

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]


def assert_mistake(result: tuple[int, str, str], *words: object, printed: bool = False) -> None:
    """A user's mistake: exit code 2 and one line on stderr; `printed`: after a report."""
    code, out, err = result
    assert code == 2
    assert bool(out) == printed
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1
    assert err.startswith("keras-se: error: ")
    assert "Traceback" not in err
    for word in words:
        assert str(word) in err
