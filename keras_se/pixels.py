"""Decoded pictures, converted to the colours and the size that a network takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from keras_se.views import CENTRE, View

TURNED = "a picture that is turned (EXIF orientation {})"
# Pillow's 8-bit modes in words.
MODES = {
    "1": "a black-and-white picture",
    "L": "a grey picture",
    "RGB": "an RGB picture",
    "P": "a palette picture",
    "CMYK": "a CMYK picture",
    "YCbCr": "a YCbCr picture",
    "LAB": "a LAB picture",
    "HSV": "an HSV picture",
    "LA": "a transparent picture",
    "RGBA": "a transparent picture",
}


class UnfitError(ValueError):
    """The picture is undamaged but not acceptable."""


def require(image: Image.Image, colours: str, label: str, orientation: int) -> None:
    """Raise unless the picture is in the mode `colours`, or converts to it without loss."""
    if orientation > 1:
        received = TURNED.format(orientation)
    elif image.has_transparency_data:
        received = "a transparent picture"
    elif any(";16" in str(tile) for tile in getattr(image, "tile", ())) or image.mode not in MODES:
        received = f"more than 8 bits a channel (mode {image.mode})"
    elif image.mode == colours or (image.mode == "P" and colours == "RGB"):
        return
    else:
        received = MODES[image.mode]
    raise UnfitError(
        f"{label}: expected {MODES[colours]} with 8 bits a channel (strict=False converts it). "
        f"Received: {received}"
    )


def flatten(image: Image.Image, colours: str, label: str) -> Image.Image:
    """Convert to the 8-bit mode `colours`, transparency on white."""
    if image.mode in ("I", "F"):
        raise UnfitError(
            f"{label}: expected 8 or 16 bits a channel. Received: 32 bits (mode {image.mode})"
        )
    if image.mode.startswith("I;16"):
        wide = np.asarray(image)
        narrow = (wide >> 8).astype("uint8")
        narrow[wide == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(narrow)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(colours)


def cropped(
    image: Image.Image, box: tuple[float, float, float, float] | None, resized: tuple[int, int],
    sides: tuple[int, int], interpolation: str, views: Sequence[View] = (CENTRE,),
) -> np.ndarray:  # fmt: skip
    """Resize a box, and crop views of height and width `sides`: a batch of them, in 0..255."""
    height, width = sides
    image = image.resize(resized, Image.Resampling[interpolation.upper()], box)
    pixels = np.asarray(image, "float32").reshape(resized[1], resized[0], -1)
    found = []
    for view in views:
        left, top = round((resized[0] - width) * view.left), round((resized[1] - height) * view.top)
        part = pixels[top : top + height, left : left + width]
        found.append(part[:, ::-1] if view.mirrored else part)
    return np.stack(found)
