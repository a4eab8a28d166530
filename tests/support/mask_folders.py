"""Folders of pictures and masks: bright shapes of two kinds on dark canvases."""

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("ground", "red", "green")


def scene(seed, height, width):
    """A picture, uint8 RGB, and its mask: a red and a green rectangle on dark noise."""
    random = np.random.default_rng(seed)
    picture = random.integers(0, 60, (height, width, 3))
    mask = np.zeros((height, width), np.uint8)
    for number in (1, 2):
        top, left = random.integers(0, height // 2), random.integers(0, width // 2)
        place = np.s_[top : top + height // 2, left : left + width // 2]
        picture[place] = 30
        picture[place][..., number - 1] = 220
        mask[place] = number
    return picture.astype(np.uint8), mask


def write(folder, parts=(("train", 10), ("val", 4), ("test", 4)), named=True):
    """Write parts of so many scenes of several sizes; a part of no name is the folder itself."""
    folder = Path(folder)
    for offset, (part, count) in enumerate(parts):
        for kind in ("pictures", "masks"):
            (folder / part / kind).mkdir(parents=True)
        for n in range(count):
            picture, mask = scene(100 * offset + n, 40 + n, 64 - 2 * n)
            mask[0] = 255
            image = Image.fromarray(mask, mode="P" if n % 2 else None)
            if n % 2:
                image.putpalette(list(range(256)) * 3)
            image.save(folder / part / "masks" / f"scene{n}.png")
            Image.fromarray(picture).save(folder / part / "pictures" / f"scene{n}.jpg", quality=95)
    if named:
        (folder / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return folder
