"""Output of the commands: tables, JSON, figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_table(rows: Sequence[Sequence[Any]], columns: Sequence[str] = ()) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, show_header=bool(columns))
    for row in rows:
        table.add_row(*map(str, row))
    # A pipe has no width, so do not truncate. Names may look like Rich's markup or emoji codes.
    width = None if Console().is_terminal else 500
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)


def print_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # File names may not be UTF-8; JSON must be.
    click.echo(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def print_report(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        print_table([(key, figure(value)) for key, value in report.items()])


def fail(message: str) -> NoReturn:
    """End with one line and exit code 1: the command worked, but something it checked is wrong."""
    click.echo(f"keras-se: error: {' '.join(message.split())}", err=True)
    sys.exit(1)


def figure(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def flat(report: dict[str, Any], digits: int | None = None) -> list[tuple[str, str]]:
    """The rows of a report; figures in mappings have four digits, `None` is empty."""
    rows: list[tuple[str, str]] = []
    for key, value in report.items():
        if isinstance(value, dict):
            rows += [(f"{key} {name}", text) for name, text in flat(value, 4)]
        elif digits is None:
            rows.append((key, figure(value)))
        else:
            rows.append((key, "" if value is None else f"{value:.{digits}f}"))
    return rows
