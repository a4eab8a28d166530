"""`keras-se verify`: check the hashes of the cache, or that sets of weights work."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from keras_se.commands._output import as_json, fail, print_json, print_table

# Default report with --download, which takes hours, so that a second call can resume it.
REPORT = Path("verified.csv")


@click.command()
@click.option("--all", "everything", is_flag=True,
              help="Check that sets in the cache and package convert and run.")  # fmt: skip
@click.option("--download", is_flag=True,
              help="With --all, also download each other set, and delete it again.")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="With --all, write a row per set there, and a page FILE.md; sets in it are "
              f"skipped. With --download it defaults to {REPORT}.")  # fmt: skip
@click.option("--again", is_flag=True, help="Begin the report anew.")
@as_json
def verify(
    everything: bool, download: bool, report: Path | None, again: bool, as_json: bool
) -> None:
    """Check the hash of every file in the cache; exit code 2 if one is damaged.

    With --all, check that sets work; exit code 1 if one does not.
    """
    if everything:
        _survey(download, report, again, as_json)
        return
    for name, given in (("download", download), ("report", report), ("again", again)):
        if given:
            raise ValueError(f"`{name}` needs --all. Received: --{name}")
    from keras_se.weights.cache import verify
    from keras_se.weights.locations import home

    files = [{"path": str(path), "error": error} for path, error in verify()]
    if as_json:
        print_json(files)
    else:
        print_table([(row["error"] or "sound", row["path"]) for row in files])
    damaged = sum(row["error"] is not None for row in files)
    if damaged:
        raise ValueError(f"{damaged} of {len(files)} files in {home()} are damaged; delete them")


def _survey(download: bool, path: Path | None, again: bool, as_json: bool) -> None:
    from keras_se.diagnosis.report import SOUND, Report
    from keras_se.diagnosis.survey import survey
    from keras_se.weights.locations import mirror_folder, offline

    if download and offline() and not mirror_folder():
        raise ValueError("`download` needs a connection. Received: KERAS_SE_OFFLINE is set")
    report = Report(path or (REPORT if download else None), again)
    for row in survey(report, download):
        if not as_json:
            print_table([(row.error or row.result, row.set)])
    rows = list(report.rows.values())
    if as_json:
        print_json([asdict(row) for row in rows])
    wrong = [row.set for row in rows if row.result != SOUND]
    if wrong:
        fail(f"{len(wrong)} of {len(rows)} sets failed, the first one is {wrong[0]}")
