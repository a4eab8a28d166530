"""`keras-se info`: describe a network or a set of weights."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import click

import keras_se
from keras_se.commands._output import as_json, figure, print_json, print_table
from keras_se.description import find_set
from keras_se.hub import PREFIX, is_network
from keras_se.models import list_weights
from keras_se.weights.entries import Weights, get_weights


@click.command()
@click.argument("model")
@as_json
def info(model: str, as_json: bool) -> None:
    """Describe MODEL: a builder, with its defaults and sets of weights, or a set of weights.

    MODEL may also be a run folder, a .keras file, a folder of `save_for_hub` or hf://USER/REPOSITORY.
    """
    path = Path(model)
    stored = path.suffix == ".keras" or (path / "recipe.json").is_file() or is_network(path)
    stored |= model.startswith(PREFIX)
    if not stored and model not in keras_se.list_models() and "." in model:
        entry = find_set(model) or get_weights(model)
        if as_json:
            print_json(asdict(entry))
        else:
            print_table(_describe(entry))
        return
    entries = [] if stored else list_weights(model)
    # Only networks import Keras.
    network = keras_se.get_model(model) if stored else getattr(keras_se, model)(weights=None)
    report = {
        "model": model,
        "name": network.name,
        "input_shape": network.input_shape[1:],
        "classes": network.output_shape[-1],
        "params_trainable": sum(math.prod(v.shape) for v in network.trainable_variables),
        "params_total": network.count_params(),
        "squeeze_excite_blocks": sum(
            isinstance(layer, keras_se.layers.ChannelAttention) for layer in network.layers
        ),
        "weights": [asdict(entry) for entry in entries],
    }
    if as_json:
        print_json(report)
        return
    print_table([(key, figure(value)) for key, value in report.items() if key != "weights"])
    if entries:
        click.echo()
        columns = ("set of weights", "data set", "default", "top-1", "at", "parameters", "licence")
        print_table([_summary(entry) for entry in entries], columns)


def _summary(entry: Weights) -> tuple[str, ...]:
    top1 = [f"{metric.value:.2%}" for metric in entry.metrics if metric.name == "top1"]
    kind = ["measured" if metric.measured else "claimed" for metric in entry.metrics[:1]]
    return (
        entry.name,
        entry.dataset,
        "yes" if entry.default else "",
        " ".join(top1 + kind),
        str(entry.input_shape[0] or "any"),
        f"{entry.params_trainable:,}{' (plain)' if entry.plain else ''}",
        entry.licence,
    )


def _describe(entry: Weights) -> list[tuple[str, str]]:
    rows = [(key, figure(value)) for key, value in asdict(entry).items() if key != "metrics"]
    for metric in entry.metrics:
        kind = "measured" if metric.measured else "claimed"
        rows.append((metric.name, f"{metric.value} on {metric.dataset} {metric.split} ({kind})"))
    return rows
