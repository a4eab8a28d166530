"""Argument checks and their error messages."""

from __future__ import annotations

import difflib
import numbers
import operator
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Longest list of choices to show in full, in characters, and names to show of a longer one.
LONGEST, NEAREST = 160, 3
# Longest text of another program that is shown, in characters.
READABLE = 200
# Suffixes of network files, and how to read them.
READERS = {
    ".safetensors": "keras_se.load_checkpoint reads it",
    ".pth": "keras_se.load_checkpoint reads it",
    ".pdparams": "keras_se.load_checkpoint reads it",
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
    """A one-line error for the argument `what`, with the valid names and the nearest.

    Of a long list it shows only the nearest three; `more` describes values that cannot be listed.
    """
    choices = list(choices)
    names = [choice for choice in choices if isinstance(choice, str)]
    near = difflib.get_close_matches(str(received), names, n=NEAREST, cutoff=0.4)
    close = difflib.get_close_matches(str(received), names, n=1)
    listed = ", ".join([*map(repr, choices), *([more] if more else [])]) or "nothing"
    if len(listed) > LONGEST:
        nearest = near or names[:NEAREST]
        others = f", or {more}" if more else ""
        return (
            f"`{what}` must be a known name, such as the nearest of {len(choices)}: "
            f"{', '.join(map(repr, nearest))}{others}. Received: {what}={shown(received)}."
            + (f" Did you mean {close[0]!r}?" if close and len(choices) > NEAREST else "")
        )
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"`{what}` must be one of: {listed}. Received: {what}={shown(received)}.{hint}"


def shown(value: Any) -> str:
    """A value as an error shows it; a long one is cut."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= LONGEST // 2 else f"{text[: LONGEST // 2]}..."


def shortened(value: object, longest: int) -> str:
    """A value as text of at most so many characters; the end of a longer one is cut."""
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def readable(text: object, longest: int = READABLE) -> str:
    """A text as one short line without control characters and passwords in addresses."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return re.sub(r"(?<=//)[^/@ ]*@", "***@", line)[:longest]


@dataclass(frozen=True)
class Check(Generic[T]):
    """A condition on an argument; a call checks a value.

    Attributes:
        words: The accepted values, as they follow "must be" in the error.
        accepts: Whether a value is accepted.
        stored: The form in which an accepted value is kept. Defaults to the value itself.
        choices: Returns the accepted names, for an error that names the nearest. Defaults to
            `None`: they cannot be listed.
    """

    words: str
    accepts: Callable[[Any], bool]
    stored: Callable[[Any], T] = lambda value: value
    choices: Callable[[], Iterable[Any]] | None = None

    def __call__(self, name: str, value: Any) -> T:
        """`value` as it is kept, or a `ValueError` that names the argument."""
        if self.accepts(value):
            return self.stored(value)
        if self.choices is not None:
            raise ValueError(unknown_choice(name, value, self.choices()))
        raise ValueError(f"`{name}` must be {self.words}. Received: {name}={shown(value)}")


def integer(least: int) -> Check[int]:
    """An integer of at least `least`, kept as an int."""

    def accepts(value: Any) -> bool:
        try:
            return not isinstance(value, bool) and operator.index(value) >= least
        except TypeError:
            return False

    return Check(f"an integer of at least {least}", accepts, operator.index)


def number(words: str, inside: Callable[[Any], bool]) -> Check[float]:
    """A finite number for which `inside` holds, kept as a float; `words` follow "a number"."""

    def accepts(value: Any) -> bool:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return real and abs(value) <= sys.float_info.max and inside(value)

    return Check(f"a number {words}", accepts, float)


def one_of(*choices: str | None) -> Check[Any]:
    """One of these names, or `None` if it is among them."""
    return Check(
        f"one of: {', '.join(map(repr, choices))}",
        lambda value: isinstance(value, str | None) and value in choices,
        choices=lambda: choices,
    )


def tuple_of(check: Check[T], words: str, least: int = 0) -> Check[tuple[T, ...]]:
    """A list or tuple of at least `least` such values, kept as a tuple."""

    def accepts(value: Any) -> bool:
        several = isinstance(value, list | tuple) and len(value) >= least
        return several and all(map(check.accepts, value))

    return Check(words, accepts, lambda value: tuple(map(check.stored, value)))


def or_none(check: Check[T], none: str = "None") -> Check[T | None]:
    """Such a value or `None`, which the error calls `none`."""
    return Check(
        f"{none} or {check.words}",
        lambda value: value is None or check.accepts(value),
        lambda value: None if value is None else check.stored(value),
    )


positive_integer = integer(1)
boolean: Check[bool] = Check("True or False", lambda value: isinstance(value, bool))
