"""Write masks, and print the figures of networks that answer for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import keras_se
from keras_se.commands._output import print_json, print_table
from keras_se.files import atomic, writing

if TYPE_CHECKING:
    from keras_se.training.mask_evaluation import MaskEvaluation


def write_masks(
    network: Any, images: Sequence[str], out: Path | None, weights: str, heatmap: Path | None,
    as_json: bool, strict: bool = False,
) -> bool:  # fmt: skip
    """Write the mask of each image and an overlay into a folder, and print their classes.

    Args:
        network: The network.
        images: Paths of the images.
        out: The folder, created if missing.
        weights: The name of the network in messages.
        heatmap: The file for heat maps, which such a network has not.
        as_json: Whether to print JSON.
        strict: Whether to refuse images that need conversion. Defaults to `False`.

    Returns:
        Whether the network gives each pixel a class; if not, nothing is done.

    Raises:
        ValueError: If it does, but no folder is given, a file exists or is named twice, or an image
            is not a picture; if it does not, but a folder is given. Nothing is written.
    """
    from keras_se.segmentation.predicting import (
        answers_pixels,
        check_pixel_classes,
        predict_mask,
        whole,
    )

    known = keras_se.describe(network)
    if answers_pixels(network) and (out is not None or known.answers != "values"):
        check_pixel_classes(network, known)
    else:
        if out is not None:
            raise ValueError(
                "`out` must be a .csv or .parquet file unless the network answers for every "
                f"pixel. Received: out={str(out)!r}, weights={weights!r}"
            )
        return False
    if out is None:
        raise ValueError(
            "`--out` must name a folder for the masks of a network that answers for every pixel. "
            f"Received: --weights={weights}"
        )
    if heatmap is not None:
        raise ValueError(
            "`--heatmap` needs a network with one answer per picture. "
            f"Received: --weights={weights}, which answers for every pixel"
        )
    import numpy as np

    from keras_se.data.mask_files import mask_image, overlay

    places = _places(images, out)
    for image in images:
        whole(known, image, strict)
    # A single class has the number 1; 0 is none.
    first = 1 if network.output_shape[-1] == 1 else 0
    names = dict(enumerate(known.labels or (), first))
    found: list[dict[str, Any]] = []
    for image, (mask_path, overlay_path) in zip(images, places, strict=True):
        picture, mask = predict_mask(network, image, strict)
        drawings = ((mask_path, mask_image(mask)), (overlay_path, overlay(picture, mask)))
        for path, drawing in drawings:
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing(path), atomic(path, ".png") as temporary:
                drawing.save(temporary)
        numbers, counts = np.unique(mask, return_counts=True)
        by_number = dict(zip(numbers.tolist(), (counts / mask.size).tolist(), strict=True))
        chosen = {first: by_number.get(first, 0.0)} if first else by_number
        shares = {names.get(n, str(n)): share for n, share in chosen.items()}
        name = click.format_filename(image)
        found.append(
            {"image": name, "mask": str(mask_path), "overlay": str(overlay_path), "classes": shares}
        )
    if as_json:
        print_json(found)
        return True
    for row in found:
        click.echo(f"{row['image']}: {row['mask']}, {row['overlay']}")
        for label, share in sorted(row["classes"].items(), key=lambda item: -item[1]):
            click.echo(f"  {share:6.1%}  {label}")
    return True


def _places(images: Sequence[str], out: Path) -> list[tuple[Path, Path]]:
    """The files of each image: its mask, and the overlay."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"`--out` must be a folder for masks. Received: --out={out}")
    places = [(out / f"{Path(i).stem}.png", out / f"{Path(i).stem}_overlay.png") for i in images]
    every = [path for pair in places for path in pair]
    for path in every:
        if every.count(path) > 1:
            raise ValueError(f"IMAGE must have names of their own. Received: {path.name} twice")
        if path.exists():
            raise ValueError(f"`--out` must not have the files yet. Received: {path}")
    return places


def print_masks(report: MaskEvaluation) -> None:
    """Print the figures of a network that answers for every pixel."""
    figures = ("cross_entropy", "mean_iou", "pixel_accuracy")
    rows = [(name, f"{getattr(report, name):.4f}") for name in figures]
    print_table([("weights", report.what), ("pictures", f"{report.pictures:,}"), *rows])
    click.echo()
    table = [(name, "" if iou is None else f"{iou:.4f}") for name, iou in report.iou.items()]
    print_table(table, ("class", "IoU"))
