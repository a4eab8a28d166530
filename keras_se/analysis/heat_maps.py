"""Pictures beside their heat maps, as a file to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from keras_se.files import atomic, writing

# Smallest side of a picture in the file.
SIDE = 224
COLOURS = "inferno"
# Share of the colour at the hottest place.
COVER = 0.75


def check_drawable(path: Path) -> None:
    """Raise a `ValueError` unless a file of heat maps can be drawn there."""
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        raise ValueError(
            f"`heatmap` must be a .png file in an existing folder. Received: heatmap={str(path)!r}"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError(
            "`heatmap` needs Matplotlib: pip install keras-se[train]. "
            f"Received: heatmap={str(path)!r}"
        ) from None


def draw_heat_maps(pictures: np.ndarray, maps: np.ndarray, path: Path) -> None:
    """Write a PNG with a row per picture: the picture, and the map blended over it.

    `pictures` are `(batch, H, W, C)` in 0..255, grey or RGB; `maps` are `(batch, H, W)` in 0..1.
    """
    colours = np.broadcast_to(pictures, (*pictures.shape[:3], 3))
    rows = np.concatenate([colours, blended(pictures, maps)], axis=2).clip(0, 255)
    image = Image.fromarray(rows.reshape(-1, *rows.shape[2:]).astype("uint8"))
    scale = -(-SIDE // min(pictures.shape[1:3]))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    with writing(path), atomic(path, ".png") as temporary:
        image.save(temporary)


def blended(pictures: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Pictures `(batch, H, W, C)` with maps `(batch, H, W)` in 0..1 over them, `(batch, H, W, 3)`.

    The hotter a place, the more its colour covers the picture; where nothing is hot, it stays.
    """
    import matplotlib

    heat = matplotlib.colormaps[COLOURS](maps)[..., :3] * 255
    share = COVER * maps[..., None]
    return (1 - share) * pictures + share * heat
