"""`load_image` beside timm's transform and Pillow, for every transform in the registry."""

from pathlib import Path

import numpy as np
import publishers
import pytest
import skimage
from PIL import Image

import keras_se

# Mean difference in grey levels.
TOLERANCE = 1
FOLDER = Path(skimage.__file__).parent / "data"
# Real pictures, cut to odd sizes, wide, high and nearly square.
PICTURES = {
    "astronaut.png": (511, 389), "chelsea.png": (451, 299), "coffee.png": (599, 399),
    "color.png": (333, 371), "hubble_deep_field.jpg": (999, 871), "ihc.png": (301, 511),
    "motorcycle_left.png": (741, 497), "retina.jpg": (1411, 1409), "rocket.jpg": (639, 427),
    "motorcycle_right.png": (251, 499),
}  # fmt: skip
TRANSFORMS = {
    (entry.preprocessing.size, entry.preprocessing.crop, entry.preprocessing.interpolation): entry
    for entry in keras_se.list_weights()
    if entry.input_shape[-1] == 3
}


def picture(name, folder):
    """An 8-bit RGB file of the picture's first rows and columns."""
    with Image.open(FOLDER / name) as image:
        cut = image.convert("RGB").crop((0, 0, *PICTURES[name]))
    cut.save(folder / "picture.png")
    return cut, folder / "picture.png"


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_transform(name, transform, tmp_path):
    publishers.declare_torchvision_operators()
    from timm.data import create_transform

    size, crop, interpolation = transform
    image, path = picture(name, tmp_path)
    ours = keras_se.load_image(path, TRANSFORMS[transform])[0]
    evaluate = create_transform(
        size, crop_pct=crop, interpolation=interpolation, mean=(0, 0, 0), std=(1, 1, 1)
    )
    theirs = 255 * evaluate(image).numpy().transpose(1, 2, 0)
    assert ours.shape == theirs.shape == (size, size, 3)
    by_timm = np.abs(ours - theirs).mean()

    shorter = int(size / crop)
    width, height = (
        (shorter, shorter * image.height // image.width)
        if image.width < image.height
        else (shorter * image.width // image.height, shorter)
    )
    resized = image.resize((width, height), Image.Resampling[interpolation.upper()])
    left, top = round((width - size) / 2), round((height - size) / 2)
    by_pillow = np.abs(ours - np.asarray(resized, "f4")[top : top + size, left : left + size])
    print(f"{name:<22}{transform!s:<26} timm {by_timm:.3f}  Pillow {by_pillow.mean():.3f}")
    assert by_timm < TOLERANCE
    assert by_pillow.mean() < TOLERANCE
