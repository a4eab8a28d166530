"""Start-up: building SE-ResNet-50, importing the package, and the command line's first answer.

python benchmarks/start_up.py [--before CHECKOUT]

`--before` measures another checkout of the package beside this one, in turn.
"""

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from keras_se.benchmarking.timing import conditions, described, measure

HERE = Path(__file__).resolve().parents[1]
BUILDER = """
import sys
import keras
import {module} as room
for _ in sys.stdin:
    keras.backend.clear_session()
    room.{name}(weights=None)
    print("built", flush=True)
"""
COMMAND_LINE = "import sys; from keras_se.cli import main; sys.exit(main())"


class Checkout:
    """Runs Python with the package of one folder."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def python(self, code: str, *arguments: str) -> None:
        """Run code in a fresh process."""
        command = [sys.executable, "-c", code, *arguments]
        subprocess.run(command, check=True, capture_output=True, env=self.environment)

    def builder(self, module: str, name: str) -> Callable[[], None]:
        """Return a function that builds a network in a process that stays."""
        code = BUILDER.format(module=module, name=name)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=self.environment,
        )  # fmt: skip

        def build() -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            if process.stdout.readline() != "built\n":
                raise SystemExit(f"{module}.{name} could not be built")

        return build


# Title, name, code and arguments of each measurement of a fresh process.
PROCESSES = (
    ("importing", "import keras", "import keras", ()),
    ("importing", "import keras, keras_se", "import keras, keras_se", ()),
    ("importing", "import keras_se", "import keras_se", ()),
    ("the command line", "keras-se --help", COMMAND_LINE, ("--help",)),
    ("the command line", "keras-se list", COMMAND_LINE, ("list",)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    before = parser.parse_args().before
    checkouts = {"": Checkout(HERE)}
    if before is not None:
        checkouts = {" (before)": Checkout(before), **checkouts}

    print(described(conditions()))
    print("\nbuilding without weights")
    things = {
        f"keras_se.SEResNet50{age}": checkout.builder("keras_se", "SEResNet50")
        for age, checkout in checkouts.items()
    }
    things["keras.applications.ResNet50"] = checkouts[""].builder("keras.applications", "ResNet50")
    measure(things, rounds=25)
    for title, name, code, arguments in PROCESSES:
        print(f"\n{title}, a fresh process each")
        measure(
            {
                name + age: functools.partial(checkout.python, code, *arguments)
                for age, checkout in checkouts.items()
            },
            rounds=10,
            warm_up=1,
        )


if __name__ == "__main__":
    main()
