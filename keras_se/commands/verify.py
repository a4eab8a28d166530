"""`keras-se verify`: check the hashes of the cache."""

from __future__ import annotations

import click

from keras_se.commands._output import as_json, print_json, print_table


@click.command()
@as_json
def verify(as_json: bool) -> None:
    """Check the hash of every file in the cache; exit code 2 if one is damaged."""
    from keras_se.weights.cache import home, verify

    report = [{"path": str(path), "error": error} for path, error in verify()]
    if as_json:
        print_json(report)
    else:
        print_table([(row["error"] or "sound", row["path"]) for row in report])
    damaged = sum(row["error"] is not None for row in report)
    if damaged:
        raise ValueError(f"{damaged} of {len(report)} files in {home()} are damaged; delete them")
