"""`examples/denoise.py` and the canvases of `examples/garments.py`, on a few pictures."""

import importlib.util
import os
import subprocess
import sys

import fashion_mnist_files
import numpy as np
import pytest
from PIL import Image
from places import EXAMPLES


@pytest.fixture
def data(tmp_path):
    return fashion_mnist_files.write(tmp_path / "data")


@pytest.fixture(scope="module")
def garments():
    spec = importlib.util.spec_from_file_location("garments", EXAMPLES / "garments.py")
    module = importlib.util.module_from_spec(spec)
    # Where a dataclass looks for the names in its annotations.
    sys.modules["garments"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["garments"]


def denoise(folder, *arguments):
    return subprocess.run(
        [sys.executable, EXAMPLES / "denoise.py", "--output-dir", folder / "out", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "MPLBACKEND": "agg"},
    )  # fmt: skip


@pytest.mark.docs
def test_denoise(tmp_path, data):
    result = denoise(tmp_path, "--data", data, "--epochs", "1", "--samples", "20")
    assert result.returncode == 0, result.stderr
    assert "on 20 test pictures" in result.stdout
    rows = dict(line.rsplit(maxsplit=2)[::2] for line in result.stdout.splitlines()[-5:-2])
    assert float(rows["  noisy"]) == pytest.approx(12, abs=2)
    assert float(rows["  with SE"]) > 0
    assert float(rows["  without SE"]) > 0
    assert Image.open(tmp_path / "out" / "denoised.png").size[0] > 1000


def test_denoise_without_data(tmp_path):
    result = denoise(tmp_path, "--data", tmp_path)
    assert result.returncode == 1
    (line,) = (x for x in result.stderr.splitlines() if x.startswith("denoise: error: "))
    assert "train-images-idx3-ubyte.gz" in line
    assert "Traceback" not in result.stderr


def test_garments_are_read(garments, data):
    pictures, labels = garments.load("t10k", data)
    assert pictures.shape == (20, 28, 28)
    assert labels.tolist() == [*range(10)] * 2
    np.testing.assert_array_equal(pictures[:10], pictures[10:])
    assert pictures[9].max() > 200


def test_boxes_labels_and_masks_agree(garments, data):
    scenes = garments.scatter("train", 50, 96, 1, data)
    assert scenes.pictures.shape == (50, 96, 96, 3)
    counts = (scenes.labels >= 0).sum(axis=1)
    assert set(counts) == {1, 2, 3, 4}
    assert set(scenes.labels.ravel()) == {-1, *range(10)}
    for picture, boxes, labels, mask in zip(
        scenes.pictures, scenes.boxes, scenes.labels, scenes.masks, strict=True
    ):
        outside = mask > 0
        (background,) = np.unique(picture[mask == 0], axis=0)
        assert background.max() < 96
        for box, label in zip(boxes, labels, strict=True):
            if label < 0:
                np.testing.assert_array_equal(box, -1)
                continue
            left, top, right, bottom = box.astype(int)
            inside = mask[top:bottom, left:right] == 1 + label
            # Tight: the garment touches every side.
            for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert side.any()
            assert inside.sum() > 50
            outside[top:bottom, left:right] = False
        assert not outside.any()


def test_canvases_follow_from_the_seed(garments, data):
    first, same, other = (garments.scatter("t10k", 3, 64, seed, data) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pictures, same.pictures)
    assert (first.pictures != other.pictures).any()
