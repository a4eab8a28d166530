"""The table of `docs/pictures.md`: which picture files each way into the package takes.

python tests/doors.py      # writes it between its markers
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import test_pictures as pictures
from PIL import Image
from tables import ROOT, parts
from test_pictures import CONVERTIBLE, UNREADABLE, encoded

import keras_se

PAGE = ROOT / "docs" / "pictures.md"
WEIGHTS = "se_resnet20.fashion_mnist"
SIZE = 40
COLOUR = Image.fromarray(pictures.noise(8, 8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
GREY = COLOUR.convert("L")
MASK = Image.fromarray(np.tile(np.arange(0, 240, 6, dtype="uint8"), (SIZE, 1)))


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
    "JPEG, turned by EXIF (6)": lambda: pictures.turned("JPEG", 6),
    "JPEG, turned by EXIF (3)": lambda: pictures.turned("JPEG", 3),
    "PNG, RGB": lambda: encoded(COLOUR, "PNG"),
    "PNG, grey": lambda: encoded(GREY, "PNG"),
    "PNG, 1 bit": lambda: encoded(GREY.convert("1"), "PNG"),
    "PNG, palette": lambda: encoded(COLOUR.quantize(32), "PNG"),
    "PNG, palette with transparency": lambda: encoded(COLOUR.quantize(32), "PNG", transparency=2),
    "PNG, RGB with alpha": lambda: encoded(transparent(COLOUR.copy()), "PNG"),
    "PNG, grey with alpha": lambda: encoded(transparent(GREY.copy()), "PNG"),
    "PNG, 16-bit grey": lambda: CONVERTIBLE["16-bit grey"][0],
    "PNG, 16-bit RGB": lambda: CONVERTIBLE["16-bit rgb"][0],
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
# Columns, and what each answers to a file: the network's output, or why it is refused.
Door = Callable[[bytes], np.ndarray | str]


def ycck() -> bytes:
    """Inks coded as brightness and colour: the marker says so, and libjpeg turns them back."""
    data = encoded(COLOUR.convert("CMYK"), "JPEG")
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def many_scans() -> bytes:
    data = encoded(COLOUR, "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 1000 + data[-2:]


def doors(folder: Path) -> dict[str, Door]:
    """Ways into the network of grey pictures of 28 x 28 pixels."""
    import tensorflow as tf
    from click.testing import CliRunner

    from keras_se.commands.predict import predict

    model = keras_se.SEResNet20(weights="fashion_mnist")
    keras_se.export(model, folder / "served")
    loaded = tf.saved_model.load(str(folder / "served"))

    def load_image(data: bytes) -> np.ndarray | str:
        try:
            return np.asarray(model(keras_se.load_image(data, WEIGHTS)))[0]
        except ValueError as error:
            return str(error)

    def command(data: bytes) -> np.ndarray | str:
        import json

        path = folder / "picture"
        path.write_bytes(data)
        arguments = [str(path), "--weights", WEIGHTS, "--top", "10", "--json"]
        result = CliRunner().invoke(predict, arguments)
        if result.exception:
            return str(result.exception)
        (row,) = json.loads(result.stdout)
        scores = np.zeros(10)
        for guess in row["predictions"]:
            scores[int(guess["class_id"])] = guess["score"]
        return scores

    def training(data: bytes) -> np.ndarray | str:
        from keras_se.training.files import central_crop

        try:
            return np.asarray(model(central_crop(tf.constant(data), (28, 28, 1), 1.0)[None]))[0]
        except (ValueError, tf.errors.OpError) as error:
            return str(error)

    def saved_model(data: bytes) -> np.ndarray | str:
        answer = loaded.signatures["serving_default"](image_bytes=tf.constant([data, b""]))
        error = answer["error"].numpy()[0].decode()
        return error or answer["probabilities"].numpy()[0]

    return {
        "`load_image`, `evaluate`": load_image,
        "`keras-se predict`": command,
        "training": training,
        "exported SavedModel": saved_model,
    }


def answers() -> dict[str, dict[str, np.ndarray | str]]:
    """Of each kind of file and each door."""
    with tempfile.TemporaryDirectory() as folder:
        ways = doors(Path(folder))
        return {
            kind: {name: door(make()) for name, door in ways.items()}
            for kind, make in KINDS.items()
        }


# Within this an answer is the same; CMYK differs by a grey level on average, sizes are rounded.
SAME = 0.02


def cell(answer: np.ndarray | str, expected: np.ndarray | str) -> str:
    if isinstance(answer, str):
        return "refused"
    same = isinstance(expected, str) or np.abs(answer - expected).max() <= SAME
    return "taken" if same else "taken, other answer"


def table(found: dict[str, dict[str, np.ndarray | str]] | None = None) -> str:
    """The Markdown of the table."""
    found = found or answers()
    names = list(next(iter(found.values())))
    lines = [f"| picture | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for kind, row in found.items():
        first = next(iter(row.values()))
        lines.append(f"| {kind} | {' | '.join(cell(row[name], first) for name in names)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    new = table()
    before, _, after = parts(PAGE.read_text("utf-8"))
    PAGE.write_text(before + new + after, "utf-8")
