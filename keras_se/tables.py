"""Tables as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence


def as_text(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int | None = None) -> str:
    """A table without truncation or wrapping; columns after the first `words` hold numbers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns[words:] if words is not None else ():
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    # In a notebook Rich would display it and write nothing; with FORCE_COLOR, write colour codes.
    console = Console(
        file=text, width=1000, highlight=False, markup=False, emoji=False,
        force_jupyter=False, force_terminal=False,
    )  # fmt: skip
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
