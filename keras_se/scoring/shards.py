"""Shards of a table: made by several machines, joined afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_se.checks import shown
from keras_se.files import writing
from keras_se.pictures import printable
from keras_se.scoring.account import account_path, difference, read_account, write_account
from keras_se.scoring.listing import ListHash
from keras_se.scoring.tables import TableFormat, table_format


@dataclass(frozen=True)
class Shard:
    """A part of the batches: each `count`-th, from `number`, which counts from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard of `"3/8"`."""
        match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
        if match is None or int(match[1]) > int(match[2]):
            raise ValueError(
                "`shard` must be a number and their count, such as 3/8. "
                f"Received: shard={shown(text)}"
            )
        return cls(int(match[1]), int(match[2]))

    def path(self, out: Path) -> Path:
        """The table of this shard, beside the whole one."""
        return out.with_name(f"{out.stem}-{self.number}-of-{self.count}{out.suffix}")

    def starts(self, files: int, batch_size: int) -> range:
        """Position in the whole list of each of its batches."""
        return range(0, files, batch_size)[self.number - 1 :: self.count]


# All batches.
WHOLE = Shard(1, 1)


def join(out: Path, shards: Sequence[Path]) -> int:
    """Join all shards of a run to what one process would have written; gives the number of rows.

    Each shard's account must lie beside it. Raises a `ValueError` if `out` exists, a shard is
    missing, given twice, incomplete or of another run, or its rows are not those of its run.
    """
    kind = table_format(out)
    kind.check(out)
    if out.exists() or account_path(out).exists() or not out.parent.is_dir():
        raise ValueError(
            f"`out` must be a new file in an existing folder. Received: out={printable(out)!r}"
        )
    accounts = [_finished(path, kind) for path in shards]
    account, header = accounts[0], kind.header(shards[0])
    for path, other in zip(shards, accounts, strict=True):
        same_header = kind.header(path) == header
        differing = difference(account, other) or (None if same_header else "header")
        if differing:
            raise ValueError(
                f"give shards of one run: one has another {differing}. "
                f"Received: {printable(shards[0])!r}, {printable(path)!r}"
            )
    given = [tuple(one["shard"]) for one in accounts]
    count = given[0][1]
    wanted = [(number, count) for number in range(1, count + 1)]
    if sorted(given) != wanted:
        missing = [f"{number}/{count}" for number, _ in wanted if (number, count) not in given]
        raise ValueError(
            f"give each of the {count} shards once. "
            f"Received: {len(shards)} files, {shown(missing) if missing else 'some twice'} missing"
        )
    ordered = [path for _, path in sorted(zip(given, shards, strict=True))]
    with writing(out):
        kind.join(header, _in_order(kind, ordered, account), out)
    done = {key: sum(one["done"][key] for one in accounts) for key in ("batches", "bad")}
    write_account(out, account | {"shard": None, "done": {**done, "bytes": 0}})
    return int(account["files"])


def _finished(path: Path, kind: TableFormat) -> dict[str, Any]:
    """The account of a finished shard."""
    if not path.is_file() or not account_path(path).is_file() or table_format(path) is not kind:
        raise ValueError(
            "give finished shards of the format of OUT, each with its .run.json beside it. "
            f"Received: {printable(path)!r}"
        )
    account = read_account(path)
    if account["shard"] is None:
        raise ValueError(f"give shards. Received: {printable(path)!r}, which is a whole table")
    starts = Shard(*account["shard"]).starts(account["files"], account["batch_size"])
    if account["done"]["batches"] != len(starts):
        raise ValueError(
            f"give finished shards. Received: {printable(path)!r}, with "
            f"{account['done']['batches']} of {len(starts)} batches"
        )
    return account


def _in_order(
    kind: TableFormat, shards: Sequence[Path], account: Mapping[str, Any]
) -> Iterator[Any]:
    """The rows of all batches, checked beside the list of files."""
    files, size = account["files"], account["batch_size"]
    sources = [kind.blocks(path, size) for path in shards]
    names = ListHash()
    for number, start in enumerate(range(0, files, size)):
        place = number % len(shards)
        found, rows = next(sources[place], ([], None))
        if len(found) != min(size, files - start):
            raise ValueError(f"{printable(shards[place])}: expected more rows, as were written")
        names.add(*found)
        yield rows
    if any(next(source, None) for source in sources) or names.hexadecimal() != account["names"]:
        raise ValueError(
            "give shards as they were written. Received: rows that are not those of the list of "
            f"files, {printable(shards[0])!r} and others"
        )
