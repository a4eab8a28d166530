"""The wording of errors that several modules share."""

from __future__ import annotations

import difflib
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
