"""The serving page is true: its code runs, block after block, and prints what it says."""

from __future__ import annotations

import ast
import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import exported
import pages
import pytest
import tensorflow as tf
from PIL import Image
from places import DOCS, EXAMPLES, ROOT

pytestmark = pytest.mark.export

# Those of `python server` need one; `sh` and other languages are only shown.
BLOCKS = pages.blocks((DOCS / "serving.md").read_text("utf-8"))
ADDRESS = "localhost:8500"
COMMANDS = {"python": [sys.executable, "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the examples, and pictures to quantise by."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "examples").symlink_to(EXAMPLES)
    (folder / "pictures").mkdir()
    for number, picture in enumerate(exported.fashion()):
        Image.fromarray(picture[..., 0]).save(folder / "pictures" / f"{number}.png")
    return folder


def run(language: str, code: str, folder: Path) -> str:
    """What a block prints in a process of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*COMMANDS[language], code],
        cwd=folder, env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{code}\n{done.stderr[-2000:]}"
    return done.stdout


def test_blocks_print_what_the_page_says(folder: Path) -> None:
    from prediction_server import serving

    printed, compared = "", 0
    for language, code in BLOCKS:
        if language == "text":
            assert pages.prints(code, printed), f"expected:\n{code}\nprinted:\n{printed}"
            compared += 1
        elif language == "python server":
            assert code.count(ADDRESS) == 1
            with serving(folder / "models" / "shoes") as address:
                printed = run("python", code.replace(ADDRESS, address), folder)
        elif language in COMMANDS:
            printed = run(language, code, folder)
    assert compared > 10
    check_request(folder)


def check_request(folder: Path) -> None:
    """The page's request has the picture's bytes, for a signature that takes them."""
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest.FromString((folder / "request.pb").read_bytes())
    picture = (EXAMPLES / "boot.png").read_bytes()
    assert list(tf.make_ndarray(request.inputs["image_bytes"])) == [picture, b"no picture"]
    signatures = tf.saved_model.load(str(folder / "shoes")).signatures
    inputs = signatures[request.model_spec.signature_name].structured_input_signature[1]
    assert request.inputs.keys() == inputs.keys()


def test_python_blocks_stand_alone() -> None:
    """Each is a program of its own, without names of those before."""
    for language, code in BLOCKS:
        if language.startswith("python"):
            tree = ast.parse(code)
            assert isinstance(tree.body[0], ast.Import | ast.ImportFrom)


def test_rest_request(folder: Path) -> None:
    """The shown line is JSON of what TensorFlow Serving takes."""
    (code,) = (code for language, code in BLOCKS if language == "sh" and "curl" in code)
    body = json.loads(run("bash", code.split("|")[0], folder))
    (instance,) = body["instances"]
    assert base64.b64decode(instance["b64"]) == (EXAMPLES / "boot.png").read_bytes()
