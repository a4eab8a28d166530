"""Golden lists of every network's variables: path and shape. They are the weights' file format.

python tests/support/golden.py      # writes them anew, after a change that orphans older files
"""

from places import GOLDEN

import keras_se


def listing(model):
    """One line a variable, in the model's order."""
    return "".join(f"{v.path} {' '.join(map(str, v.shape))}\n" for v in model.weights)


def golden(name):
    """Path of the golden list of a network."""
    return GOLDEN / f"{name}.txt"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in keras_se.list_models():
        golden(name).write_text(listing(getattr(keras_se, name)(weights=None)), "utf-8")
