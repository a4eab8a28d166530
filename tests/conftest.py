"""Fixtures of several test files."""

import sys
from typing import Any

import pytest
from command_line import Run

from keras_se.cli import main


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
