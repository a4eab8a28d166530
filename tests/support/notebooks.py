"""Executes the notebooks of `examples/`, and stores their outputs.

python tests/support/notebooks.py [FILE...]

What TensorFlow's C++ code logs stays out of them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from places import EXAMPLES

NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
# In seconds, of a cell: one that hangs.
HANGS = 300


def execute(path: Path, folder: Path, checks: str = "pass"):
    """The notebook, executed from its sources in `folder`.

    Args:
        path: The notebook.
        folder: Where its kernel runs.
        checks: Python code that its kernel runs last; no part of what is returned.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    cells = list(notebook.cells)
    notebook.cells = [*cells, nbformat.v4.new_code_cell(checks)]
    client = NotebookClient(
        notebook,
        timeout=HANGS,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
    )
    # Figures go into the notebook.
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    client.execute(env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    notebook.cells = cells
    # The versions are those of whoever executed it.
    del notebook.metadata["language_info"]["version"]
    return notebook


def main() -> None:
    import tempfile

    import nbformat

    for path in map(Path, sys.argv[1:] or NOTEBOOKS):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
