"""Checks of arguments, and the wording of their errors."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any


def unknown_choice(what: str, received: Any, choices: Iterable[Any], more: str = "") -> str:
    """One line: what was expected, what was received, and the nearest valid name.

    Args:
        what: The argument's name.
        received: Its value.
        choices: The valid values.
        more: A valid value that cannot be listed, in words.
    """
    choices = list(choices)
    names = [choice for choice in choices if isinstance(choice, str)]
    near = difflib.get_close_matches(str(received), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join([*map(repr, choices), *([more] if more else [])]) or "nothing"
    return f"`{what}` must be one of: {listed}. Received: {what}={received!r}.{hint}"


def positive_integer(name: str, value: Any) -> int:
    """`value` as an int of at least 1, or a `ValueError` that names the argument."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}")
    return number


def boolean(name: str, value: Any) -> bool:
    """`value`, or a `ValueError` that names the argument unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return value
