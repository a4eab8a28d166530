"""`keras-se download`: download published sets to the cache."""

from __future__ import annotations

from fnmatch import fnmatchcase

import click

import keras_se
from keras_se.checks import unknown_choice
from keras_se.commands._output import as_json, print_json, print_table
from keras_se.weights.entries import Weights, known_weights


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@as_json
def download(names: tuple[str, ...], as_json: bool) -> None:
    """Download published sets of weights to the cache.

    NAME is a set's name, a pattern such as 'se_resnet50.*', or a network, for its default sets.
    The folder `published` in the cache can serve as KERAS_SE_MIRROR on another machine.
    """
    from keras_se.weights.cache import fetched

    entries = dict.fromkeys(entry for name in names for entry in _matching(name))
    report = [{"name": entry.name, "path": str(fetched(entry))} for entry in entries]
    if as_json:
        print_json(report)
    else:
        print_table([tuple(row.values()) for row in report])


def _matching(name: str) -> list[Weights]:
    published = [entry for entry in known_weights() if entry.url]
    if name in keras_se.list_models():
        found = [entry for entry in published if entry.model == name and entry.default]
    else:
        found = [entry for entry in published if fnmatchcase(entry.name, name)]
    if not found and name in keras_se.list_models():
        raise ValueError(
            f"`name` must have published sets of weights; {name} has none to download. "
            f"Received: name={name!r}"
        )
    if not found:
        raise ValueError(unknown_choice("name", name, [], "a published set of weights"))
    return found
