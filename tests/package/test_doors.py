"""Picture files go through every way into a network alike."""

from __future__ import annotations

from pathlib import Path

import doors
import numpy as np
import pytest
from exported import trained_like
from tables import parts

import keras_se
from keras_se.pictures import read_picture
from keras_se.weights.entries import Preprocessing

TRAINING = "training"


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, np.ndarray | str]]:
    return doors.answers()


def test_the_table_in_the_documentation(found: dict[str, dict[str, np.ndarray | str]]) -> None:
    """`python tests/support/doors.py` writes it."""
    _, written, _ = parts(doors.PAGE.read_text("utf-8"))
    assert written == doors.table(found)


@pytest.mark.parametrize("kind", doors.KINDS)
def test_the_doors_agree(kind: str, found: dict[str, dict[str, np.ndarray | str]]) -> None:
    """But for the formats that the graph cannot decode, and training, which the table shows."""
    row = dict(found[kind])
    row.pop(TRAINING)
    expected = next(iter(row.values()))
    if kind in ("WebP", "TIFF"):
        row.pop("exported SavedModel")
    cells = {doors.cell(kind, name, answer, expected) for name, answer in row.items()}
    assert cells == {"refused" if isinstance(expected, str) else "taken"}


def test_a_network_of_colours_sees_the_same(tmp_path: Path) -> None:
    model = trained_like(keras_se.SEResNet20(weights=None, input_shape=(28, 28, 3)))
    rule = Preprocessing(28, 1.0, "bilinear", (0.0,) * 3, (1.0,) * 3)
    keras_se.export(model, tmp_path / "served", preprocessing=rule)
    files = {kind: make() for kind, make in doors.KINDS.items()}
    answers = doors.served(tmp_path / "served")(list(files.values()))
    compared = 0
    for (kind, data), answer in zip(files.items(), answers, strict=True):
        try:
            picture = read_picture(data, rule, "RGB")
        except ValueError:
            assert isinstance(answer, str), kind
            continue
        if kind in ("WebP", "TIFF"):
            continue
        assert doors.cell(kind, "", answer, np.asarray(model(picture))[0]) == "taken", kind
        compared += 1
    assert compared == 19
