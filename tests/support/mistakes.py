"""What messages of errors must have."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def one_line(call: Callable[[], object], argument: str, received: object) -> str:
    """The message of the error that `call` raises, after what every message must have."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert f"`{argument}`" in message or f"{argument}=" in message
    assert "Received" in message
    assert str(received) in message.split("Received")[1]
    return message


def refused(call: Callable[[], object], *words: object) -> str:
    """The message of the error that `call` raises: one line that has these words."""
    with pytest.raises((ValueError, OSError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message
    return message
