"""The networks to time, by runtime and precision; each is exported once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se
from keras_se.benchmarking import networks
from keras_se.benchmarking.inputs import Input, of_file, of_model
from keras_se.benchmarking.report import TEXT, WITHOUT_SE, Case
from keras_se.benchmarking.runtimes import ALL, KERAS, OWN, PRECISIONS, check_runtime, runtime_of
from keras_se.checks import one_of, tuple_of
from keras_se.serving.description import transform_of
from keras_se.serving.formats import FORMATS

# Pictures of noise by which files in 8-bit integers are calibrated.
NOISE = 8

Size = tuple[int, int]
# A runtime and a precision.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Task(Case):
    """A case and its file."""

    path: Path


@dataclass(frozen=True)
class Setting:
    """Tasks that are timed in turn in one process."""

    threads: int
    size: Size | None
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Chosen:
    """Checked names and pairs.

    Attributes:
        whats: The names.
        pairs: Pairs for networks.
        files: For each exported file its pairs and input.
        skipped: Pairs that were asked for and do not exist.
    """

    whats: tuple[str, ...]
    pairs: tuple[Pair, ...]
    files: Mapping[str, tuple[tuple[Pair, ...], Input]]
    skipped: tuple[str, ...]


def choose(
    whats: Sequence[str], runtimes: Sequence[str], plain: bool, precisions: Sequence[str]
) -> Chosen:
    """Check the names; every precision must be supported by a runtime."""
    several = tuple_of(TEXT, "one or more names", least=1)
    for name, given in (("what", whats), ("runtime", runtimes), ("precision", precisions)):
        several(name, given)
    for runtime in runtimes:
        one_of(*ALL)("runtime", runtime)
    for precision in precisions:
        one_of(*PRECISIONS)("precision", precision)
    names = tuple(dict.fromkeys(whats))
    files: dict[str, tuple[Pair, ...]] = {}
    for what in names:
        networks.check(what)
        format = runtime_of(Path(what))
        if format is not None:
            files[what] = _pairs_of_file(format, precisions)
    built = [what for what in names if what not in files]
    if plain and not (built and set(built) <= set(keras_se.list_models())):
        raise ValueError(
            "`plain` is only supported with names of builders, and exported files beside them. "
            f"Received: what={', '.join(names)}"
        )
    asked = [(r, p) for r in dict.fromkeys(runtimes) for p in dict.fromkeys(precisions)]
    asked = asked if built else []
    pairs = [(runtime, p) for runtime, p in asked if p in ALL[runtime].precisions]
    supported = {p for _, p in (*pairs, *(pair for own in files.values() for pair in own))}
    for precision in precisions:
        # A file has a precision of its own, which is what it is by default.
        if precision not in supported and (asked or precision != "float32"):
            able = [name for name, runtime in ALL.items() if precision in runtime.precisions]
            raise ValueError(
                f"`precision` {precision!r} needs a network in one of the runtimes "
                f"{', '.join(able)}. Received: runtime={', '.join(runtimes)}"
            )
    for runtime, precision in pairs:
        check_runtime(runtime, precision, _modules(runtime, precision))
    for own in files.values():
        for runtime, precision in own:
            check_runtime(runtime, precision)
    skipped = tuple(f"{runtime} in {p}" for runtime, p in asked if (runtime, p) not in pairs)
    inputs = {what: (own, of_file(what, own[0][0])) for what, own in files.items()}
    return Chosen(names, tuple(pairs), inputs, skipped)


def _pairs_of_file(runtime: str, precisions: Sequence[str]) -> tuple[Pair, ...]:
    """Only OpenVINO takes a precision for a file, that of its operations in floating point."""
    if runtime != "openvino":
        return ((runtime, OWN),)
    hints = [p for p in dict.fromkeys(precisions) if p != "int8"]
    return tuple((runtime, precision) for precision in hints or ["float32"])


def _modules(runtime: str, precision: str) -> tuple[str, ...]:
    """Modules needed to write a network's file."""
    if runtime == KERAS:
        return ()
    chosen = FORMATS[runtime]
    return chosen.needs + ((chosen.quantises or ()) if precision == "int8" else ())


@dataclass
class Exports:
    """The files of networks, each written at its first use.

    Attributes:
        folder: Where they are written.
        fuse: Whether to use the inference form.
        calibrated: Whether a file in 8-bit integers was written.
        constant_gates: Blocks that such a file replaced by constants.
    """

    folder: Path
    fuse: bool
    calibrated: bool = False
    constant_gates: list[str] = field(default_factory=list)
    written: dict[Any, tuple[Input, dict[Pair, Path]]] = field(default_factory=dict)

    def of(
        self, what: str, plain: bool, size: Size | None, pairs: Sequence[Pair]
    ) -> tuple[Input, dict[Pair, Path]]:
        """A network's input and its files; those of a stored network serve all sizes."""
        key = (what, plain, size if networks.is_built(what) else None)
        if key not in self.written:
            model = networks.build(what, size, plain)
            declared = of_model(what, model)
            # Before the files are written.
            declared.shape(what, 1, size)
            files: dict[Any, Path] = {}
            for runtime, precision in pairs:
                kind = runtime, precision == "int8"
                if kind not in files:
                    files[kind] = self._write(what, model, *kind)
            found = {pair: files[pair[0], pair[1] == "int8"] for pair in pairs}
            self.written[key] = declared, found
        return self.written[key]

    def notes(self) -> dict[str, str | int]:
        """Conditions of the files in 8-bit integers, if there are any."""
        found: dict[str, str | int] = {}
        if self.calibrated:
            found["int8"] = f"calibrated with {NOISE} pictures of noise, for timing only"
        if self.constant_gates:
            found["constant gates in int8"] = "; ".join(self.constant_gates)
        return found

    def _write(self, what: str, model: keras.Model, runtime: str, int8: bool) -> Path:
        number = len([*self.folder.iterdir()])
        path = self.folder / f"{number}{ALL[runtime].suffix}"
        if runtime == KERAS:
            (keras_se.fuse(model) if self.fuse else model).save(path)
            return path
        options: dict[str, Any] = {}
        if int8:
            self.calibrated = True
            known = transform_of(model)
            options["representative"] = noise((NOISE, known.height, known.width, known.channels))
        made = keras_se.export(model, path, runtime, fuse=self.fuse, image_bytes=False, **options)
        if made.constant_gates:
            self.constant_gates.append(f"{what} in {runtime}: {', '.join(made.constant_gates)}")
        return path


def settings(
    chosen: Chosen, exports: Exports, plain: bool, threads: Sequence[int],
    batches: Sequence[int], sizes: Sequence[Size | None],
) -> list[Setting]:  # fmt: skip
    """Export the networks and list the tasks of every setting."""
    # Files are checked before networks are exported.
    for what, (_, declared) in chosen.files.items():
        for size in sizes:
            for batch in batches:
                declared.shape(what, batch, size)
    found = {(batch, size): _tasks(chosen, exports, plain, batch, size)
             for batch in batches for size in sizes}  # fmt: skip
    return [Setting(count, size, made) for count in threads for (_, size), made in found.items()]


def _tasks(
    chosen: Chosen, exports: Exports, plain: bool, batch: int, size: Size | None
) -> tuple[Task, ...]:
    tasks = []
    for what in chosen.whats:
        if what in chosen.files:
            own, declared = chosen.files[what]
            variants = [(what, declared, dict.fromkeys(own, Path(what)))]
        else:
            twins = (True, False) if plain else (False,)
            variants = [
                (f"{what}{WITHOUT_SE * twin}", *exports.of(what, twin, size, chosen.pairs))
                for twin in twins
            ]
        for name, declared, files in variants:
            shape = declared.shape(what, batch, size)
            tasks += [Task(name, *pair, shape, path) for pair, path in files.items()]
    return tuple(tasks)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """Random noise in 0..255."""
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")
