"""The report of a survey: a CSV file with a row per set, and a Markdown page beside it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import keras_se
from keras_se.files import write_text
from keras_se.weights.entries import known_weights

TITLE = "# Published sets, checked"
SOUND, FAILED, INTERRUPTED = "sound", "failed", "interrupted"


@dataclass(frozen=True)
class Row:
    """The result of one set.

    Attributes:
        set: Name of the set.
        result: `"sound"`, `"failed"`, or `"interrupted"`: being checked, or killed meanwhile.
        source: `"cache"`, `"mirror"`, `"package"`, or the server that it was downloaded from.
        bytes: Size of the published file, "" if there was none.
        sha256: Hash of the published file, "" if there was none.
        answer: Class and probability, or the number of features, for a picture or volume of noise.
        date: Day of the check, UTC.
        error: Why it failed, or "".
    """

    set: str
    result: str
    source: str
    bytes: str = ""
    sha256: str = ""
    answer: str = ""
    date: str = ""
    error: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


class Report:
    """The rows of a survey, kept in a file if there is one.

    Args:
        path: The CSV file, or `None`.
        again: Whether to begin a new report. Defaults to `False`: rows in the file are kept.

    Raises:
        ValueError: If the file, or the page beside it, exists and is not such a report.
    """

    def __init__(self, path: Path | None, again: bool = False) -> None:
        self.path, self.rows = path, {}
        if not path:
            return
        if path.suffix != ".csv" or not path.parent.is_dir():
            raise ValueError(
                f"`report` must end in .csv, in an existing folder. Received: report={str(path)!r}"
            )
        page = path.with_suffix(".md")
        if page.exists() and not page.read_bytes().startswith(TITLE.encode()):
            raise ValueError(f"{page}: use another name for the report; this is another page")
        # Also one that is begun anew must not overwrite another file.
        rows = _read(path) if path.exists() else {}
        self.rows = {} if again else rows

    def add(self, row: Row) -> None:
        """Store a row; the file has the order of the registry."""
        self.rows[row.set] = row
        if not self.path:
            return
        publishers = {entry.name: entry.publisher for entry in known_weights()}
        order = list(publishers)
        rows = sorted(
            self.rows.values(),
            key=lambda row: order.index(row.set) if row.set in publishers else len(order),
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, rows))
        write_text(self.path, text.getvalue())
        write_text(self.path.with_suffix(".md"), _page(rows, publishers))


def _read(path: Path) -> dict[str, Row]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
            rows = [Row(**fields) for fields in reader]
    except (ValueError, TypeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: use another file; this is no report ({reason})") from None
    return {row.set: row for row in rows}


def _page(rows: Sequence[Row], publishers: dict[str, str]) -> str:
    counts = Counter((publishers.get(row.set, ""), row.result) for row in rows)
    sound = sum(row.result == SOUND for row in rows)
    lines = [
        TITLE,
        "",
        f"{sound} of {len(rows)} sets are sound: the file has its size and hash, it converts, and "
        f"the network answers for a picture (keras-se {keras_se.__version__}).",
        "",
        *_table(
            ("publisher", SOUND, FAILED, INTERRUPTED),
            [
                (name, *(str(counts[name, result]) for result in (SOUND, FAILED, INTERRUPTED)))
                for name in dict.fromkeys(name for name, _ in counts)
            ],
        ),
        "",
        *_table(COLUMNS, [tuple(asdict(row).values()) for row in rows]),
    ]
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]
