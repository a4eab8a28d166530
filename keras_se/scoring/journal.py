"""A table in the making that survives a kill at any moment."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_se.files import sync, writing
from keras_se.pictures import printable
from keras_se.scoring.account import account_path, difference, read_account, write_account
from keras_se.scoring.tables import table_format

# Seconds of work that a kill may cost, and characters that are held in memory.
COMMIT_SECONDS, COMMIT_LENGTH = 1.0, 2**22


class Journal:
    """Rows, appended to `OUT.partial`, and their account, `OUT.run.json`.

    The account says what run the rows are of and how many bytes of them count. Rows are synced
    before it is replaced; what a kill left after those bytes is cut off. `OUT` is renamed into
    place when it is complete. This process must hold the lock of `OUT`, of `total` batches.

    Attributes:
        batches: Number of batches that are written.
        bad: Number of their rows with an error.
        complete: Whether `OUT` is there.
    """

    def __init__(self, out: Path, account: Mapping[str, Any], header: str, total: int) -> None:
        self.out, self._account = out, dict(account)
        self._partial = out.with_name(f"{out.name}.partial")
        self._remove_half_written()
        done = self._done()
        self.complete = out.exists()
        if self.complete and done.get("batches") != total:
            raise ValueError(
                "`out` must be a new file, or one of the same run. "
                f"Received: out={printable(out)!r}, which exists"
            )
        rows = self._partial.stat().st_size if self._partial.exists() else 0
        begun = self.complete or 0 < done.get("bytes", 0) <= rows
        self.batches, self.bad = (done["batches"], done["bad"]) if begun else (0, 0)
        self._bytes, self._rows = (done["bytes"], []) if begun else (0, [header])
        if self.complete:
            # A process was killed after it had made `out`.
            self._partial.unlink(missing_ok=True)
        else:
            self._commit()

    def _remove_half_written(self) -> None:
        """Remove temporary files of killed processes."""
        pattern = re.compile(rf"{re.escape(self.out.name)}(\.run\.json)?\.\d+\.tmp")
        for path in self.out.parent.iterdir():
            if pattern.fullmatch(path.name):
                path.unlink()

    def _done(self) -> dict[str, int]:
        """The progress of an earlier process of the same run; empty if there was none."""
        path = account_path(self.out)
        if not path.exists():
            return {}
        stored = read_account(self.out)
        differing = difference(stored, self._account)
        if stored["shard"] != self._account["shard"]:
            differing = "shard"
        if differing:
            raise ValueError(
                f"give another --out, or delete {printable(path)!r} to start again: it is of a run "
                f"with another {differing}. Received: out={printable(self.out)!r}"
            )
        return dict(stored["done"])

    def add(self, rows: str, bad: int) -> None:
        """Append the rows of a batch, `bad` of which have an error."""
        self._rows.append(rows)
        self.batches, self.bad = self.batches + 1, self.bad + bad
        waited = time.monotonic() - self._committed >= COMMIT_SECONDS
        if waited or sum(map(len, self._rows)) >= COMMIT_LENGTH:
            self._commit()

    def _commit(self) -> None:
        """Make the rows so far count."""
        with writing(self._partial):
            with open(self._partial, "ab") as file:
                file.seek(file.truncate(self._bytes))
                file.write("".join(self._rows).encode())
                self._bytes = file.tell()
            sync(self._partial)
        self._rows = []
        done = {"batches": self.batches, "bytes": self._bytes, "bad": self.bad}
        write_account(self.out, self._account | {"done": done})
        self._committed = time.monotonic()

    def finish(self) -> None:
        """Make `OUT` of the rows, which must be all."""
        if not self.complete:
            self._commit()
            with writing(self.out):
                table_format(self.out).finish(self._partial, self.out)
            self.complete = True


@contextmanager
def journal(out: Path, account: Mapping[str, Any], header: str, total: int) -> Iterator[Journal]:
    """The `Journal` of a table, locked; the table is finished unless there is an error."""
    path = out.with_name(f"{out.name}.lock")
    lock = FileLock(path)
    with writing(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                "give another --out: another process is writing this one. "
                f"Received: out={printable(out)!r}"
            ) from None
    try:
        log = Journal(out, account, header, total)
        yield log
        log.finish()
        path.unlink(missing_ok=True)
    finally:
        lock.release()
