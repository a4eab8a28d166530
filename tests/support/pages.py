"""The code blocks of a page, run in order in one namespace, and what they print compared.

Blocks marked `python` and `bash` are run, the latter by the command line in this process. One
marked `text` after them is what they print: `...` stands for anything, and a number with decimals
may differ by one in the last that is shown. Those marked `sh` are only read: they need a
connection, a data set or hours.
"""

import contextlib
import doctest
import io
import re
import shlex

from places import DOCS

PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w[\w ]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text):
    """(language, code) of every fenced block."""
    return BLOCK.findall(text)


def commands(code):
    """The arguments of each command of a shell block, with the command first."""
    return [shlex.split(line) for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def prints(expected, printed):
    """Whether a block printed what is shown."""
    numbers = dict(zip(DECIMAL.findall(expected), DECIMAL.findall(printed), strict=False))
    for shown, number in numbers.items():
        if abs(float(shown) - float(number)) <= 10.0 ** -len(shown.partition(".")[2]):
            printed = printed.replace(number, shown, 1)
    return doctest.OutputChecker().check_output(expected, printed, FLAGS)


def execute(text, run=None):
    """Run the blocks; gives what the last one printed.

    Args:
        text: The page.
        run: The fixture that runs the command line; `None` for a page without it.
    """
    names, printed = {"__name__": "__main__"}, None
    for language, code in blocks(text):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(code, "<page>", "exec"), names)
            printed = stream.getvalue()
        elif language == "bash" and run:
            printed = ""
            for command, *arguments in commands(code):
                assert command == "keras-se"
                status, out, err = run(*arguments)
                assert status == 0, f"{code}{out}{err}"
                printed += out
        elif language == "text":
            assert printed is not None, "nothing was run before"
            assert prints(code, printed), f"expected:\n{code}\nprinted:\n{printed}"
    return printed
