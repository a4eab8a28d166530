"""Rich tables as text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def as_text(table: Table) -> str:
    """The lines of a table, without truncation or wrapping."""
    from rich.console import Console

    text = io.StringIO()
    # In a notebook Rich would display it and write nothing; with FORCE_COLOR, write colour codes.
    console = Console(
        file=text, width=1000, highlight=False, markup=False,
        force_jupyter=False, force_terminal=False,
    )  # fmt: skip
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
