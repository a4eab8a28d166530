"""`keras-se train`: run a recipe."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from keras_se.commands._output import as_json, figure, flat, print_json, print_table


@click.command()
@click.argument("recipe")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe.")
@click.option(
    "--run",
    "folder",
    metavar="FOLDER",
    help="Run folder; default the next free runs/RECIPE[-N], or with --resume the newest.",
)
@click.option("--resume", is_flag=True, help="Resume the run in the folder.")
@click.option("--strategy", default="auto", show_default=True, help="Devices: auto, none, ...")
@click.option("--dry-run", is_flag=True, help="Print the plan and its cost, without training.")
@as_json
def train(
    recipe: str, settings: tuple[str, ...], folder: str | None, resume: bool, strategy: str,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train a network with RECIPE.

    A stopped or even killed run resumes bit for bit with --resume. SIGTERM and Ctrl-C write a
    checkpoint first.
    """
    if folder == "":
        raise ValueError("`--run` must name a folder. Received: --run=''")
    from keras_se.recipes import get_recipe

    chosen = get_recipe(recipe).changed(settings)
    base = Path("runs") / recipe
    from keras_se.training.run_folder import newest, next_free

    path = Path(folder) if folder else newest(base) if resume else next_free(base)
    if dry_run:
        from keras_se.labels import first_names
        from keras_se.training.plan import plan

        report = plan(chosen, strategy, partial(click.echo, err=True))
        if as_json:
            print_json(report)
            return
        report["class_names"] = first_names(report["class_names"])
        print_table([("folder", path), *((key, figure(value)) for key, value in report.items())])
        return
    from keras_se.training.progress import Progress
    from keras_se.training.run import Interrupted, Run

    # With `--json`, stdout is JSON alone.
    with Progress(sys.stderr if as_json else sys.stdout) as progress:
        if folder is None:
            progress.report(f"run folder: {path}")
        run = Run(chosen, path, strategy=strategy, report=progress.report, progress=progress.step)
        try:
            results = run.train(resume=resume)
        except Interrupted as error:
            progress.report(f"{error}: wrote a checkpoint to {path}; continue with --resume")
            sys.exit(error.exit_code)
    if as_json:
        print_json({"folder": str(path), **results})
    else:
        print_table([("folder", path), *flat(results)])
