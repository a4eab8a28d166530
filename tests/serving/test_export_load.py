"""One exported SavedModel behind eight threads; 8-bit networks on the whole test set."""

from __future__ import annotations

import gc
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
import tensorflow as tf
from command_line import Run, assert_mistake
from exported import NAMES, fashion
from picture_files import encoded
from PIL import Image
from processes import resident

import keras_se
from keras_se.data.datasets import load_pictures
from keras_se.serving import exporting, sources

pytestmark = pytest.mark.export

REQUESTS, THREADS = 2000, 8
# Of 8-bit networks: points of top-1 on the test set, and the share of the float32 file.
LOSS, SHARE = 0.005, 0.3


def test_under_load(tmp_path: Path) -> None:
    """2,000 requests, good and bad pictures mixed: every answer right, memory flat."""
    model = keras_se.SEResNet20(weights="fashion_mnist")
    path = keras_se.export(model, tmp_path / "shoes").path
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    good, bad = exported.files(), exported.bad_files()
    errors = {
        data: serve(image_bytes=tf.constant([data]))["error"].numpy()[0] for data in bad.values()
    }
    assert all(errors.values())
    known = [*((data, label) for data, label in zip(good, NAMES, strict=True))]
    known += [(data, None) for data in bad.values()]

    def request(seed: int) -> None:
        chosen = random.Random(seed).choices(known, k=seed % 5)
        answer = serve(image_bytes=tf.constant([data for data, _ in chosen], tf.string))
        for (data, label), names, error in zip(
            chosen, answer["labels"].numpy(), answer["error"].numpy(), strict=True
        ):
            assert error == errors.get(data, b"")
            assert names[0].decode() == (label or "")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(request, range(REQUESTS // 4)))
        gc.collect()
        before = resident()
        list(pool.map(request, range(REQUESTS // 4, REQUESTS)))
        gc.collect()
    assert resident() - before < 30 * 2**20


@pytest.mark.parametrize(("name", "suffix"), [("litert", ".tflite"), ("openvino", ".xml")])
def test_8_bits(name: str, suffix: str, tmp_path: Path) -> None:
    data: Any = load_pictures("fashion_mnist")
    representative = sources.pictures("fashion_mnist")
    assert representative.shape == (300, 28, 28, 1)
    model = keras_se.SEResNet20(weights="fashion_mnist")
    floats = keras_se.export(model, tmp_path / f"net{suffix}", name)
    small = keras_se.export(model, tmp_path / f"net8{suffix}", name, representative=representative)
    pictures = data["test"].pictures.astype("float32")
    run = exporting.FORMATS[name].run
    top1 = [
        np.mean(
            np.concatenate(
                [run(report.path, pictures[n : n + 500])[0] for n in range(0, len(pictures), 500)]
            ).argmax(1)
            == data["test"].labels
        )
        for report in (floats, small)
    ]
    print(name, *top1, small.bytes / floats.bytes)
    assert top1[0] == pytest.approx(0.9468, abs=0.0005)
    assert top1[1] > top1[0] - LOSS
    # OpenVINO's description of the graph is text, as large as the weights of so small a network.
    weights = [report.path.with_suffix(".bin") for report in (floats, small)]
    sizes = [file.stat().st_size for file in weights] if name == "openvino" else []
    sizes = sizes or [floats.bytes, small.bytes]
    assert sizes[1] <= SHARE * sizes[0]


def test_8_bits_on_the_command_line(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(fashion()):
        Image.fromarray(picture[..., 0]).save(folder / f"{number}.png")
    target = tmp_path / "net.tflite"
    arguments = ("export", exported.WEIGHTS, target, "--format", "litert", "--int8", folder)
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    assert json.loads(out)["path"] == str(target)
    (received,) = exporting.FORMATS["litert"].run(target, fashion().astype("float32"))
    assert [NAMES[n] for n in received.argmax(1)] == NAMES
    target.unlink()
    (folder / "cut.png").write_bytes(encoded(Image.new("L", (28, 28)), "PNG")[:40])
    assert_mistake(run(*arguments), folder / "cut.png")
    assert_mistake(run(*arguments[:-1], tmp_path / "nothing"), "representative")
    assert not target.exists()
