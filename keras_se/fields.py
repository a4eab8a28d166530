"""Dataclass fields that carry their checks.

A field's check is in its metadata: `dropout: float = checked(SHARE, 0.0)`, or, without such a
default, `blocks: tuple[int, ...] = field(metadata={CHECK: INTEGERS})`. The dataclass calls
`check_fields(self)` in `__post_init__`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from keras_se.checks import Check, number, positive_integer, tuple_of

T = TypeVar("T")
# The key of the check in a field's metadata.
CHECK = "check"

INTEGERS = tuple_of(positive_integer, "a tuple of integers of at least 1", least=1)
SHARE = number("from 0 to less than 1", lambda value: 0 <= value < 1)
FRACTION = number("between 0 and 1", lambda value: 0 < value < 1)


def checked(check: Check[Any], default: T) -> T:
    """A field with a default value, checked by `check`."""
    return dataclasses.field(default=default, metadata={CHECK: check})


def check_fields(instance: Any) -> None:
    """Check all fields of a dataclass instance, and keep their values as the checks store them."""
    for field in dataclasses.fields(instance):
        value = field.metadata[CHECK](field.name, getattr(instance, field.name))
        object.__setattr__(instance, field.name, value)
