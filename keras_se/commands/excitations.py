"""`keras-se excitations`: measure gates by class."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from keras_se.commands._output import as_json, print_json


@click.command()
@click.argument("model")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--samples-per-class", "samples", default="50", show_default=True, metavar="N|all")
@click.option("--data-dir", metavar="FOLDER",
              help="Folder of prepared TFDS data sets; or where a run's data are now.")  # fmt: skip
@click.option("--plot", metavar="PATH", help="Draw the paper's figures: .png, .pdf or .svg.")
@click.option("--html", metavar="PATH", help="Write an HTML report with figures and pictures.")
@click.option("--class", "classes", multiple=True, help="Class to draw; repeatable.")
@click.option("--block", "blocks", multiple=True, help="Block to draw; repeatable.")
@click.option("--save", metavar="PATH", help="Save the measurements as .npz.")
@as_json
def excitations(
    model: str, data: str | None, samples: str, data_dir: str | None, plot: str | None,
    html: str | None, classes: tuple[str, ...], blocks: tuple[str, ...], save: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure the gates of MODEL by class, as in Section 7.2 of the paper.

    MODEL is a set of weights, a run folder or a .keras file. DATA is a folder with one folder of
    pictures per class, or tfds:NAME, the test split of a prepared TensorFlow Datasets data set; it
    defaults to the test split of the set's or run's own data set.
    """
    from keras_se.analysis import figure, report
    from keras_se.commands._excitations import excitations_of

    for name, given in (("--save", save), ("--plot", plot), ("--html", html)):
        if given == "":
            raise ValueError(f"{name} must be a path, not empty. Received: ''")
    if not (plot or html) and (classes or blocks):
        raise ValueError(
            "`--plot` or `--html` must be given with --class and --block. Received: neither"
        )
    if plot:
        figure.check_path(Path(plot))
    if html:
        report.check_path(Path(html))
    network, found = excitations_of(model, data, samples, data_dir)
    if save:
        found.save(save)
    if plot:
        found.plot(plot, classes or None, blocks=blocks or None)
    if html:
        found.report(html, network, classes or None, blocks=blocks or None, title=Path(model).name)
    summary = found.summary()
    if as_json:
        counts = dict(zip(found.classes, found.counts.tolist(), strict=True))
        print_json({"model": model, "counts": counts, **asdict(summary)})
    else:
        click.echo(str(summary))
