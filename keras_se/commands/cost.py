"""`keras-se cost`: parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

import keras_se
from keras_se.commands._output import as_json, print_json
from keras_se.commands._sizes import height_and_width


@click.command()
@click.argument("model")
@click.option(
    "--size", default="", metavar="SIZE", help="Input size: 320, or 480x320 (height x width)."
)
@click.option("--plain", is_flag=True, help="The network without Squeeze-and-Excitation.")
@as_json
def cost(model: str, size: str, plain: bool, as_json: bool) -> None:
    """Count the parameters and multiply-adds of MODEL, layer by layer.

    MODEL is a builder, a set of weights, a run folder or a .keras file.
    """
    if model in keras_se.list_models():
        arguments: dict[str, Any] = {"se": None} if plain else {}
        if size:
            arguments["input_shape"] = _input_shape(size)
        report = keras_se.cost(getattr(keras_se, model)(weights=None, **arguments))
    else:
        if plain:
            raise ValueError(f"`plain` needs a builder. Received: model={model!r}")
        network = keras_se.get_model(model)
        report = keras_se.cost(network, _input_shape(size, network) if size else None)
    if as_json:
        print_json(asdict(report))
    else:
        click.echo(str(report))


def _input_shape(size: str, network: Any = None) -> tuple[int, ...]:
    """The input shape of a network; without one, that of RGB in Keras' data format."""
    height, width = height_and_width(size)
    import keras

    first = keras.config.image_data_format() == "channels_first"
    channels = 3
    if network is not None:
        known = keras_se.describe(network)
        first, channels = known.channels_first, known.channels
    return (channels, height, width) if first else (height, width, channels)
