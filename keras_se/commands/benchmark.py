"""`keras-se benchmark`: compare networks and runtimes."""

from __future__ import annotations

from dataclasses import asdict

import click

from keras_se.commands._output import as_json, figure, print_json, print_table

COLUMNS = (
    "network", "runtime", "precision", "pictures", "median ms", "quartiles", "pictures/s", "ratio",
)  # fmt: skip


@click.command()
@click.argument("whats", nargs=-1, required=True, metavar="WHAT...")
@click.option("--runtime", "runtimes", multiple=True, default=("tf_saved_model",),
              show_default=True,
              help="Or keras, openvino, onnx, litert; repeatable.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Also time each builder's network without SE.")
@click.option("--batch", default=1, show_default=True, help="Batch size.")
@click.option("--size", type=int, help="Height and width; default the network's own.")
@click.option("--rounds", default=20, show_default=True, help="Number of timed rounds.")
@click.option("--precision", default="float32", show_default=True,
              help="OpenVINO's precision: float32 or bfloat16.")  # fmt: skip
@click.option("--threads", type=int, help="Threads per runtime; default all cores.")
@click.option("--no-fuse", is_flag=True, help="Do not fuse networks.")
@as_json
def benchmark(
    whats: tuple[str, ...], runtimes: tuple[str, ...], plain: bool, batch: int, size: int | None,
    rounds: int, precision: str, threads: int | None, no_fuse: bool, as_json: bool,
) -> None:  # fmt: skip
    """Time each WHAT in each runtime, in turn, and compare with the first.

    WHAT is a builder or keras.applications.NAME, with random weights; a set of weights, a run
    folder or a .keras file; or an exported file or folder of any origin.
    """
    from keras_se.benchmarking.benchmark import benchmark

    report = benchmark(
        whats, runtimes, plain=plain, fuse=not no_fuse, batch=batch, size=size, rounds=rounds,
        precision=precision, threads=threads,
    )  # fmt: skip
    if as_json:
        print_json(asdict(report))
        return
    rows = [
        (
            line.network,
            line.runtime,
            line.precision,
            "x".join(map(str, line.pictures)),
            f"{line.median:.2f}",
            f"{line.low:.2f} to {line.high:.2f}",
            f"{line.pictures_per_second:.1f}",
            f"{line.ratio:.2f}",
        )
        for line in report.lines
    ]
    print_table(rows, COLUMNS)
    click.echo()
    print_table([(name, figure(value)) for name, value in report.conditions.items()])
