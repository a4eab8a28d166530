"""Checkpoints: what is damaged or does not fit costs the newest one at most."""

import os

import keras
import numpy as np
import pytest

from keras_se.training.checkpoints import assign, newest_checkpoint, save_checkpoint, values_of

VALUES = [np.arange(6, dtype="float32").reshape(2, 3), np.array(7, "int64"), np.zeros(0, "uint32")]


def saved(folder, *steps):
    for step in steps:
        save_checkpoint(folder, (0, step), [value + step for value in VALUES], {"step": step})
    return sorted(folder.iterdir())


def same(values, step):
    for value, expected in zip(values, VALUES, strict=True):
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected + expected.dtype.type(step))


def test_the_two_newest_are_kept(tmp_path):
    files = saved(tmp_path / "new", 8, 9, 1000)
    assert [file.name.split(".")[0] for file in files] == ["00000-0000009", "00000-0001000"]
    values, state = newest_checkpoint(tmp_path / "new", pytest.fail)
    same(values, 1000)
    assert state == {"step": 1000}


def test_a_finished_epoch_is_newer_than_its_last_step(tmp_path):
    for position in ((0, 7), (1, 0)):
        save_checkpoint(tmp_path, position, VALUES, {"position": position})
    assert newest_checkpoint(tmp_path, pytest.fail)[1] == {"position": [1, 0]}


def test_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path, pytest.fail) is None
    assert newest_checkpoint(tmp_path / "absent", pytest.fail) is None


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "one bit": lambda data: data[:900] + bytes([data[900] ^ 1]) + data[901:],
    "longer": lambda data: data + b"x",
    "another file": lambda data: b"<!DOCTYPE html>",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_newest_checkpoint(tmp_path, damage):
    newest = saved(tmp_path, 1, 2)[-1]
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    lines = []
    values, state = newest_checkpoint(tmp_path, lines.append)
    same(values, 1)
    assert state == {"step": 1}
    (line,) = lines
    assert str(newest) in line
    assert "damaged" in line
    # It is in nobody's way.
    save_checkpoint(tmp_path, (0, 2), VALUES, {})


def test_what_a_killed_process_left(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "123.tmp").write_bytes(b"half")
    same(newest_checkpoint(tmp_path, pytest.fail)[0], 1)
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disk(tmp_path, monkeypatch):
    files = saved(tmp_path, 1, 2)
    fsync = os.fsync

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_checkpoint(tmp_path, (0, 3), VALUES, {})
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "fsync", fsync)
    assert sorted(tmp_path.iterdir()) == files


def test_values_go_back_or_nowhere():
    variables = [keras.Variable(value) for value in VALUES[:2]]
    values = values_of(variables)
    variables[0].assign(variables[0] * 2)
    assign(variables, values)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variables[0]), VALUES[0])
    for wrong in (values[:1], [values[0], values[1].astype("int32")], [values[0].T, values[1]]):
        with pytest.raises(ValueError, match="another network or version"):
            assign(variables, [value + 1 for value in wrong])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variables[0]), VALUES[0])
