"""Load pictures as a network expects them."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_se.checks import boolean, unknown_choice
from keras_se.essentials import MAX_PIXELS, essentials_of
from keras_se.pixels import UnfitError, cropped, flatten, require
from keras_se.views import CENTRE, View
from keras_se.weights.entries import Preprocessing, Weights

if TYPE_CHECKING:
    from keras_se.description import Description

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MAX_BYTES = 64 * 2**20
# A JPEG is decoded at the smallest size whose sides are this many times those after the resize.
LEAST_SCALE = 2
# Start of the line that reports a file that `bad_pictures="skip"` leaves out.
SKIPPED = "skipped, not a picture: "
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
SEVERAL = "{}: expected a picture of one frame. Received: a file of several frames"
# The inverse of each EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(
    path_or_bytes: str | Path | bytes, weights_or_model: Any, *, strict: bool = False
) -> np.ndarray:
    """Load an image with the evaluation resize and crop of a network.

    The image is rotated by its EXIF orientation, its shorter side is resized to
    `floor(size / crop)` pixels with the network's interpolation, and the centre is cropped. If a
    model's crop is not known, the whole image is used, as far as its shape allows. The size is
    checked in the file's header before decoding; text, colour profiles and previews are never read.

    Args:
        path_or_bytes: A JPEG, PNG, GIF, BMP, WebP or TIFF file, or its bytes.
        weights_or_model: The network: a model, a set of weights or its name, a run folder, a
            `.keras` file, or a data set's name if its default sets agree.
        strict: `False` (default): the image is converted to 8-bit RGB or grey as the network takes:
            colour to grey or back, transparency onto white, 16 bits to their upper 8. `True`: an
            image that needs conversion or rotation is refused.

    Returns:
        A float32 array `(1, H, W, C)` with values in 0..255; `(1, C, H, W)` for a channels-first
        model.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If it is not an image of these formats, is damaged, has several frames, is made
            to be slow, exceeds 64 MiB or 100 megapixels, or with `strict` needs conversion.

    Example:

    >>> x = keras_se.load_image("ankle_boot.png", "se_resnet20.fashion_mnist")
    >>> x.shape
    (1, 28, 28, 1)

    Reference:
        Hu et al. (arXiv:1709.01507), Section 5.1: shorter side 256, centre crop 224.
    """
    boolean("strict", strict)
    # Only models import Keras.
    from keras_se.description import agreed_set, describe_set, find_set

    entry = find_set(weights_or_model) or agreed_set(weights_or_model)
    if entry is not None:
        known = describe_set(entry)
    else:
        from keras_se.resolve import describe_named

        known = describe_named(weights_or_model)
    picture = read_picture(
        path_or_bytes, preprocessing_of(known), colours_for(known), strict, sides_of(known)
    )
    return np.moveaxis(picture, -1, 1) if known.channels_first else picture


def preprocessing_of(known: Description) -> Preprocessing:
    """The evaluation transform of a described network."""
    height, _ = sides_of(known)
    mean, std = known.mean or (), known.std or ()
    return Preprocessing(height, known.crop, known.interpolation, mean, std)


def sides_of(known: Description) -> tuple[int, int]:
    """Height and width of a described network's pictures."""
    if len(known.spatial) != 2:
        kind = "signals" if len(known.spatial) == 1 else "volumes"
        raise ValueError(f"The network must take pictures. Received: a model of {kind}")
    height, width = known.height or known.size, known.width or known.size
    if height is None or width is None:
        raise ValueError(
            "The network must have a known picture size; build it with input_shape=(H, W, C). "
            "Received: a model that takes any size"
        )
    return height, width


def colours_for(known: Description) -> str:
    """The mode, `"L"` or `"RGB"`, of a described network's pictures."""
    if known.channels not in (1, 3):
        raise ValueError(
            "The network must take pictures with one or three channels. "
            f"Received: a model with {known.channels} channels"
        )
    return "L" if known.channels == 1 else "RGB"


def colours_of(entry: Weights) -> str:
    """The mode, `"L"` or `"RGB"`, of the pictures that a set of weights takes."""
    return "L" if entry.input_shape[-1] == 1 else "RGB"


def printable(path: str | Path) -> str:
    """A path that any terminal can show, even if its name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable_names(names: Sequence[str]) -> str:
    """The first few names as `printable` shows them, for a message."""
    listed = ", ".join(printable(name)[:40] for name in names[:5]) or "none"
    return listed + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def visible(folder: Path) -> list[Path]:
    """The sorted entries of a folder, without names that start with a dot."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def class_folders(folder: Path) -> list[Path]:
    """The class folders in a folder; a name that is not UTF-8 raises a `ValueError`."""
    found = [path for path in visible(folder) if path.is_dir()]
    for path in found:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{printable(path)}: expected a folder whose name is UTF-8") from None
    return found


def class_files(
    folder: Path, places: Mapping[str, int], classes: str, argument: str = "data"
) -> list[tuple[Path, int]]:
    """The pictures in a folder with one folder per class, and their classes.

    `places` are class indices by folder name. Errors call their owner `classes` and the folder
    `argument`: it is no folder, a subfolder is no class, or there is no image.
    """
    if not folder.is_dir():
        raise ValueError(f"`{argument}` must be a folder. Received: {argument}={str(folder)!r}")
    files = []
    for part in class_folders(folder):
        if part.name not in places:
            raise ValueError(
                f"{folder}: every folder must be a class of {classes}. "
                + unknown_choice("folder", part.name, [], f"{next(iter(places))!r} and so on")
            )
        pictures = [file for file in visible(part) if file.suffix.lower() in SUFFIXES]
        files += [(file, places[part.name]) for file in pictures]
    if not files:
        raise ValueError(
            f"`{argument}` must be a folder of folders of pictures. Received: {folder}"
        )
    return files


def read_picture(
    path_or_bytes: str | Path | bytes,
    preprocessing: Preprocessing,
    colours: str,
    strict: bool = False,
    sides: tuple[int, int] | None = None,
    views: Sequence[View] = (CENTRE,),
) -> np.ndarray:
    """`load_image` with a given transform and mode, `"L"` or `"RGB"`; a batch of the views.

    `sides` are height and width if they differ from the transform's size.
    """
    sides = sides or (preprocessing.size, preprocessing.size)
    if isinstance(path_or_bytes, bytes):
        label, size = "the bytes", len(path_or_bytes)
    elif isinstance(path_or_bytes, str | Path):
        label, size = repr(str(path_or_bytes)), os.path.getsize(path_or_bytes)
    else:
        raise ValueError(
            "`path_or_bytes` must be a path or bytes. "
            f"Received: path_or_bytes of type {type(path_or_bytes).__name__}"
        )
    if not isinstance(path_or_bytes, bytes) and os.path.isdir(path_or_bytes):
        raise ValueError(f"{label}: expected a picture. Received: a folder")
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"{label}: expected a picture of 1 to {MAX_BYTES} bytes. Received: {size}")
    if not isinstance(path_or_bytes, bytes):
        path_or_bytes = Path(path_or_bytes).read_bytes()
    with _opened(path_or_bytes, label) as (image, orientation):
        turned = image.size if orientation < 5 else image.size[::-1]
        resized = _resized(turned, sides, preprocessing.crop, label)
        if strict:
            require(image, colours, label, orientation)
        columns, rows = resized if orientation < 5 else resized[::-1]
        # A JPEG decoder can leave out high frequencies: half, a quarter, an eighth of the sides.
        drafted = image.draft(None, (LEAST_SCALE * columns, LEAST_SCALE * rows))
        upright = _upright(image, orientation, colours, label)
        box = _turned_box(drafted[1], upright.size, orientation) if drafted else None
        return cropped(upright, box, resized, sides, preprocessing.interpolation, views)


def decoded(
    data: bytes, colours: str = "RGB", label: str = "the bytes", strict: bool = False
) -> Image.Image:  # fmt: skip
    """The whole picture, converted and rotated as in `load_image`; errors call it `label`."""
    with _opened(data, label) as (image, orientation):
        if image.width * image.height > MAX_PIXELS:
            raise UnfitError(
                f"{label}: expected at most {MAX_PIXELS} pixels. "
                f"Received: {image.width} x {image.height}"
            )
        if strict:
            require(image, colours, label, orientation)
        return _upright(image, orientation, colours, label)


@contextmanager
def _opened(data: bytes, label: str) -> Iterator[tuple[Image.Image, int]]:
    """Open the picture in a file, without decoding it, with its orientation."""
    with warnings.catch_warnings(), _damage_named(label):
        warnings.simplefilter("ignore")
        file = essentials_of(data)
        if file is None:
            raise Image.UnidentifiedImageError
        if file.several:
            raise UnfitError(SEVERAL.format(label))
        with Image.open(io.BytesIO(file.data), formats=[file.format]) as image:
            # Only WebP can still have several frames.
            if getattr(image, "n_frames", 1) > 1:
                raise UnfitError(SEVERAL.format(label))
            yield image, file.orientation


def _upright(image: Image.Image, orientation: int, colours: str, label: str) -> Image.Image:
    image.load()
    flat = flatten(image, colours, label)
    return flat.transpose(TURNS[orientation]) if orientation > 1 else flat


def _turned_box(
    box: tuple[float, ...], size: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """The box of a drafted picture, whose last pixels may lie partly outside, after its rotation.

    Before the rotation the box starts at 0, 0; `size` is the picture's after it.
    """
    width, height = box[2:] if orientation < 5 else box[:1:-1]
    left = size[0] - width if orientation in (2, 3, 6, 7) else 0
    top = size[1] - height if orientation in (3, 4, 7, 8) else 0
    return left, top, left + width, top + height


@contextmanager
def _damage_named(label: str) -> Iterator[None]:
    """Turn anything that a decoder raises on a damaged file into one `ValueError`."""
    try:
        yield
    except (UnfitError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{label}: expected at most {MAX_PIXELS} pixels. Received: {error}"
        ) from None
    except Exception as error:
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown format" if unknown else " ".join(str(error).split())
        raise ValueError(
            f"{label}: expected an undamaged picture ({', '.join(FORMATS)}). Received: {reason}"
        ) from None


def _resized(
    size: tuple[int, int], sides: tuple[int, int], crop: float, label: str
) -> tuple[int, int]:
    """Width and height after the resize, checked before anything is decoded."""
    width, height = size
    rows, columns = (int(side / crop) for side in sides)
    # Cover both sides; truncated, not rounded, as in publishers' transforms.
    if height * columns <= width * rows:
        resized = (rows * width // height, rows)
    else:
        resized = (columns, columns * height // width)
    if width * height > MAX_PIXELS or resized[0] * resized[1] > MAX_PIXELS:
        raise UnfitError(
            f"{label}: expected at most {MAX_PIXELS} pixels, also with the shorter side at "
            f"{min(rows, columns)}. Received: {width} x {height}"
        )
    return resized


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """The identity, for code that follows `keras.applications`.

    The networks normalise inside (`include_preprocessing=True`).

    Args:
        x: Images, RGB in 0..255, `(batch, H, W, C)` or `(batch, C, H, W)`.
        data_format: Accepted and ignored.

    Returns:
        `x`.

    Example:

    >>> keras_se.preprocess_input(x) is x
    True
    """
    return x
