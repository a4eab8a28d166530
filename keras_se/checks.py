"""Argument checks and their error messages."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any

# Longest list of choices to show in full, in characters, and names to show of a longer one.
LONGEST, NEAREST = 160, 3
# Suffixes of network files, and how to read them.
READERS = {
    ".safetensors": "keras_se.load_checkpoint reads it",
    ".pth": "keras_se.load_checkpoint reads it",
    ".pt": "keras_se.load_checkpoint reads it",
    ".bin": "keras_se.load_checkpoint reads it",
    ".caffemodel": "keras_se.load_checkpoint reads it",
    ".h5": "keras_se.load_checkpoint reads it",
    ".keras": "keras.models.load_model reads it, and keras_se.get_model",
    ".onnx": "it runs in onnxruntime",
    ".tflite": "it runs in LiteRT",
    ".xml": "it runs in OpenVINO",
}


def reader_of(name: str) -> str | None:
    """How to read a network file of that name; `None` if the suffix is not known."""
    return next((use for suffix, use in READERS.items() if name.endswith(suffix)), None)


def unknown_choice(what: str, received: Any, choices: Iterable[Any], more: str = "") -> str:
    """A one-line error with the valid names and the nearest; of a long list only the nearest three.

    Args:
        what: The argument's name.
        received: Its value.
        choices: The valid values.
        more: Description of valid values that cannot be listed.
    """
    choices = list(choices)
    names = [choice for choice in choices if isinstance(choice, str)]
    near = difflib.get_close_matches(str(received), names, n=NEAREST, cutoff=0.4)
    close = difflib.get_close_matches(str(received), names, n=1)
    listed = ", ".join([*map(repr, choices), *([more] if more else [])]) or "nothing"
    shown = repr(received) if len(repr(received)) <= LONGEST // 2 else f"{repr(received)[:80]}..."
    if len(listed) > LONGEST:
        nearest = near or names[:NEAREST]
        others = f", or {more}" if more else ""
        return (
            f"`{what}` must be a known name, such as the nearest of {len(choices)}: "
            f"{', '.join(map(repr, nearest))}{others}. Received: {what}={shown}."
            + (f" Did you mean {close[0]!r}?" if close and len(choices) > NEAREST else "")
        )
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"`{what}` must be one of: {listed}. Received: {what}={shown}.{hint}"


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
    """`value` if it is True or False, else a `ValueError` that names the argument."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return value
