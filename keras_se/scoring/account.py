"""The account beside a table: what run its rows are of, and how many of them are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_se.files import write_text
from keras_se.pictures import printable
from keras_se.weights.hashes import hash_of, variables_hash

if TYPE_CHECKING:
    import keras

    from keras_se.description import Description

FORMAT = 1
LIST = "list of files, or one of their sizes"
# The entries that must agree between the parts of a run, and their names in messages.
COMPARED = {
    "format": "format",
    "answers": "kind of answers",
    "strict": "value of strict",
    "batch_size": "batch size",
    "backend": "backend of Keras",
    "files": LIST,
    "names": LIST,
    "list": LIST,
    "network": "network",
}


def account_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.run.json")


def write_account(out: Path, account: Mapping[str, Any]) -> None:
    write_text(account_path(out), json.dumps(account, indent=2) + "\n")


def read_account(out: Path) -> dict[str, Any]:
    """The account of a table; a `ValueError` if the file is something else."""
    path = account_path(out)
    try:
        found = json.loads(path.read_text("utf-8"))
        if {*COMPARED, "shard", "done"} <= found.keys():
            return dict(found)
    except (ValueError, AttributeError):
        pass
    raise ValueError(
        f"give another --out: {printable(path)!r} must be the account of a run. "
        f"Received: out={printable(out)!r}"
    )


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first thing that must agree and differs, in words."""
    return next((words for key, words in COMPARED.items() if one[key] != other[key]), None)


def network_hash(model: keras.Model, known: Description) -> str:
    """The hash of a network's weights and description."""
    # Not `variables`, which include the states of random draws.
    return hash_of([repr(known).encode(), variables_hash(model.weights).encode()])
