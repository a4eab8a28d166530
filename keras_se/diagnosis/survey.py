"""Prove that sets of weights work: read each file, convert it, build its network, run a picture."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from keras_se.checks import readable
from keras_se.diagnosis.report import FAILED, INTERRUPTED, SOUND, Report, Row
from keras_se.files import writing
from keras_se.weights import cache, locations
from keras_se.weights.entries import Weights, known_weights
from keras_se.weights.hashes import file_hash

# Probabilities of a network in half precision add up to 1 within this.
TOLERANCE = 1e-2
# Side of a volume for a network that takes any size.
VOLUME = 32
# The longest error in a report, in characters: an address and two hashes.
LONGEST = 300


def survey(report: Report, download: bool = False) -> Iterator[Row]:
    """Check sets one after the other; yield each one's row.

    Sets that have a row in the report are skipped; those that were interrupted come last, in case
    they were what ended the process. A set's files are in a folder of their own in the cache, with
    links to those that the cache has, and are deleted before the next set's.

    Args:
        report: The report, in which rows are stored as soon as they are known.
        download: Whether to download the sets that are not in the cache. Defaults to `False`: they
            are left out.

    Raises:
        OSError: If the cache or the report cannot be written.
        ValueError: If another process makes a survey with this cache.
    """
    interrupted = {name for name, row in report.rows.items() if row.result == INTERRUPTED}
    pending = [
        entry
        for entry in known_weights()
        if (entry.name not in report.rows or entry.name in interrupted)
        and (download or not entry.url or _cached(entry, download))
    ]
    with _folder() as folder:
        for entry in sorted(pending, key=lambda entry: entry.name in interrupted):
            files = _cached(entry, download)
            today = f"{datetime.now(UTC):%Y-%m-%d}"
            row = Row(entry.name, INTERRUPTED, _source(entry, files), date=today)
            report.add(row)
            try:
                row = _checked(entry, row, folder, files)
            # Whatever is wrong with one set must not keep the others from being checked.
            except Exception as error:
                text = str(error).replace(str(folder), str(locations.home()))
                if not isinstance(error, ValueError | OSError):
                    text = f"{type(error).__name__}: {text}"
                row = replace(row, result=FAILED, error=readable(text, LONGEST))
            report.add(row)
            yield row


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder in the cache for one set at a time, without leftovers of a killed process."""
    folder = locations.home().absolute() / "survey"
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ValueError(f"another process uses {folder}; wait until it ends") from None
    with lock:
        shutil.rmtree(folder, ignore_errors=True)
        yield folder


def _cached(entry: Weights, download: bool) -> list[Path]:
    """A set's files in the cache; with `download`, a converted one alone proves nothing."""
    published = cache.published_path(entry).exists()
    return [] if download and not published else cache.cached_files(entry)


def _source(entry: Weights, files: Sequence[Path]) -> str:
    if files or not entry.url:
        return "cache" if files else "package"
    if locations.mirror_folder():
        return "mirror"
    return str(urlsplit(locations.address(entry)).hostname)


def _checked(entry: Weights, row: Row, folder: Path, files: Sequence[Path]) -> Row:
    """Check one set, with these files of the cache; raise any error."""
    import keras

    import keras_se

    try:
        for path in files:
            link = folder / path.relative_to(locations.home())
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())
        with locations.home_in(folder):
            entry.fetch()
            if file := _published(entry):
                size = file.stat().st_size
                row = replace(row, bytes=str(size), sha256=file_hash(file).split(":")[1])
                if entry.size not in (None, size):
                    raise ValueError(f"{file}: expected {entry.size} bytes. Received: {size}")
            answer = _answer(keras_se.get_model(entry), entry)
        return replace(row, result=SOUND, answer=answer)
    finally:
        keras.backend.clear_session()
        shutil.rmtree(folder, ignore_errors=True)


def _published(entry: Weights) -> Path | None:
    """The published file; `None` for one of the package or if only the converted one is left."""
    mirror = locations.mirror_folder()
    paths = [cache.published_path(entry), *([mirror / entry.file] if mirror else [])]
    return next((path for path in paths if entry.url and path.exists()), None)


def _answer(model: Any, entry: Weights) -> str:
    """Describe the network's output for noise; raise a `ValueError` if it is wrong."""
    import keras

    import keras_se

    shape = tuple(size or VOLUME for size in entry.input_shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    if len(shape) == 3:
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(file, "PNG")
        images = keras_se.load_image(file.getvalue(), model)
    else:
        images = pixels[None].astype("float32")
    output = keras.ops.convert_to_numpy(model(images))
    if not np.isfinite(output).all():
        raise ValueError("expected finite outputs. Received: NaN or infinity")
    if not entry.classes:
        return f"features {'x'.join(map(str, output.shape[1:]))}"
    if output.shape != (1, entry.classes) or abs(output.sum() - 1) > TOLERANCE:
        raise ValueError(
            f"expected probabilities of {entry.classes} classes. Received: the sum "
            f"{output.sum():.4f} of {output.shape[-1]}"
        )
    return f"class {output.argmax()}: {output.max():.4f}"
