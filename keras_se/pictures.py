"""Pictures from files, as a set of weights expects them."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_se.weights.entries import Weights, get_weights

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
# What Pillow's modes mean to a reader; other modes have more than 8 bits a channel.
MODES = {
    "1": "a black-and-white picture",
    "L": "a grey picture",
    "RGB": "an RGB picture",
    "P": "a palette picture",
    "CMYK": "a CMYK picture",
    "YCbCr": "a YCbCr picture",
    "LAB": "a LAB picture",
    "HSV": "an HSV picture",
}


def load_image(
    path_or_bytes: str | Path | bytes, weights: str | Weights, *, convert: bool = False
) -> np.ndarray:
    """One picture after the evaluation resize and crop of a set of weights.

    The shorter side is resized to `floor(size / crop)` pixels with the set's interpolation, then
    the centre is cut out. The size is checked in the file's header, before anything is decoded.

    Args:
        path_or_bytes: A JPEG, PNG, GIF, BMP, WebP or TIFF file, or its bytes.
        weights: A `Weights` entry or the name of one.
        convert: `False` (default): the picture must have 8 bits a channel and the colours that
            the network takes, RGB or grey. `True`: any other is converted: colour and grey into
            each other, transparency onto white, 16 bits to their upper 8, animations to their
            first frame.

    Returns:
        A float32 array `(1, size, size, C)` with values in 0..255.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a picture of these formats, is damaged, exceeds 64 MiB or 100
            megapixels, or would have to be converted.

    Example:

    >>> x = keras_se.load_image("ankle_boot.png", "se_resnet20.fashion_mnist")
    >>> x.shape
    (1, 28, 28, 1)

    Reference:
        Hu et al. (arXiv:1709.01507), Section 6.1: shorter side 256, centre crop 224.
    """
    entry = get_weights(weights) if isinstance(weights, str) else weights
    label = "the bytes" if isinstance(path_or_bytes, bytes) else str(path_or_bytes)
    size = (
        len(path_or_bytes) if isinstance(path_or_bytes, bytes) else os.path.getsize(path_or_bytes)
    )
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"{label}: expected a picture of 1 to {MAX_BYTES} bytes. Received: {size}")
    source: Any = io.BytesIO(path_or_bytes) if isinstance(path_or_bytes, bytes) else path_or_bytes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                return _transform(image, entry, label, convert)
    except Image.DecompressionBombError:
        raise ValueError(f"{label}: expected at most {MAX_PIXELS} pixels. Received: more") from None
    except (OSError, SyntaxError, EOFError) as error:
        reason = "unknown format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(
            f"{label}: expected an undamaged picture ({', '.join(FORMATS)}). Received: {reason}"
        ) from None


def _transform(image: Image.Image, entry: Weights, label: str, convert: bool) -> np.ndarray:
    preprocessing, channels = entry.preprocessing, entry.input_shape[-1]
    shorter = int(preprocessing.size / preprocessing.crop)
    width, height = image.size
    longer = shorter * max(width, height) // min(width, height)
    if width * height > MAX_PIXELS or shorter * longer > MAX_PIXELS:
        raise ValueError(
            f"{label}: expected at most {MAX_PIXELS} pixels, also with the shorter side at "
            f"{shorter}. Received: {width} x {height}"
        )
    colours = "L" if channels == 1 else "RGB"
    image = _flatten(image, colours) if convert else _require(image, colours, label)
    # One exact division, as publishers' transforms do: truncated, not rounded.
    resized = (shorter, longer) if width <= height else (longer, shorter)
    image = image.resize(resized, Image.Resampling[preprocessing.interpolation.upper()])
    left = round((resized[0] - preprocessing.size) / 2)
    top = round((resized[1] - preprocessing.size) / 2)
    image = image.crop((left, top, left + preprocessing.size, top + preprocessing.size))
    pixels = np.asarray(image, "float32").reshape(preprocessing.size, preprocessing.size, channels)
    return pixels[None]


def _require(image: Image.Image, colours: str, label: str) -> Image.Image:
    """The picture in the mode `colours`, or a `ValueError` where that would change it."""
    if getattr(image, "n_frames", 1) > 1:
        received = f"an animation of {image.n_frames} frames"  # type: ignore[attr-defined]
    elif image.has_transparency_data:
        received = "a transparent picture"
    elif image.mode == "P" and colours == "RGB":
        return image.convert("RGB")
    elif image.mode == colours:
        return image
    else:
        received = MODES.get(image.mode, f"more than 8 bits a channel (mode {image.mode})")
    raise ValueError(
        f"{label}: expected {MODES[colours]} with 8 bits a channel (or convert=True). "
        f"Received: {received}"
    )


def _flatten(image: Image.Image, colours: str) -> Image.Image:
    """The first frame, on white, in 8 bits, in the mode `colours`."""
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype("int64")
        image = Image.fromarray((wide >> 8).clip(0, 255).astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(colours)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """The identity, for code that follows the habit of `keras.applications`.

    The networks normalise inside (`include_preprocessing=True`).

    Args:
        x: Pictures, RGB in 0..255, `(batch, H, W, C)` or `(batch, C, H, W)`.
        data_format: Accepted and ignored.

    Returns:
        `x`.

    Example:

    >>> keras_se.preprocess_input(x) is x
    True
    """
    return x
