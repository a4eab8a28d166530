"""SIGTERM and SIGINT: the first is noted, a second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NUMBERS = (signal.SIGTERM, signal.SIGINT)
# Seconds within which a repeated signal counts as the first: `timeout` signals both a process and
# its group.
AGAIN = 0.5


@contextmanager
def noted(note: Callable[[int], None]) -> Iterator[None]:
    """Call `note` with the first signal.

    A second one ends the process with exit code 128 plus its number, even if the main thread is
    blocked. Outside the main thread, where Python allows no handlers, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, _: Any) -> None:
        note(number)

    # The handler runs only once the main thread runs Python again; the wakeup pipe reaches another
    # thread at once.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watcher = threading.Thread(target=_watch, args=(reading,), daemon=True)
    watcher.start()
    other = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, handler) for number in NUMBERS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
        signal.set_wakeup_fd(other)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _watch(reading: int) -> None:
    first = None
    while received := os.read(reading, 1):
        if received[0] not in NUMBERS:
            continue
        now = time.monotonic()
        first = now if first is None else first
        if now - first > AGAIN:
            os._exit(128 + received[0])
