"""Read PaddlePaddle's `.pdparams`: a pickle of named arrays, whose opcodes are interpreted here.

Python's own `pickle` would import and call what the file names, and allocate what it announces.
This interpreter knows the opcodes that arrays need, and imitates the functions that they call.
It imports nothing and copies no array: it notes where the bytes of each are.
"""

from __future__ import annotations

import math
import mmap
import pickle
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# A network of a thousand layers needs about 100,000.
MOST_OPCODES = 1_000_000
# As in NumPy.
MOST_AXES = 64
# Bytes of the longest name.
LONGEST_NAME = 1000
# The functions and classes that a file may name.
KNOWN = {
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray",
    "numpy.dtype", "_codecs.encode", "__builtin__.bytes", "collections.OrderedDict",
}  # fmt: skip
# Opcodes with a number after them: its format.
NUMBERS = {
    pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.PROTO: "<B",
    pickle.FRAME: "<Q", pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I", pickle.BINGET: "<B",
    pickle.LONG_BINGET: "<I",
}  # fmt: skip
# Opcodes with a string after them: the format of its length, and whether it is text in UTF-8.
STRINGS = {
    pickle.SHORT_BINUNICODE: ("<B", True), pickle.BINUNICODE: ("<I", True),
    pickle.BINUNICODE8: ("<Q", True), pickle.SHORT_BINBYTES: ("<B", False),
    pickle.BINBYTES: ("<I", False), pickle.BINBYTES8: ("<Q", False),
}  # fmt: skip
CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
TUPLES = {pickle.EMPTY_TUPLE: 0, pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
MARK = object()


@dataclass(frozen=True)
class String:
    """A string in the file; in protocol 2 bytes, too, are texts, whose characters are Latin-1."""

    start: int
    end: int
    text: bool

    def read(self, data: mmap.mmap) -> bytes:
        """Return its bytes."""
        found = data[self.start : self.end]
        return found.decode().encode("latin1") if self.text else found


@dataclass(frozen=True)
class Function:
    """One of `KNOWN`."""

    name: str


@dataclass
class Type:
    """A NumPy type, whose byte order is set later."""

    name: str
    order: str = "="


@dataclass
class Array:
    """A NumPy array, whose content is set later."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype = field(default_factory=lambda: np.dtype("float32"))
    fortran: bool = False
    content: String | None = None

    def read(self, data: mmap.mmap) -> np.ndarray:
        """Return a copy of the array."""
        assert self.content is not None
        found = np.frombuffer(self.content.read(data), self.dtype)
        if found.size != math.prod(self.shape):
            raise ValueError(f"an array of shape {self.shape} has {found.size} values")
        return found.reshape(self.shape, order="F" if self.fortran else "C")


class Interpreter:
    """Interprets the pickle in `data`."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.position = data, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the object that the pickle describes."""
        for _ in range(MOST_OPCODES):
            code = self.take(1)
            if code == pickle.STOP:
                return self.pop()
            if code in NUMBERS:
                self.number(code, self.unpacked(NUMBERS[code]))
            elif code in STRINGS:
                form, text = STRINGS[code]
                start = self.position + struct.calcsize(form)
                self.skip(self.unpacked(form))
                self.stack.append(String(start, self.position, text))
            elif code in CONSTANTS:
                self.stack.append(CONSTANTS[code])
            elif code in TUPLES:
                self.stack.append(tuple([self.pop() for _ in range(TUPLES[code])][::-1]))
            elif code in OPERATIONS:
                OPERATIONS[code](self)
            else:
                raise ValueError(f"has opcode {code!r}, which no array needs")
        raise ValueError(f"has more than {MOST_OPCODES} opcodes")

    def skip(self, count: int) -> None:
        """Move on by a number of bytes."""
        if count > len(self.data) - self.position:
            raise ValueError("ends too early")
        self.position += count

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        start = self.position
        self.skip(count)
        return self.data[start : self.position]

    def unpacked(self, form: str) -> int:
        """Return the next number."""
        (number,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return number

    def line(self) -> str:
        """Return the rest of a line."""
        end = self.data.find(b"\n", self.position, self.position + LONGEST_NAME)
        if end < 0:
            raise ValueError("has a name without an end")
        found = self.take(end - self.position).decode()
        self.skip(1)
        return found

    def name(self, string: Any) -> str:
        """Return a string that is a name."""
        if not isinstance(string, String) or not string.text:
            raise ValueError("has another object in place of a name")
        if string.end - string.start > LONGEST_NAME:
            raise ValueError(f"has a name of more than {LONGEST_NAME} bytes")
        return self.data[string.start : string.end].decode()

    def pop(self) -> Any:
        """Remove and return the last object."""
        if not self.stack or self.stack[-1] is MARK:
            raise ValueError("has an opcode without its operand")
        return self.stack.pop()

    def popped_to_mark(self) -> list[Any]:
        """Remove and return the objects after the last mark."""
        found: list[Any] = []
        while self.stack and self.stack[-1] is not MARK:
            found.append(self.stack.pop())
        if not self.stack:
            raise ValueError("has an opcode without its mark")
        self.stack.pop()
        return found[::-1]

    def number(self, code: bytes, number: int) -> None:
        """Store an object, fetch one, or note a number."""
        if code in (pickle.BINPUT, pickle.LONG_BINPUT):
            self.store(number)
        elif code in (pickle.BINGET, pickle.LONG_BINGET):
            if number not in self.memo:
                raise ValueError("refers to an object that does not exist")
            self.stack.append(self.memo[number])
        elif code not in (pickle.PROTO, pickle.FRAME):
            self.stack.append(number)

    def store(self, number: int) -> None:
        """Store the last object."""
        self.memo[number] = found = self.pop()
        self.stack.append(found)

    def set_items(self, items: list[Any]) -> None:
        """Add keys and values, in turn, to the dictionary before them."""
        target = self.pop()
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("has items without a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if (name := self.name(key)) in target:
                raise ValueError(f"has {name[:80]!r} twice")
            target[name] = value
        self.stack.append(target)

    def function(self, module: str, name: str) -> None:
        """Note a function, unless the file may not name it."""
        if (found := f"{module}.{name}") not in KNOWN:
            raise ValueError(f"names {found[:80]!r}; only NumPy arrays are read")
        self.stack.append(Function(found))

    def function_of_stack(self) -> None:
        """Note the function whose module and name come last."""
        name, module = self.name(self.pop()), self.name(self.pop())
        self.function(module, name)

    def call(self) -> None:
        """Imitate the call of a function."""
        arguments, function = self.pop(), self.pop()
        match function, arguments:
            case Function("collections.OrderedDict"), ():
                self.stack.append({})
            case Function("__builtin__.bytes"), ():
                self.stack.append(String(0, 0, False))
            case Function("_codecs.encode"), (String(text=True) as string, String() as encoding):
                if self.name(encoding) != "latin1":
                    raise ValueError("has bytes in another encoding than Latin-1")
                self.stack.append(string)
            case Function("numpy.dtype"), (String() as kind, *_):
                self.stack.append(Type(self.name(kind)))
            case Function(name), (Function("numpy.ndarray"), *_) if name.endswith("_reconstruct"):
                self.stack.append(Array())
            case _:
                raise ValueError("calls a function in a way that no array needs")

    def build(self) -> None:
        """Set the state of an array or of a type."""
        state, target = self.pop(), self.pop()
        match target, state:
            case Type(), (int(), String() as order, *_):
                target.order = self.name(order)
            case Array(), (int(), tuple() as shape, Type() as kind, bool() as fortran,
                           String() as content):  # fmt: skip
                sizes = [size for size in shape if isinstance(size, int) and size >= 0]
                if len(sizes) < len(shape) or len(shape) > MOST_AXES:
                    raise ValueError("has an array without a proper shape")
                target.shape, target.fortran, target.content = shape, fortran, content
                target.dtype = _dtype(kind)
            case _:
                raise ValueError("has an object other than arrays")
        self.stack.append(target)


OPERATIONS: dict[bytes, Callable[[Interpreter], None]] = {
    pickle.MARK: lambda run: run.stack.append(MARK),
    pickle.EMPTY_DICT: lambda run: run.stack.append({}),
    pickle.TUPLE: lambda run: run.stack.append(tuple(run.popped_to_mark())),
    pickle.SETITEM: lambda run: run.set_items([run.pop(), run.pop()][::-1]),
    pickle.SETITEMS: lambda run: run.set_items(run.popped_to_mark()),
    pickle.GLOBAL: lambda run: run.function(run.line(), run.line()),
    pickle.STACK_GLOBAL: Interpreter.function_of_stack,
    pickle.REDUCE: Interpreter.call,
    pickle.BUILD: Interpreter.build,
    pickle.MEMOIZE: lambda run: run.store(len(run.memo)),
}


def _dtype(kind: Type) -> np.dtype:
    """Return a type of numbers."""
    if kind.name[:1] not in tuple("fiu") or kind.order not in tuple("<>|="):
        raise ValueError(f"has an array of type {kind.order + kind.name[:20]!r}, not of numbers")
    try:
        return np.dtype(kind.order + kind.name)
    except (TypeError, ValueError):
        raise ValueError(f"has an array of type {kind.name[:20]!r}, which does not exist") from None


@contextmanager
def paddle_arrays(path: Path) -> Iterator[dict[str, tuple[Array, Callable[[], np.ndarray]]]]:
    """Open a file: its arrays by name, and a function that reads each.

    Raises:
        ValueError: If it has anything other than named arrays.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = Interpreter(data).run()
        if not isinstance(found, dict):
            raise ValueError("has no dictionary of arrays")
        # Beside the arrays there is a dictionary of the names that Paddle uses inside.
        arrays = {name: value for name, value in found.items() if not isinstance(value, dict)}
        for name, array in arrays.items():
            if not isinstance(array, Array) or array.content is None:
                raise ValueError(f"{name[:80]!r} is no array")
        yield {name: (array, partial(array.read, data)) for name, array in arrays.items()}
