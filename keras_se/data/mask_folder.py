"""Folders of pictures and masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from keras_se.data.listing import part_folders, readable_size
from keras_se.data.loading import DataRequest
from keras_se.data.mask_files import IGNORED, mask_size, read_mask
from keras_se.data.masked import MaskedPictures, Pair, threaded, whole_picture
from keras_se.data.splits import SPELLINGS, WORDS, shuffled, with_held_out_test
from keras_se.essentials import orientation_of
from keras_se.labels import first_names
from keras_se.pictures import SKIPPED, SUFFIXES, printable, visible

PICTURES, MASKS = "pictures", "masks"
# Names of the classes, one a line, in the order of their numbers.
NAMES = "classes.txt"
# Tags of TIFF and EXIF.
WIDTH, HEIGHT, ORIENTATION = 0x0100, 0x0101, 0x0112
# Orientations that exchange height and width.
ASIDE = (5, 6, 7, 8)


def load_masks(request: DataRequest, report: Callable[[str], None]) -> dict[str, MaskedPictures]:
    """The parts of a folder of pictures and masks: `"train"`, `"test"`, maybe `"validation"`.

    The folder has the folders `pictures` and `masks`, or folders `train`, `val` and `test` with
    these in them. A mask is a PNG with the stem of its picture and its size. The parts are treated
    as in `load_folder`.

    Args:
        request: Provides the folder and the size.
        report: Called with a line for each thing left out.

    Raises:
        ValueError: If there is no such folder, a picture has no mask or a mask no picture, their
            sizes differ, a class number is out of range, or the training masks have fewer than two
            classes.
        OSError: If a file cannot be read.
    """
    if request.data_dir is None or not Path(request.data_dir).is_dir():
        raise ValueError(
            "`data_dir` must be a folder of pictures and masks with data='masks'. "
            f"Received: data_dir={request.data_dir!r}"
        )
    root = Path(request.data_dir)
    shape, _ = request.encoding(3)
    places = part_folders(root, [path for path in visible(root) if path.is_dir()], report)
    places = places or {"train": root}
    pairs = {
        part: _pairs(root, places[part], request.skip, report)
        for part in SPELLINGS
        if part in places
    }
    names = _names(root, pairs, report)
    parts = {
        part: MaskedPictures(several, names, shape, printable(places[part]))
        for part, several in pairs.items()
    }
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    return with_held_out_test(printable(root), shuffled(parts))


def _pairs(
    root: Path, place: Path, skip: bool, report: Callable[[str], None]
) -> list[Pair]:  # fmt: skip
    """The pictures of a part with their masks, by name."""
    folders = place / PICTURES, place / MASKS
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(
                f"{printable(place)}: expected the folders {PICTURES} and {MASKS}, or folders "
                f"{WORDS} with them. Received: no {folder.name}"
            )
    pictures = _by_stem(folders[0], SUFFIXES)
    masks = _by_stem(folders[1], (".png",))
    for stem, path in pictures.items():
        if stem not in masks:
            raise ValueError(
                f"{printable(path)}: expected a mask. Received: no {MASKS}/{printable(stem)}.png"
            )
    for stem, path in masks.items():
        if stem not in pictures:
            raise ValueError(
                f"{printable(path)}: expected a picture. Received: no {PICTURES}/{printable(stem)} "
                f"with {', '.join(SUFFIXES)}"
            )
    if not pictures:
        raise ValueError(f"{printable(folders[0])}: expected a picture. Received: none")

    def pair(stem: str) -> Pair | None:
        picture, mask = pictures[stem], masks[stem]
        sizes = [readable_size(path, skip, report) for path in (picture, mask)]
        if None in sizes:
            return None
        other = mask_size(mask)
        try:
            size = _picture_size(picture)
            if skip:
                whole_picture(picture, 3)
        except ValueError:
            if not skip:
                raise
            report(f"{SKIPPED}{printable(picture)}")
            return None
        if size != other:
            raise ValueError(
                f"{printable(mask)}: expected the size of its picture, {size[1]} x {size[0]}. "
                f"Received: {other[1]} x {other[0]}"
            )
        key = printable(picture.relative_to(root))
        return Pair(key, str(picture), str(mask), (sizes[0] or 0, sizes[1] or 0), size)

    found = [each for each in threaded(pair, pictures) if each is not None]
    if not found:
        raise ValueError(f"{printable(folders[0])}: expected an undamaged picture. Received: none")
    return found


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files of some kinds in a folder, by stem."""
    found: dict[str, Path] = {}
    for path in visible(folder):
        if path.suffix.lower() not in suffixes:
            continue
        if path.stem in found:
            raise ValueError(
                f"{printable(folder)}: expected one file per name. Received: "
                f"{printable(found[path.stem].name)}, {printable(path.name)}"
            )
        found[path.stem] = path
    return found


def _picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, upright, from its header."""
    try:
        with Image.open(path) as image:
            width, height, orientation = _header(image)
    except Exception as error:
        raise ValueError(
            f"{printable(path)}: expected a picture ({', '.join(SUFFIXES)}). "
            f"Received: {' '.join(str(error).split()) or type(error).__name__}"
        ) from None
    return (width, height) if orientation in ASIDE else (height, width)


def _header(image: Image.Image) -> tuple[int, int, int]:
    """Width and height before, and the orientation of, the rotation that `decoded` makes.

    Pillow would also take an orientation from XMP, and has turned the size of a TIFF.
    """
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        return int(tags[WIDTH]), int(tags[HEIGHT]), int(tags.get(ORIENTATION, 1))
    exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    return *image.size, orientation_of(exif)


def _names(
    root: Path, pairs: dict[str, list[Pair]], report: Callable[[str], None]
) -> list[str]:  # fmt: skip
    """The names of the classes: those of `classes.txt`, else the numbers in all masks.

    All masks are read. Masks of 0 and 255, which other programs write for two classes, have one
    class here; a network trained on them would learn nothing.
    """
    path = root / NAMES
    names = _listed(path) if path.is_file() else None
    classes = None if names is None else len(names)

    def numbers(pair: Pair) -> set[int]:
        return {*np.unique(read_mask(pair.mask, classes)).tolist()} - {IGNORED}

    found = {part: set().union(*threaded(numbers, several)) for part, several in pairs.items()}
    if len(found["train"]) < 2:
        raise ValueError(
            f"{printable(root)}: expected training masks with pixels of at least two classes; "
            f"{IGNORED} is no class, but marks pixels to ignore. "
            f"Received: class numbers {sorted(found['train'])}"
        )
    if names is None:
        names = [str(number) for number in range(1 + max(set().union(*found.values())))]
    if missing := [name for n, name in enumerate(names) if n not in found["train"]]:
        report(f"no pixels in the training masks: {first_names(missing)}")
    return names


def _listed(path: Path) -> list[str]:
    """The names in a file, one a line."""
    names = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    if len(set(names)) != len(names) or not 2 <= len(names) <= IGNORED:
        raise ValueError(
            f"{printable(path)}: expected 2 to {IGNORED} different names, one a line. "
            f"Received: {len(names)}"
        )
    return names
