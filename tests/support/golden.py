"""Golden lists of every network's variables: path and shape. They are the weights' file format.

python tests/golden.py      # writes them anew, after a change that orphans older files
"""

from pathlib import Path

import keras_se

FOLDER = Path(__file__).parent / "golden"


def listing(model):
    """One line a variable, in the model's order."""
    return "".join(f"{v.path} {' '.join(map(str, v.shape))}\n" for v in model.weights)


def golden(name):
    """Path of the golden list of a network."""
    return FOLDER / f"{name}.txt"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in keras_se.list_models():
        golden(name).write_text(listing(getattr(keras_se, name)(weights=None)), "utf-8")
