"""`benchmarks/many_pictures.py`, on few pictures: real processes, really killed."""

import re
import subprocess
import sys

import pytest
from places import ROOT
from processes import environment

pytestmark = pytest.mark.training


def test_killed_and_sharded() -> None:
    process = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "many_pictures.py",
         "--count", "600", "--network", "SEResNet20"],
        env=environment("tensorflow"), capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr[-4000:]
    lines = process.stdout.splitlines()
    for expected in ("every file once", "equal after 3 kills", "equal as two shards at once"):
        assert f"{expected}: yes" in lines
    assert "with errors: 6 of 600" in lines
    assert re.search(r"^peak memory: .* for 600: [\d.]+ times$", process.stdout, re.MULTILINE)
    assert re.search(r"^speed: [\d.,]+ pictures/s", process.stdout, re.MULTILINE)
