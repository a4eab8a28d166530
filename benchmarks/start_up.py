"""Start-up: building SE-ResNet-50, importing the package, and the command line's first answer.

python benchmarks/start_up.py
"""

import subprocess
import sys
from pathlib import Path

import keras

import keras_se
from keras_se.benchmarking.timing import conditions, described, measure


def process(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def python(code: str) -> None:
    process(sys.executable, "-c", code)


def build(builder) -> None:
    keras.backend.clear_session()
    builder(weights=None)


def main() -> None:
    print(described(conditions()))
    print("\nbuilding without weights")
    measure(
        {
            "keras.applications.ResNet50": lambda: build(keras.applications.ResNet50),
            "keras_se.SEResNet50": lambda: build(keras_se.SEResNet50),
        },
        rounds=15,
    )
    print("\nimporting, a fresh process each")
    measure(
        {
            "import keras": lambda: python("import keras"),
            "import keras, keras_se": lambda: python("import keras, keras_se"),
            "import keras_se": lambda: python("import keras_se"),
        },
        rounds=10,
        warm_up=1,
    )
    print("\nthe command line, a fresh process each")
    command = str(Path(sys.executable).with_name("keras-se"))
    measure(
        {
            "keras-se --help": lambda: process(command, "--help"),
            "keras-se list": lambda: process(command, "list"),
        },
        rounds=10,
        warm_up=1,
    )


if __name__ == "__main__":
    main()
