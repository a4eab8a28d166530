"""`keras-se predict`: classify images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

import keras_se
from keras_se.commands._masks import write_masks
from keras_se.commands._output import as_json, print_json
from keras_se.commands._scoring import is_table, score_files
from keras_se.labels import probabilities


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--weights", required=True,
              help="A set (see `keras-se list`), run folder or .keras file.")  # fmt: skip
@click.option("--top", type=click.IntRange(min=1), help="Classes to print.  [default: 5]")
@click.option("--strict", is_flag=True, help="Refuse pictures that are not 8-bit RGB (or grey).")
@click.option("--heatmap", type=click.Path(path_type=Path),
              help="Draw where the network looks (Grad-CAM) into this .png file.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Write a table, .csv or .parquet, with a row per picture; or the folder for "
                   "the masks of a network that answers for every pixel.")  # fmt: skip
@click.option("--embeddings", is_flag=True, help="In a table: write embeddings, not scores.")
@click.option("--shard", metavar="K/N", help="Of a table: only the K-th of N parts; see `join`.")
@click.option("--batch-size", type=click.IntRange(min=1),
              help="Of a table: pictures per batch.  [default: 32]")  # fmt: skip
@as_json
def predict(
    images: tuple[str, ...], weights: str, top: int | None, strict: bool, heatmap: Path | None,
    out: Path | None, embeddings: bool, shard: str | None, batch_size: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Classify each IMAGE, print the network's output values, or write masks.

    With --out TABLE, IMAGE may be a folder, for all pictures below it, of any number. A picture
    that cannot be read gets a row with the error. The same command resumes a run that was killed.
    """
    of_tables = embeddings or shard is not None or batch_size is not None
    if out is None and of_tables:
        raise ValueError(
            "`out` must be given with --embeddings, --shard and --batch-size. Received: none"
        )
    if out is None and any(map(os.path.isdir, images)):
        raise ValueError(
            "`out` must name a table, .csv or .parquet, for the pictures in a folder. "
            f"Received: none, images={', '.join(map(click.format_filename, images))}"
        )
    if out is not None and (of_tables or is_table(out, images)):
        if heatmap is not None or top is not None:
            raise ValueError(
                "`out` cannot be given with --heatmap or --top: a table has all classes. "
                f"Received: out={str(out)!r}"
            )
        score_files(images, weights, out, embeddings, strict, batch_size or 32, shard, as_json)
        return
    import numpy as np

    from keras_se.analysis.heat_maps import check_drawable, draw_heat_maps
    from keras_se.description import find_set

    if heatmap is not None:
        check_drawable(heatmap)
    entry = find_set(weights)
    if entry is not None:
        # Damaged pictures and files are refused before Keras is imported.
        load = [keras_se.load_image(image, entry, strict=strict) for image in images]
        entry.fetch()
        network = keras_se.get_model(entry)
    else:
        network = keras_se.get_model(weights)
    if write_masks(network, images, out, weights, heatmap, as_json, strict):
        return
    if entry is None:
        load = [keras_se.load_image(image, network, strict=strict) for image in images]
    known = keras_se.describe(network)
    if heatmap is not None and known.answers == "values":
        raise ValueError(
            "`heatmap` needs a network whose outputs are known to be class scores. "
            f"Received: weights={weights!r}"
        )
    pictures = np.concatenate(load)
    outputs = network.predict(pictures, verbose=0)
    names = [click.format_filename(image) for image in images]
    if known.answers == "values":
        _print_values(names, outputs, as_json)
        return
    predictions = probabilities(outputs, known.scores)
    labels = known.classes or tuple((str(n), str(n)) for n in range(predictions.shape[1]))
    best = np.argsort(-predictions, axis=1, kind="stable")[:, : top or 5]
    decoded = [
        [(*labels[n], float(row[n])) for n in order]
        for row, order in zip(predictions, best, strict=True)
    ]
    if heatmap is not None:
        last = np.moveaxis(pictures, 1, -1) if known.channels_first else pictures
        draw_heat_maps(last, keras_se.grad_cam(network, pictures), heatmap)
    if as_json:
        keys = ("class_id", "label", "score")
        print_json([
            {"image": image, "predictions": [dict(zip(keys, row, strict=True)) for row in rows]}
            for image, rows in zip(names, decoded, strict=True)
        ])  # fmt: skip
        return
    for image, rows in zip(names, decoded, strict=True):
        click.echo(image)
        for _, label, score in rows:
            click.echo(f"  {score:6.1%}  {label}")


def _print_values(names: list[str], outputs: Any, as_json: bool) -> None:
    """Print the values of each picture; a list of lists for several outputs."""
    several = outputs if isinstance(outputs, list) else [outputs]
    if isinstance(outputs, dict):
        several = [outputs[name] for name in sorted(outputs)]
    rows = [[output[n].tolist() for output in several] for n in range(len(names))]
    values = [row[0] if len(row) == 1 else row for row in rows]
    if as_json:
        pairs = zip(names, values, strict=True)
        print_json([{"image": image, "values": value} for image, value in pairs])
        return
    for image, value in zip(names, values, strict=True):
        click.echo(image)
        click.echo(f"  {json.dumps(value)}")
