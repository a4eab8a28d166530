"""The command line: `keras-se`.

A user's mistake ends in one line on stderr and exit code 2. Keras is imported only by the commands
that compute.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

import keras_se
from keras_se.checks import unknown_choice
from keras_se.weights.entries import Weights, get_weights, list_weights

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(keras_se.__version__, prog_name="keras-se")
@click.pass_context
def cli(context: click.Context) -> None:
    """Squeeze-and-Excitation networks for Keras."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _print_table(rows: Sequence[Sequence[Any]], columns: Sequence[str] = ()) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, show_header=bool(columns))
    for row in rows:
        table.add_row(*map(str, row))
    # A pipe has no width: nothing is cut there.
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else 500).print(table)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@cli.command("list")
@as_json
def list_command(as_json: bool) -> None:
    """List the networks and their sets of weights."""
    sets = {model: list_weights(model) for model in keras_se.list_models()}
    if as_json:
        _print_json({model: [asdict(entry) for entry in sets[model]] for model in sets})
    else:
        rows = [
            (model, len(sets[model]), ", ".join(e.name for e in sets[model] if e.default))
            for model in sets
        ]
        _print_table(rows, ("network", "sets", "default for its data set"))


@cli.command()
@click.argument("model")
@as_json
def info(model: str, as_json: bool) -> None:
    """Describe the network MODEL, as its builder makes it by default, and its sets of weights.

    MODEL may be the name of a set, too: then that set is described.
    """
    if model not in keras_se.list_models() and "." in model:
        entry = get_weights(model)
        if as_json:
            _print_json(asdict(entry))
        else:
            _print_table(_describe(entry))
        return
    entries = list_weights(model)
    network = getattr(keras_se, model)(weights=None)
    report = {
        "model": model,
        "name": network.name,
        "input_shape": network.input_shape[1:],
        "classes": network.output_shape[-1],
        "params_trainable": sum(math.prod(v.shape) for v in network.trainable_variables),
        "params_total": network.count_params(),
        "squeeze_excite_blocks": sum(
            isinstance(layer, keras_se.SqueezeExcite) for layer in network.layers
        ),
        "weights": [asdict(entry) for entry in entries],
    }
    if as_json:
        _print_json(report)
        return
    _print_table([(key, _figure(value)) for key, value in report.items() if key != "weights"])
    if entries:
        click.echo()
        columns = ("set of weights", "data set", "default", "top-1", "at", "parameters", "licence")
        _print_table([_summary(entry) for entry in entries], columns)


@cli.command()
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
        _print_json(asdict(report))
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


@cli.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--weights", required=True, help="Name of a set of weights; see `keras-se list`.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Classes.")
@click.option("--convert", is_flag=True, help="Convert pictures that are not 8-bit RGB (or grey).")
@as_json
def predict(images: tuple[str, ...], weights: str, top: int, convert: bool, as_json: bool) -> None:
    """Name what is on each IMAGE."""
    import numpy as np

    entry = get_weights(weights)
    entry.fetch()
    pictures = np.concatenate(
        [keras_se.load_image(image, entry, convert=convert) for image in images]
    )
    network = getattr(keras_se, entry.model)(weights=entry.name, classes=entry.classes)
    predictions = network.predict(pictures, verbose=0)
    decoded = keras_se.decode_predictions(predictions, top, dataset=entry.dataset)
    if as_json:
        keys = ("class_id", "label", "score")
        _print_json([
            {"image": image, "predictions": [dict(zip(keys, row, strict=True)) for row in rows]}
            for image, rows in zip(images, decoded, strict=True)
        ])  # fmt: skip
        return
    for image, rows in zip(images, decoded, strict=True):
        click.echo(image)
        for _, label, score in rows:
            click.echo(f"  {score:6.1%}  {label}")


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@as_json
def download(names: tuple[str, ...], as_json: bool) -> None:
    """Fetch published sets of weights into the cache.

    NAME is a set's name, a pattern such as 'se_resnet50.*', or a network, for its default sets.
    The folder `published` in the cache can serve another machine as KERAS_SE_MIRROR.
    """
    from keras_se.weights.cache import fetched

    entries = dict.fromkeys(entry for name in names for entry in _matching(name))
    report = [{"name": entry.name, "path": str(fetched(entry))} for entry in entries]
    if as_json:
        _print_json(report)
    else:
        _print_table([tuple(row.values()) for row in report])


def _matching(name: str) -> list[Weights]:
    published = [entry for entry in list_weights() if entry.url]
    if name in keras_se.list_models():
        found = [entry for entry in published if entry.model == name and entry.default]
    else:
        found = [entry for entry in published if fnmatchcase(entry.name, name)]
    if not found and name in keras_se.list_models():
        raise ValueError(
            f"`name` must have sets of weights that are published; {name} has none to download. "
            f"Received: name={name!r}"
        )
    if not found:
        raise ValueError(unknown_choice("name", name, [], "a set of weights that is published"))
    return found


@cli.command()
@as_json
def verify(as_json: bool) -> None:
    """Check the hash of every file in the cache; exit code 2 if one is damaged."""
    from keras_se.weights.cache import home, verify

    report = [{"path": str(path), "error": error} for path, error in verify()]
    if as_json:
        _print_json(report)
    else:
        _print_table([(row["error"] or "sound", row["path"]) for row in report])
    damaged = sum(row["error"] is not None for row in report)
    if damaged:
        raise ValueError(f"{damaged} of {len(report)} files in {home()} are damaged; delete them")


@cli.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--model", required=True, help="Builder, or the publisher's name of a network.")
@click.option("--layout", required=True, help="Whose names: osmr, timm, qubvel or caffe.")
@click.option("--verbose", is_flag=True, help="Print what went where.")
@as_json
def convert(
    source: str, target: str, model: str, layout: str, verbose: bool, as_json: bool
) -> None:
    """Convert a publisher's file SRC, or one trained from it, to DST.

    DST ends in .keras, for the whole network, or in .weights.h5.
    """
    from keras_se.weights.checkpoint import convert_file

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
    if as_json:
        _print_json(report)
        return
    for ours, names in report.pop("variables", {}).items():
        click.echo(f"{ours}  <-  {', '.join(names)}")
    _print_table([(key, _figure(value)) for key, value in report.items()])


@cli.command()
@click.argument("recipe")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe.")
@click.option("--run", "folder", metavar="FOLDER", help="Run folder; default runs/RECIPE.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option("--strategy", default="auto", show_default=True, help="Devices: auto, none, ...")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and what it costs.")
@as_json
def train(
    recipe: str, settings: tuple[str, ...], folder: str | None, resume: bool, strategy: str,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train a network as RECIPE says.

    A run that was stopped, even killed, goes on bit for bit with --resume. SIGTERM and Ctrl-C write
    a checkpoint first.
    """
    from keras_se.training.recipe import get_recipe

    chosen = get_recipe(recipe).changed(settings)
    path = Path(folder or f"runs/{recipe}")
    if dry_run:
        from keras_se.training.plan import plan

        report = plan(chosen, strategy)
        if as_json:
            _print_json(report)
        else:
            _print_table([(key, _figure(value)) for key, value in report.items()])
        return
    from keras_se.training.progress import Progress
    from keras_se.training.run import Interrupted, Run

    with Progress() as progress:
        run = Run(chosen, path, strategy=strategy, report=progress.report, progress=progress.step)
        try:
            results = run.train(resume=resume)
        except Interrupted as error:
            progress.report(f"{error}: a checkpoint is in {path}; go on with --resume")
            sys.exit(error.exit_code)
    if as_json:
        _print_json(results)
    else:
        _print_table([("folder", path), *_flat(results)])


@cli.command()
@click.argument("what", metavar="WEIGHTS")
@click.option("--data", metavar="FOLDER", help="One folder of pictures a class, named by it.")
@click.option("--bad-pictures", default="refuse", show_default=True, help="refuse or skip.")
@as_json
def evaluate(what: str, data: str | None, bad_pictures: str, as_json: bool) -> None:
    """Measure how well a set of WEIGHTS, or the run in a folder, names pictures.

    Without --data these are the test pictures of its own data set. Pictures of a folder go through
    the set's own evaluation transform.
    """
    from keras_se.training.evaluation import evaluate

    report = evaluate(what, None if data is None else Path(data), bad_pictures=bad_pictures)
    if as_json:
        _print_json(asdict(report))
        return
    figures = ("cross_entropy", "top1", "top5")
    rows = [(name, f"{getattr(report, name):.4f}") for name in figures]
    _print_table([("weights", report.what), ("pictures", f"{report.pictures:,}"), *rows])
    click.echo()
    table = [
        (name, count, "" if top1 is None else f"{top1:.2%}", _mistaken(report.confusion[n], n))
        for n, (name, count, top1) in enumerate(report.per_class())
        if count
    ]
    most = [(*row[:3], "" if row[3] is None else report.classes[row[3]]) for row in table]
    _print_table(most, ("class", "pictures", "top-1", "most often mistaken for"))
    for path in report.skipped:
        click.echo(f"no picture, left out: {path}")


@cli.command()
@click.argument("what")
@click.argument("path", required=False)
@click.option("--format", default="tf_saved_model", show_default=True,
              help="tf_saved_model, onnx, openvino or litert.")  # fmt: skip
@click.option("--serving-dir", metavar="BASE", help="Write BASE/VERSION for TensorFlow Serving.")
@click.option("--labels", metavar="FILE", help="Class names, one a line, or a data set's name.")
@click.option("--preprocessing", metavar="WEIGHTS", help="Whose resize and crop; see `list`.")
@click.option("--int8", metavar="DATA", help="Quantise by a folder of pictures or a data set.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Classes.")
@click.option("--no-fuse", is_flag=True, help="Leave the network as it was trained.")
@as_json
def export(
    what: str, path: str | None, format: str, serving_dir: str | None, labels: str | None,
    preprocessing: str | None, int8: str | None, top: int, no_fuse: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write WHAT to PATH, for servers and devices.

    WHAT is a set of weights, a run folder or a .keras file. What was written is run and compared
    with the model.
    """
    if (path is None) == (serving_dir is None):
        raise ValueError("give either PATH or --serving-dir BASE")
    from keras_se.serving import sources

    model, options = sources.load(what)
    if labels is not None:
        file = Path(labels)
        options["labels"] = file.read_text("utf-8").splitlines() if file.is_file() else labels
    if preprocessing is not None:
        options["preprocessing"] = preprocessing
    if int8 is not None:
        options["representative"] = sources.pictures(int8)
    written = keras_se.export(
        model, str(path or serving_dir), format, fuse=not no_fuse, top_k=top,
        serving=serving_dir is not None, **options,
    )  # fmt: skip
    report = {
        "path": str(written.path),
        "format": written.format,
        "bytes": written.bytes,
        "largest_difference": written.difference,
        "classes": len(written.labels),
    }
    if as_json:
        _print_json(report)
    else:
        _print_table([(key, _figure(value)) for key, value in report.items()])


def _mistaken(row: list[int], own: int) -> int | None:
    """The class, other than its own, that a class's pictures are named most often."""
    others = [count if n != own else 0 for n, count in enumerate(row)]
    return others.index(max(others)) if max(others) else None


@cli.command()
@click.argument("model")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--samples-per-class", "samples", default="50", show_default=True, metavar="N|all")
@click.option("--plot", metavar="PATH", help="Draw the paper's figures: .png, .pdf or .svg.")
@click.option("--class", "classes", multiple=True, help="Class to draw; may be repeated.")
@click.option("--block", "blocks", multiple=True, help="Block to draw; may be repeated.")
@click.option("--save", metavar="PATH", help="Keep what was measured, as .npz.")
@as_json
def excitations(
    model: str, data: str | None, samples: str, plot: str | None, classes: tuple[str, ...],
    blocks: tuple[str, ...], save: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure the gates of MODEL by class, as the paper does in Section 7.2.

    MODEL is a set of weights or a .keras file, DATA a folder with one folder of pictures a class;
    without it these are the test pictures of the set's own data set.
    """
    from keras_se.analysis.command import excitations_of
    from keras_se.analysis.figure import check_path

    if not plot and (classes or blocks):
        raise ValueError("`--plot` must be given with --class and --block. Received: none")
    if plot:
        check_path(Path(plot))
    found = excitations_of(model, None if data is None else Path(data), samples)
    if save:
        found.save(save)
    if plot:
        found.plot(plot, classes or None, blocks=blocks or None)
    summary = found.summary()
    if as_json:
        counts = dict(zip(found.classes, found.counts.tolist(), strict=True))
        _print_json({"model": model, "counts": counts, **asdict(summary)})
    else:
        click.echo(str(summary))


def _flat(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in report.items():
        if isinstance(value, dict):
            rows += [(f"{key} {name}", f"{part:.4f}") for name, part in value.items()]
        else:
            rows.append((key, _figure(value)))
    return rows


def _figure(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def _summary(entry: Weights) -> tuple[str, ...]:
    top1 = [f"{metric.value:.2%}" for metric in entry.metrics if metric.name == "top1"]
    kind = ["measured" if metric.measured else "claimed" for metric in entry.metrics[:1]]
    return (
        entry.name,
        entry.dataset,
        "yes" if entry.default else "",
        " ".join(top1 + kind),
        str(entry.preprocessing.size),
        f"{entry.params_trainable:,}{' (plain)' if entry.plain else ''}",
        entry.licence,
    )


def _describe(entry: Weights) -> list[tuple[str, str]]:
    rows = [(key, _figure(value)) for key, value in asdict(entry).items() if key != "metrics"]
    for metric in entry.metrics:
        kind = "measured" if metric.measured else "claimed"
        figure = f"{metric.value} on {metric.dataset} {metric.split} ({kind})"
        rows.append((metric.name, figure))
    return rows


def main() -> None:
    """Run the command line; users' mistakes become one line and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
    except click.Abort:
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError) as error:
        message = " ".join(str(error).split())
    else:
        return
    click.echo(f"keras-se: error: {message}", err=True)
    sys.exit(2)
