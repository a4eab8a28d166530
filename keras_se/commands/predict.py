"""`keras-se predict`: what is on a picture."""

from __future__ import annotations

import click

import keras_se
from keras_se.commands._output import as_json, print_json
from keras_se.weights.entries import get_weights


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--weights", required=True, help="Name of a set of weights; see `keras-se list`.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Classes.")
@click.option("--strict", is_flag=True, help="Refuse pictures that are not 8-bit RGB (or grey).")
@as_json
def predict(images: tuple[str, ...], weights: str, top: int, strict: bool, as_json: bool) -> None:
    """Name what is on each IMAGE."""
    import numpy as np

    entry = get_weights(weights)
    entry.fetch()
    pictures = np.concatenate(
        [keras_se.load_image(image, entry, strict=strict) for image in images]
    )
    network = getattr(keras_se, entry.model)(weights=entry.name, classes=entry.classes)
    predictions = network.predict(pictures, verbose=0)
    decoded = keras_se.decode_predictions(predictions, top, dataset=entry.dataset)
    if as_json:
        keys = ("class_id", "label", "score")
        print_json([
            {"image": image, "predictions": [dict(zip(keys, row, strict=True)) for row in rows]}
            for image, rows in zip(images, decoded, strict=True)
        ])  # fmt: skip
        return
    for image, rows in zip(images, decoded, strict=True):
        click.echo(image)
        for _, label, score in rows:
            click.echo(f"  {score:6.1%}  {label}")
