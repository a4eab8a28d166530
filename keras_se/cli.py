"""The command line: `keras-se`.

User errors end with one line on stderr and exit code 2; exit code 1 means that `doctor` or
`verify --all` found a fault.
"""

from __future__ import annotations

import os
import sys

import click

import keras_se
from keras_se.commands.benchmark import benchmark
from keras_se.commands.convert import convert
from keras_se.commands.cost import cost
from keras_se.commands.doctor import doctor
from keras_se.commands.download import download
from keras_se.commands.evaluate import evaluate
from keras_se.commands.excitations import excitations
from keras_se.commands.export import export
from keras_se.commands.info import info
from keras_se.commands.join import join
from keras_se.commands.list import list_command
from keras_se.commands.predict import predict
from keras_se.commands.train import train
from keras_se.commands.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(keras_se.__version__, prog_name="keras-se")
@click.pass_context
def cli(context: click.Context) -> None:
    """Squeeze-and-Excitation networks for Keras."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    list_command,
    info,
    cost,
    predict,
    join,
    download,
    verify,
    doctor,
    convert,
    train,
    evaluate,
    export,
    excitations,
    benchmark,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; user errors become one line and exit code 2."""
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
