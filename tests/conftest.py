"""Fixtures of several test files, and the seed of all."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# TensorFlow leaves oneDNN off on some processors; without it there are no convolutions of pictures
# with the channels first. Before TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import pytest
from command_line import Run
from file_servers import Serve, servers

from keras_se.cli import main


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test and its fixtures draw from a fixed seed, whatever ran before them."""
    # Not earlier: before TensorFlow is imported, `tests/parity` chooses its version of Keras.
    import keras

    keras.utils.set_random_seed(0)


def pytest_collection_finish() -> None:
    """What was imported stays; clearing a session, which collects garbage, need not visit it."""
    gc.freeze()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: exit code, stdout and stderr."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keras-se", *map(str, arguments)])
        capfd.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capfd.readouterr())

    return run


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers."""
    with servers() as start:
        yield start


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that does not exist yet, without mirror, proxy and other settings."""
    for name in list(os.environ):
        if name.startswith("KERAS_SE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KERAS_SE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
