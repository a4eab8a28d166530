"""Folders of small pictures, one for each class, and a short recipe that trains on them."""

import numpy as np
from PIL import Image

from keras_se.training.recipe import Recipe


def write(folder, names="abc", count=5):
    """So many small pictures in a folder for each of the names."""
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            picture = np.full((12, 10, 3), 40 * place + n, "uint8")
            Image.fromarray(picture).save(folder / name / f"{n}.png")
    return folder


def recipe(folder, *settings):
    return Recipe(
        model="SEResNet20", data="folder", data_dir=str(folder), image_size=16, batch=4,
        variant={"blocks": (1, 1, 1)},
    ).changed(settings)  # fmt: skip
