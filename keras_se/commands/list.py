"""`keras-se list`: list the networks and their sets of weights."""

from __future__ import annotations

from dataclasses import asdict

import click

import keras_se
from keras_se.commands._output import as_json, print_json, print_table
from keras_se.models import list_weights


@click.command("list")
@as_json
def list_command(as_json: bool) -> None:
    """List the networks and their sets of weights."""
    sets = {model: list_weights(model) for model in keras_se.list_models()}
    if as_json:
        print_json({model: [asdict(entry) for entry in sets[model]] for model in sets})
    else:
        rows = [
            (model, len(sets[model]), ", ".join(e.name for e in sets[model] if e.default))
            for model in sets
        ]
        print_table(rows, ("network", "sets", "default for its data set"))
