"""`keras-se convert`: convert a publisher's file to a Keras file, and back."""

from __future__ import annotations

from typing import Any

import click

from keras_se.commands._output import as_json, print_report


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--model", help="Builder, or the publisher's name of a network.")
@click.option(
    "--layout",
    help="Naming scheme of SRC: osmr, timm, qubvel, mmpretrain, paddleclas, caffe or zfturbo.",
)
@click.option("--to", metavar="LAYOUT", help="Naming scheme of DST, for PyTorch: osmr or timm.")
@click.option("--verbose", is_flag=True, help="Print the source of each variable.")
@as_json
def convert(
    source: str, target: str, model: str | None, layout: str | None, to: str | None,
    verbose: bool, as_json: bool,
) -> None:  # fmt: skip
    """Convert a publisher's file SRC, or one trained from it, to DST; or back with --to.

    DST ends in .keras, for the whole network, or in .weights.h5. With --to, SRC is a .keras file, a
    run folder or a set of weights, and DST a state dict that ends in .safetensors.
    """
    if to is not None:
        if layout is not None or verbose:
            raise click.UsageError("--to has neither --layout nor --verbose.")
        _back(source, target, to, model, as_json)
        return
    if model is None or layout is None:
        raise click.UsageError("give --model and --layout, or --to.")
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


def _back(source: str, target: str, layout: str, network: str | None, as_json: bool) -> None:
    """Write a network as a publisher's state dict."""
    import keras_se

    model = keras_se.get_model(source)
    name = keras_se.save_checkpoint(model, target, layout=layout, network=network)
    described = keras_se.describe(model)
    report = {
        "file": target,
        "network": name,
        "output_shape": model.output_shape[1:],
        "parameters": model.count_params(),
        "mean": described.mean,
        "std": described.std,
        "channel_order": described.channel_order,
    }
    print_report(report, as_json)
