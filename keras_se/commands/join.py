"""`keras-se join`: one table of the shards of `predict --shard`."""

from __future__ import annotations

from pathlib import Path

import click

from keras_se.commands._output import as_json, print_json


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("shards", nargs=-1, required=True, metavar="SHARD...",
                type=click.Path(path_type=Path))  # fmt: skip
@as_json
def join(out: Path, shards: tuple[Path, ...], as_json: bool) -> None:
    """Join all SHARDs of a `predict --out OUT --shard K/N` to OUT, .csv or .parquet.

    It checks that the shards are complete, of one run, and have every file once.
    """
    from keras_se.scoring.shards import join

    rows = join(out, shards)
    if as_json:
        print_json({"path": str(out), "pictures": rows, "shards": len(shards)})
    else:
        click.echo(f"{click.format_filename(out)}: {rows:,} pictures of {len(shards)} shards")
