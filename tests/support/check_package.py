"""Builds the sdist and the wheel and uses each from a clean environment, outside the checkout.

python tests/support/check_package.py
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from places import ROOT

USE = """
import sys
import keras_se
assert "keras" not in sys.modules
names = [entry.name for entry in keras_se.list_weights()]
for entry in (entry for entry in keras_se.list_weights() if entry.url is None):
    model = getattr(keras_se, entry.model)(weights=entry.name, classes=entry.classes)
    assert model.count_params() == entry.params_total
    print(entry.name, model.count_params())
assert len(keras_se.list_models()) >= 16
assert len(names) >= 171
# Data files of the conversion.
import keras_se.weights.conversion
assert sorted(keras_se.weights.conversion._class_order()) == list(range(1000))
# The template of the report.
import importlib.resources
assert importlib.resources.files("keras_se.analysis").joinpath("report.html").is_file()
assert keras_se.SqueezeExcite(4)(__import__("numpy").ones((1, 2, 2, 8))).shape == (1, 2, 2, 8)
"""


def run(*command, cwd):
    print("$", *map(str, command), flush=True)
    subprocess.run(command, check=True, cwd=cwd)


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
        (wheel,) = (folder / "dist").glob("*.whl")
        (sdist,) = (folder / "dist").glob("*.tar.gz")
        for package in (wheel, sdist):
            environment = folder / f"from_{package.suffix[1:]}"
            venv.create(environment, with_pip=True)
            python = environment / "bin" / "python"
            run(python, "-m", "pip", "install", "-q", package, cwd=folder)
            run(python, "-c", USE, cwd=folder)
            for arguments in (("--version",), ("list",), ("info", "SEResNet20"), ("doctor",)):
                run(environment / "bin" / "keras-se", *arguments, cwd=folder)


if __name__ == "__main__":
    main()
