"""The table of `docs/pictures.md`: which picture files each way into the package takes.

python tests/support/doors.py      # writes it between its markers
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import picture_files as pictures
from picture_files import UNREADABLE, encoded
from PIL import Image
from places import DOCS
from tables import parts

import keras_se

PAGE = DOCS / "pictures.md"
WEIGHTS = "se_resnet20.fashion_mnist"
# The network's own size: no answer depends on a resize.
SIZE = 28
COLOUR = Image.fromarray(pictures.noise(8, 8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
GREY = COLOUR.convert("L")
DEEP = np.asarray(COLOUR, "uint16") * 256 + pictures.noise(SIZE, SIZE)
MASK = Image.fromarray(np.tile(np.arange(0, 252, 9, dtype="uint8"), (SIZE, 1)))


def transparent(image: Image.Image) -> Image.Image:
    image.putalpha(MASK)
    return image


# Names of the rows and the files.
KINDS: dict[str, Callable[[], bytes]] = {
    "JPEG, RGB": lambda: encoded(COLOUR, "JPEG"),
    "JPEG, grey": lambda: encoded(GREY, "JPEG"),
    "JPEG, progressive": lambda: encoded(COLOUR, "JPEG", progressive=True),
    "JPEG, CMYK": lambda: encoded(COLOUR.convert("CMYK"), "JPEG"),
    "JPEG, YCCK": lambda: ycck(),
    "JPEG, turned by EXIF (6)": lambda: turned(6),
    "JPEG, turned by EXIF (3)": lambda: turned(3),
    "PNG, RGB": lambda: encoded(COLOUR, "PNG"),
    "PNG, grey": lambda: encoded(GREY, "PNG"),
    "PNG, 1 bit": lambda: encoded(GREY.convert("1"), "PNG"),
    "PNG, palette": lambda: encoded(COLOUR.quantize(32), "PNG"),
    "PNG, palette with transparency": lambda: encoded(COLOUR.quantize(32), "PNG", transparency=2),
    "PNG, RGB with alpha": lambda: encoded(transparent(COLOUR.copy()), "PNG"),
    "PNG, grey with alpha": lambda: encoded(transparent(GREY.copy()), "PNG"),
    "PNG, 16-bit grey": lambda: pictures.png_16_bits(DEEP[..., 0]),
    "PNG, 16-bit RGB": lambda: pictures.png_16_bits(DEEP),
    "GIF": lambda: encoded(COLOUR.quantize(32), "GIF"),
    "BMP, RGB": lambda: encoded(COLOUR, "BMP"),
    "BMP, palette": lambda: encoded(COLOUR.quantize(32), "BMP"),
    "WebP": lambda: encoded(COLOUR, "WEBP"),
    "TIFF": lambda: encoded(COLOUR, "TIFF"),
    "GIF or PNG, animated": lambda: pictures.ANIMATED["animated gif"],
    "TIFF, several pages": lambda: pictures.ANIMATED["tiff of three pages"],
    "truncated": UNREADABLE["truncated jpeg"],
    "PNG, half of its rows": pictures.half_the_rows,
    "JPEG, a thousand scans": lambda: many_scans(),
}
# What a door answers to files: the network's output, or why one is refused.
Answers = list[np.ndarray | str]
Door = Callable[[list[bytes]], Answers]


def turned(orientation: int) -> bytes:
    exif = b"Exif\0\0" + pictures.exif_of(orientation)
    return encoded(COLOUR, "JPEG", exif=exif)


def ycck() -> bytes:
    """Inks coded as brightness and colour: the marker says so, and libjpeg turns them back."""
    data = encoded(COLOUR.convert("CMYK"), "JPEG")
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def many_scans() -> bytes:
    data = encoded(COLOUR, "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 1000 + data[-2:]


def each(read: Callable[[bytes], np.ndarray]) -> Door:
    """A door through which files go one by one."""
    import tensorflow as tf

    def answer(data: bytes) -> np.ndarray | str:
        try:
            return read(data)
        except (ValueError, tf.errors.OpError) as error:
            return str(error)

    return lambda files: list(map(answer, files))


def served(path: Path) -> Door:
    """An exported SavedModel; one bad picture costs its own row."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def answers(files: list[bytes]) -> Answers:
        answer = loaded.signatures["serving_default"](image_bytes=tf.constant(files))
        rows = zip(answer["error"].numpy(), answer["probabilities"].numpy(), strict=True)
        return [error.decode() or probabilities for error, probabilities in rows]

    return answers


def command(folder: Path) -> Door:
    """`keras-se predict`, which ends at the first bad picture."""
    from click.testing import CliRunner

    from keras_se.commands.predict import predict

    def report(paths: list[Path]) -> str | list[dict[str, Any]]:
        arguments = [*map(str, paths), "--weights", WEIGHTS, "--top", "10", "--json"]
        result = CliRunner().invoke(predict, arguments)
        return str(result.exception) if result.exception else json.loads(result.stdout)

    def scores(row: dict[str, Any]) -> np.ndarray:
        found = {int(guess["class_id"]): guess["score"] for guess in row["predictions"]}
        return np.array([found[n] for n in range(10)])

    def answers(files: list[bytes]) -> Answers:
        paths = [folder / f"{n}.picture" for n in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        received: dict[Path, np.ndarray | str] = {}
        while rest := [path for path in paths if path not in received]:
            found = report(rest)
            if isinstance(found, str):
                bad = next(path for path in rest if repr(str(path)) in found)
                received[bad] = found
            else:
                received |= dict(zip(rest, map(scores, found), strict=True))
        return [received[path] for path in paths]

    return answers


def doors(folder: Path) -> dict[str, Door]:
    """Ways into the network of grey pictures of 28 x 28 pixels."""
    import tensorflow as tf

    from keras_se.data.encoded import central_crop

    model = keras_se.SEResNet20(weights="fashion_mnist")
    keras_se.export(model, folder / "served")

    def shown(picture: Any) -> np.ndarray:
        return np.asarray(model(picture))[0]

    return {
        "`load_image`, `evaluate`": each(lambda x: shown(keras_se.load_image(x, WEIGHTS))),
        "`keras-se predict`": command(folder),
        "training": each(lambda x: shown(central_crop(tf.constant(x), (28, 28, 1), 1.0)[None])),
        "exported SavedModel": served(folder / "served"),
    }


def answers() -> dict[str, dict[str, np.ndarray | str]]:
    """Of each kind of file and each door."""
    files = [make() for make in KINDS.values()]
    with tempfile.TemporaryDirectory() as folder:
        found = {name: door(files) for name, door in doors(Path(folder)).items()}
    return {kind: {name: found[name][n] for name in found} for n, kind in enumerate(KINDS)}


# Within this an answer is the same. Inks, which are multiplied, differ by up to a grey level;
# training decodes JPEG faster and does not round its grey to whole numbers.
SAME, NEARLY = 1e-3, 0.02


def cell(kind: str, door: str, answer: np.ndarray | str, expected: np.ndarray | str) -> str:
    if isinstance(answer, str):
        return "refused"
    least = NEARLY if "CMYK" in kind or "YCCK" in kind or door == "training" else SAME
    same = isinstance(expected, str) or np.abs(answer - expected).max() <= least
    return "taken" if same else "taken, other answer"


def table(found: dict[str, dict[str, np.ndarray | str]] | None = None) -> str:
    """The Markdown of the table."""
    found = found or answers()
    names = list(next(iter(found.values())))
    lines = [f"| picture | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for kind, row in found.items():
        first = next(iter(row.values()))
        lines.append(
            f"| {kind} | {' | '.join(cell(kind, name, row[name], first) for name in names)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    new = table()
    before, _, after = parts(PAGE.read_text("utf-8"))
    PAGE.write_text(before + new + after, "utf-8")
