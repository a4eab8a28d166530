"""`examples/detect.py` and `examples/segment.py` on a few pictures, and their figures."""

import importlib
import os
import re
import subprocess
import sys

import fashion_mnist_files
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from places import EXAMPLES

PICTURES = {"detect": "found.png", "segment": "masks.png"}
# Widths of the stages that each example uses.
WIDTHS = {"detect": (64, 128, 256, 512), "segment": (64, 128, 256)}
# What is compared; the last two differ by SE alone.
TITLES = {
    "detect": ("SE-ResNet-18", "ResNet-18"),
    "segment": ("U-Net, scSE", "U-Net", "DeepLabV3+", "DeepLabV3+, no SE"),
}


class TinyScenes(tfds.core.GeneratorBasedBuilder):
    """Bright rectangles with their boxes and masks, as a data set on disk."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "objects": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=["flat", "tall"]),
                }
            ),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(8), "validation": self._generate_examples(4)}

    def _generate_examples(self, count):
        for index in range(count):
            image = np.zeros((50, 70, 3), "uint8")
            mask = np.zeros((50, 70, 1), "uint8")
            image[10:40, 14:28], mask[10:40, 14:28] = 200, 2
            box = tfds.features.BBox(ymin=0.2, xmin=0.2, ymax=0.8, xmax=0.4)
            objects = [{"bbox": box, "label": 1}] * (index % 3)
            yield index, {"image": image, "objects": objects, "segmentation_mask": mask}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    TinyScenes(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def scripts():
    """The examples as modules."""
    sys.path.insert(0, str(EXAMPLES))
    yield {name: importlib.import_module(name) for name in ("garments", *PICTURES)}
    sys.path.remove(str(EXAMPLES))


def run(name, folder, *arguments, tfds_folder=""):
    command = [sys.executable, EXAMPLES / f"{name}.py", "--output-dir", folder / "out", "--size",
               "64", "--epochs", "1", "--samples", "8", "--tests", "4", *arguments]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "MPLBACKEND": "agg", "TFDS_DATA_DIR": str(tfds_folder)},
    )  # fmt: skip


def figures(result, name):
    """The numbers of the table's rows, by network."""
    assert result.returncode == 0, result.stderr
    rows = [re.split(" {2,}", line.strip()) for line in result.stdout.splitlines()]
    table = {
        row[0]: [float(cell.replace(",", "")) for cell in row[1:]]
        for row in rows
        if len(row) > 2 and row[0] in TITLES[name]
    }
    assert list(table) == list(TITLES[name])
    with_se, plain = list(table)[-2:]
    # SE adds 2 C^2 / 16 + C / 16 + C values in each of two units a stage.
    assert table[with_se][0] - table[plain][0] == sum(
        2 * (2 * c * (c // 16) + c // 16 + c) for c in WIDTHS[name]
    )
    return table


@pytest.mark.parametrize("name", PICTURES)
def test_garments(name, tmp_path):
    data = fashion_mnist_files.write(tmp_path / "data")
    result = run(name, tmp_path, "--data", data)
    for _, *values in figures(result, name).values():
        assert all(0 <= value <= 1 for value in values)
    assert Image.open(tmp_path / "out" / PICTURES[name]).size[0] > 900


@pytest.mark.parametrize("name", PICTURES)
def test_prepared_data_set(name, tmp_path, prepared):
    result = run(name, tmp_path, "--tfds", "tiny_scenes", tfds_folder=prepared)
    assert figures(result, name)
    assert "8 pictures" in result.stdout
    assert (tmp_path / "out" / PICTURES[name]).is_file()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    ("data_set", "received"), [("voc/2007", "voc/2007"), ("fashion_mnist", "fashion_mnist")]
)
def test_data_set_that_is_not_prepared(name, data_set, received, tmp_path):
    result = run(name, tmp_path, "--tfds", data_set, tfds_folder=tmp_path)
    assert result.returncode == 1
    (line,) = (x for x in result.stderr.splitlines() if x.startswith(f"{name}: error: "))
    assert received in line
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", ["32", "100"])
def test_size(name, size, tmp_path):
    result = run(name, tmp_path, "--size", size)
    assert result.returncode == 1
    assert f"--size must be a multiple of 32 and at least 64. Received: {size}" in result.stderr


def test_scenes_of_a_prepared_data_set(scripts, prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    load = scripts["garments"].prepared
    scenes = load("tiny_scenes", "test", 4, 100, "objects")
    assert scenes.classes == ("flat", "tall")
    assert scenes.pictures.shape == (4, 100, 100, 3)
    assert sorted((scenes.labels >= 0).sum(axis=1)) == [0, 0, 1, 2]
    for box, label in zip(scenes.boxes.reshape(-1, 4), scenes.labels.ravel(), strict=True):
        np.testing.assert_allclose(box, [20, 20, 40, 80] if label == 1 else [-1] * 4, atol=1e-4)
    masks = load("tiny_scenes", "train", 3, 100, "segmentation_mask").masks
    assert masks.shape == (3, 100, 100)
    assert set(masks[0, 21:79, 21:39].ravel()) == {2}
    with pytest.raises(ValueError, match="`depth`"):
        load("tiny_scenes", "train", 3, 100, "depth")


def test_mean_average_precision(scripts):
    """Three boxes of class 0, one of class 1; expected values by hand."""
    detect, scenes = scripts["detect"], scripts["garments"].Scenes
    a, b, far = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]
    none = [-1.0] * 4
    truth = scenes(
        None, np.array([[a, b], [a, b]], "float32"), np.array([[0, 0], [0, 1]]), None, ("x", "y")
    )

    def score(boxes, labels, confidence):
        return detect.mean_average_precision(
            {"boxes": np.array(boxes, "float32"), "labels": np.array(labels),
             "confidence": np.array(confidence)}, truth,
        )  # fmt: skip

    right = score([[a, b], [a, b]], [[0, 0], [0, 1]], [[0.9, 0.8], [0.7, 0.6]])
    assert right == pytest.approx(1)
    assert score([[none] * 2] * 2, [[-1] * 2] * 2, [[-1] * 2] * 2) == 0
    # A second box on the same garment and one on nothing are wrong; two of three are found, at
    # ranks 1 and 3, with precisions of 1 and 2/3. Nothing of class 1.
    doubled = score([[a, a], [a, far]], [[0, 0], [0, 0]], [[0.9, 0.8], [0.7, 0.6]])
    assert doubled == pytest.approx((1 / 3 + 1 / 3 * 2 / 3 + 0) / 2)
    # Half of the area at least: 10 x 5 of 10 x 10 counts, 10 x 4 does not.
    for bottom, expected in ((5, 1 / 3), (4, 0)):
        part = score([[[0, 0, 10, bottom], none], [none] * 2], [[0, -1], [-1] * 2], [[0.9, 0]] * 2)
        assert part == pytest.approx(expected / 2)


def test_scores_of_masks(scripts):
    truth = scripts["garments"].Scenes(None, None, None, np.array([[[0, 0], [1, 1]]], "uint8"), ())
    overlap, right = scripts["segment"].score(np.array([[[0, 0], [0, 1]]]), truth, 2)
    assert right == pytest.approx(3 / 4)
    assert overlap == pytest.approx((2 / 3 + 1 / 2) / 2)
