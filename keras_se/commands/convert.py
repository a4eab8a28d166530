"""`keras-se convert`: convert a publisher's file to a Keras file."""

from __future__ import annotations

from typing import Any

import click

from keras_se.commands._output import as_json, print_report


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--model", required=True, help="Builder, or the publisher's name of a network.")
@click.option("--layout", required=True,
              help="Naming scheme: osmr, timm, qubvel, caffe or zfturbo.")  # fmt: skip
@click.option("--verbose", is_flag=True, help="Print the source of each variable.")
@as_json
def convert(
    source: str, target: str, model: str, layout: str, verbose: bool, as_json: bool
) -> None:
    """Convert a publisher's file SRC, or one trained from it, to DST.

    DST ends in .keras, for the whole network, or in .weights.h5.
    """
    from keras_se.checkpoint import convert_file

    network, sources = convert_file(source, target, layout=layout, model=model)
    report: dict[str, Any] = {
        "file": target,
        "network": network.name,
        "output_shape": network.output_shape[1:],
        "parameters": network.count_params(),
        "tensors": sum(map(len, sources.values())),
    }
    if verbose:
        report["variables"] = sources
    if not as_json:
        for ours, names in report.pop("variables", {}).items():
            click.echo(f"{ours}  <-  {', '.join(names)}")
    print_report(report, as_json)
