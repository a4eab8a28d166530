"""Makes a finished run a set of weights of the package.

    keras-se train fashion_mnist --run runs/NAME
    python pretrained/bundle.py runs/NAME NAME

Writes `keras_se/weights/files/NAME.h5`, in `pretrained/NAME/` a link to it with the run's recipe,
versions and log, and the row of `results.csv`; prints what `keras_se/weights/registry.json` and the
card need. The figures are the run's own: the test pictures were read once, at its end.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

import keras
from results import RESULTS

import keras_se
from keras_se.data.datasets import load_pictures
from keras_se.weights.hashes import file_hash
from keras_se.weights.variable_file import write_variables

HERE = Path(__file__).resolve().parent
FILES = HERE.parent / "keras_se" / "weights" / "files"
KEPT = {
    "recipe.json": "recipe.json",
    "environment.json": "environment.json",
    "metrics.csv": "log.csv",
}


def normalisation(model: keras.Model) -> dict[str, list[float]]:
    """Mean and standard deviation of the network's own normalisation, for pictures in 0..1."""
    (layer,) = (x for x in model.layers if isinstance(x, keras.layers.Normalization))
    return {
        "mean": [round(value / 255, 6) for value in layer.input_mean],
        "std": [round(value**0.5 / 255, 6) for value in layer.input_variance],
    }


def bundle(run: Path, name: str) -> None:
    """Take the last weights of a run, never the best."""
    recipe = json.loads((run / "recipe.json").read_text("utf-8"))
    found = json.loads((run / "results.json").read_text("utf-8"))
    with open(run / "metrics.csv", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    model = keras.saving.load_model(run / "last.keras", compile=False)

    file = FILES / f"{name}.h5"
    write_variables(model, file)
    card = HERE / name
    card.mkdir(exist_ok=True)
    link = card / file.name
    link.unlink(missing_ok=True)
    link.symlink_to(Path("..") / ".." / file.relative_to(HERE.parent))
    for source, target in KEPT.items():
        shutil.copy(run / source, card / target)

    metrics = {key: round(found["test"][key], 6) for key in ("top1", "top5")}
    parameters = {key: found[f"parameters_{key}"] for key in ("trainable", "total")}
    RESULTS.replace(
        lambda row: row["name"] == name,
        [
            {
                "name": name,
                "split": "test",
                "pictures": len(load_pictures(recipe["data"])["test"]),
                **metrics,
                "validation_top1": f"{float(last['val_top1']):.4f}",
                "epochs": recipe["epochs"],
                "parameters_trainable": parameters["trainable"],
                "parameters_total": parameters["total"],
                "macs": keras_se.cost(model).macs,
            }
        ],
    )
    print(f"variant: {json.dumps(recipe['variant'])}")
    print(f"normalisation: {json.dumps(normalisation(model))}")
    print(f"sha: {file_hash(file)}, {file.stat().st_size:,} bytes")
    print(f"metrics: {json.dumps(metrics)}, parameters: {json.dumps(parameters)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    bundle(arguments.run, arguments.name)


if __name__ == "__main__":
    main()
