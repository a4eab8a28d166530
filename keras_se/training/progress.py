"""Progress bar of a run, with pictures per second and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """A bar on stderr if it is a terminal; lines on stdout or another stream."""

    def __init__(self, lines: TextIO) -> None:
        self.lines = lines
        console = Console(stderr=True)
        self.bars = Bars(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[speed]} pictures/s"), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self.task = self.bars.add_task("", total=None, epoch="", speed="")
        self.began: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.bars.stop()

    def report(self, line: str) -> None:
        """Print a line above the bar."""
        print(line, file=self.lines, flush=True)

    def step(self, run: Any, epoch: int, step: int) -> None:
        """Advance the bar to a step."""
        epochs = run.recipe.epochs
        done, now = epoch * run.steps + step, time.monotonic()
        if self.began is None:
            self.began = now, done
        began, at = self.began
        speed = (done - at) * run.recipe.batch / (now - began) if done > at else 0.0
        self.bars.update(
            self.task,
            completed=done,
            total=epochs * run.steps,
            epoch=f"{epoch + 1}/{epochs}",
            speed=f"{speed:,.0f}",
        )
