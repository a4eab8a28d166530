"""`keras-se cost`: parameters and multiply-adds."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import click

import keras_se
from keras_se.checks import unknown_choice
from keras_se.commands._output import as_json, print_json


@click.command()
@click.argument("model")
@click.option(
    "--size", default="", metavar="SIZE", help="Of the picture: 320, or 480x320 (height x width)."
)
@click.option("--plain", is_flag=True, help="The network without Squeeze-and-Excitation.")
@as_json
def cost(model: str, size: str, plain: bool, as_json: bool) -> None:
    """Count the parameters and multiply-adds of the network MODEL, layer by layer."""
    if model not in keras_se.list_models():
        raise ValueError(unknown_choice("model", model, keras_se.list_models()))
    arguments: dict[str, Any] = {"se": None} if plain else {}
    if size:
        arguments["input_shape"] = _input_shape(size)
    report = keras_se.cost(getattr(keras_se, model)(weights=None, **arguments))
    if as_json:
        print_json(asdict(report))
    else:
        click.echo(str(report))


def _input_shape(size: str) -> tuple[int, ...]:
    """The shape of an RGB picture under Keras' data format."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not height * width:
        raise ValueError(
            f"`size` must be a positive number or HEIGHTxWIDTH. Received: size={size!r}"
        )
    import keras

    first = keras.config.image_data_format() == "channels_first"
    return (3, height, width) if first else (height, width, 3)
