"""`keras-se train`: a recipe, run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from keras_se.commands._output import as_json, figure, flat, print_json, print_table


@click.command()
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
            print_json(report)
        else:
            print_table([(key, figure(value)) for key, value in report.items()])
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
        print_json(results)
    else:
        print_table([("folder", path), *flat(results)])
