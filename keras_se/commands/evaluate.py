"""`keras-se evaluate`: accuracy on test pictures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from keras_se.commands._masks import print_masks
from keras_se.commands._output import as_json, print_json, print_table

if TYPE_CHECKING:
    from keras_se.training.evaluation import Evaluation
    from keras_se.training.label_figures import LabelEvaluation


@click.command()
@click.argument("what", metavar="WHAT")
@click.option("--data", help="Folder with one folder of pictures per class; or tfds:NAME.")
@click.option("--data-dir", metavar="FOLDER",
              help="Folder of prepared TFDS data sets; or where a run's data are now.")  # fmt: skip
@click.option("--bad-pictures", default="refuse", show_default=True, help="refuse or skip.")
@click.option("--tta", help="Test-time augmentation: flip, five (crops) or ten.")
@as_json
def evaluate(
    what: str, data: str | None, data_dir: str | None, bad_pictures: str, tta: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure the accuracy of WHAT: a set of weights, a run folder or a .keras file.

    Without --data it is tested on the test split of its own data set. Pictures of a folder or of a
    prepared TensorFlow Datasets data set are preprocessed by the network's own evaluation
    transform.
    """
    from keras_se.pictures import SKIPPED
    from keras_se.training.evaluation import evaluate
    from keras_se.training.label_figures import LabelEvaluation
    from keras_se.training.mask_evaluation import MaskEvaluation

    report = evaluate(what, data, data_dir=data_dir, bad_pictures=bad_pictures, tta=tta)
    if as_json:
        print_json(asdict(report))
        return
    if isinstance(report, MaskEvaluation):
        print_masks(report)
        return
    if isinstance(report, LabelEvaluation):
        _print_labels(report)
    else:
        _print_classes(report)
    for path in report.skipped:
        click.echo(f"{SKIPPED}{path}")


def _print_labels(report: LabelEvaluation) -> None:
    _print_figures(report, "cross_entropy", "mean_average_precision")
    triples = zip(report.classes, report.positives, report.average_precisions, strict=True)
    print_table(
        [
            (name, count, "left out" if value is None else f"{value:.4f}")
            for name, count, value in triples
        ],
        ("class", "pictures", "average precision"),
    )


def _print_classes(report: Evaluation) -> None:
    _print_figures(report, "cross_entropy", "top1", "top5")
    table = [
        (name, count, "" if top1 is None else f"{top1:.2%}", _mistaken(report.confusion[n], n))
        for n, (name, count, top1) in enumerate(report.per_class())
        if count
    ]
    most = [(*row[:3], "" if row[3] is None else report.classes[row[3]]) for row in table]
    print_table(most, ("class", "pictures", "top-1", "most often mistaken for"))


def _print_figures(report: Evaluation | LabelEvaluation, *names: str) -> None:
    rows = [(name, f"{getattr(report, name):.4f}") for name in names]
    print_table([("weights", report.what), ("pictures", f"{report.pictures:,}"), *rows])
    click.echo()


def _mistaken(row: list[int], own: int) -> int | None:
    """The wrong class most often predicted for a class's pictures."""
    others = [count if n != own else 0 for n, count in enumerate(row)]
    return others.index(max(others)) if max(others) else None
