"""`keras-se benchmark`: compare networks and runtimes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from keras_se.commands._output import as_json, figure, print_json, print_table
from keras_se.commands._sizes import height_and_width

if TYPE_CHECKING:
    from keras_se.benchmarking.comparison import Row
    from keras_se.benchmarking.report import Line

CASE = ("network", "runtime", "precision", "pictures", "threads")
COLUMNS = (*CASE, "median ms", "quartiles", "pictures/s", "ratio")
BESIDE = (*CASE, "A ms", "A ratio", "B ms", "B ratio")


@click.command()
@click.argument("whats", nargs=-1, metavar="WHAT...")
@click.option("--runtime", "runtimes", multiple=True, default=("tf_saved_model",),
              show_default=True,
              help="Or keras, openvino, onnx, litert; repeatable.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Also time each builder's network without SE.")
@click.option("--batch", "batches", multiple=True, type=int, default=(1,), show_default=True,
              help="Batch size; repeatable.")  # fmt: skip
@click.option("--size", "sizes", multiple=True, metavar="SIZE",
              help="320, or 480x320 (height x width); default the network's own; "
              "repeatable.")  # fmt: skip
@click.option("--rounds", default=20, show_default=True, help="Number of timed rounds.")
@click.option("--precision", "precisions", multiple=True, default=("float32",), show_default=True,
              help="Or bfloat16 (openvino), int8 (openvino, onnx, litert); "
              "repeatable.")  # fmt: skip
@click.option("--threads", multiple=True, type=int,
              help="Threads per runtime; default all cores; repeatable.")  # fmt: skip
@click.option("--no-fuse", is_flag=True, help="Do not fuse networks.")
@click.option("--out", metavar="FILE", help="Write the report as JSON.")
@click.option("--plot", metavar="PATH", help="Draw the medians: .png, .pdf or .svg.")
@click.option("--compare", nargs=2, metavar="A B", help="Show two reports of --out side by side.")
@as_json
@click.pass_context
def benchmark(
    context: click.Context, whats: tuple[str, ...], runtimes: tuple[str, ...], plain: bool,
    batches: tuple[int, ...], sizes: tuple[str, ...], rounds: int, precisions: tuple[str, ...],
    threads: tuple[int, ...], no_fuse: bool, out: str | None, plot: str | None,
    compare: tuple[str, str] | None, as_json: bool,
) -> None:  # fmt: skip
    """Time each WHAT in each runtime, in turn, and compare with the first.

    WHAT is a builder or keras.applications.NAME, with random weights; a set of weights, a run
    folder or a .keras file; or an exported file or folder of any origin. A ratio is to the first
    row with the same threads, batch and size: others were not timed in turn with it. With --plain,
    "to plain" is the ratio to the network without SE in the same runtime and precision.
    """
    if compare:
        _alone(context)
        _compare(*compare, as_json)
        return
    if not whats:
        raise click.UsageError("Missing argument 'WHAT...'.")
    from keras_se.benchmarking import chart
    from keras_se.benchmarking.benchmark import benchmark

    for name, given in (("--out", out), ("--plot", plot)):
        if given is None:
            continue
        path = Path(given)
        if not given or not path.parent.is_dir() or path.is_dir():
            raise ValueError(f"{name} must be a file in an existing folder. Received: {given!r}")
    if plot:
        chart.check_path(Path(plot))
    report = benchmark(
        whats, runtimes, plain=plain, fuse=not no_fuse, batches=batches,
        sizes=[height_and_width(size) for size in sizes], rounds=rounds, precisions=precisions,
        threads=threads,
    )  # fmt: skip
    if out:
        report.write(Path(out))
    if plot:
        chart.plot(report, Path(plot))
    if as_json:
        print_json(asdict(report))
        return
    rows = [
        (
            *_case(line),
            f"{line.median:.2f}",
            f"{line.low:.2f} to {line.high:.2f}",
            f"{line.pictures_per_second:.1f}",
            f"{line.ratio:.2f}",
            *([_figure(report.to_plain(line))] if plain else []),
        )
        for line in report.lines
    ]
    print_table(rows, (*COLUMNS, "to plain") if plain else COLUMNS)
    click.echo()
    notes = {"skipped": ", ".join(report.skipped)} if report.skipped else {}
    print_table([(name, figure(value)) for name, value in {**report.conditions, **notes}.items()])


def _case(of: Line | Row) -> tuple[str | int, ...]:
    """The cells of `CASE`."""
    return of.network, of.runtime, of.precision, "x".join(map(str, of.pictures)), of.threads


def _figure(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _alone(context: click.Context) -> None:
    """Raise a `ValueError` if anything but `--json` was given with `--compare`."""
    for name in context.params.keys() - {"compare", "as_json"}:
        if context.get_parameter_source(name) != ParameterSource.DEFAULT and context.params[name]:
            raise ValueError(
                f"`--compare` is only supported with --json. Received: {name}="
                f"{context.params[name]!r}"
            )


def _compare(first: str, second: str, as_json: bool) -> None:
    """Print two reports side by side; only ratios within a report are shown."""
    from keras_se.benchmarking import comparison, report

    reports = report.read(Path(first)), report.read(Path(second))
    found, conditions = comparison.rows(*reports), comparison.conditions(*reports)
    if as_json:
        print_json({"rows": [asdict(row) for row in found], "conditions": conditions})
        return
    rows = [
        (
            *_case(row),
            *(
                text
                for line in (row.first, row.second)
                for text in ((f"{line.median:.2f}", f"{line.ratio:.2f}") if line else ("", ""))
            ),
        )
        for row in found
    ]
    print_table(rows, BESIDE)
    click.echo()
    print_table(
        [("file", first, second), *((name, *pair) for name, pair in conditions.items())],
        ("", "A", "B"),
    )
