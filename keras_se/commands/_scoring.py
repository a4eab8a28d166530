"""`keras-se predict --out`: the command's side of `keras_se.scoring`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from keras_se.commands._output import print_json


def is_table(out: Path, images: tuple[str, ...]) -> bool:
    """Whether `--out` is a table, not a folder for masks, which are of files only."""
    return bool(out.suffix and not out.is_dir()) or any(map(os.path.isdir, images))


def score_files(
    images: tuple[str, ...], weights: str, out: Path, features: bool, strict: bool,
    batch_size: int, shard: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Score pictures into a table, with a bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from keras_se.scoring.shards import Shard
    from keras_se.scoring.tables import table_format

    # Before Keras is imported.
    table_format(out)
    part = None if shard is None else Shard.parse(shard)
    from keras_se.scoring.run import score_pictures

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), console=console, disable=not console.is_terminal, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("pictures", total=None)
        scored = score_pictures(
            weights, images, out, features=features, strict=strict, batch_size=batch_size,
            shard=part, report=lambda line: click.echo(line, err=True),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    speed = scored.new / scored.seconds if scored.new else 0.0
    if as_json:
        print_json({
            "path": str(scored.path), "pictures": scored.pictures, "with_errors": scored.bad,
            "new": scored.new, "pictures_per_second": speed,
        })  # fmt: skip
        return
    line = f"{click.format_filename(scored.path)}: {scored.pictures:,} picture"
    line += "" if scored.pictures == 1 else "s"
    line += f", {scored.bad:,} with errors" if scored.bad else ""
    click.echo(line + (f"; {speed:,.0f} pictures/s" if scored.new else "; complete before"))
