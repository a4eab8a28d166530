"""The installed packages: versions, extras, requirements that do not hold, known faults."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from keras_se.diagnosis.known_faults import KNOWN_FAULTS, KNOWN_SETTINGS

OURS = "keras-se"
# Packages whose own requirements are checked, since pip lets later installations break them.
REQUIRING = (OURS, "keras", "tensorflow")
# A module that packages of several names install.
SEVERAL = "tensorflow"
# Features that each extra enables.
EXTRAS = {
    "train": "curves of training runs, figures of the gates",
    "report": "the HTML report of the gates",
    "parquet": "tables of scores as Parquet files",
    "tensorboard": "TensorBoard events of training runs",
    "tfds": "data sets of TensorFlow Datasets",
    "export": "ONNX, OpenVINO and 8-bit files, and timing them",
    "jax": "the JAX backend",
    "torch": "the Torch backend, .pth files",
}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or known to break: what, and what to do.

    Attributes:
        blocks: Whether the package cannot be used before it is mended.
        what: What is wrong.
        remedy: What to do.
    """

    blocks: bool
    what: str
    remedy: str


def installed(package: str) -> str | None:
    """The installed version of a package, or `None`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def required(package: str, extra: str = "") -> list[Requirement]:
    """The requirements of an installed package, or of one of its extras, on this machine."""
    try:
        found = [Requirement(text) for text in requires(package) or ()]
    except PackageNotFoundError:
        return []
    if extra:
        found = [one for one in found if one.marker and not one.marker.evaluate({"extra": ""})]
    return [one for one in found if not one.marker or one.marker.evaluate({"extra": extra})]


def holds(requirement: Requirement) -> bool:
    """Whether a requirement is met; a TensorFlow of another name counts as any version."""
    found = installed(requirement.name)
    if found is None:
        return requirement.name == SEVERAL and importlib.util.find_spec(SEVERAL) is not None
    return requirement.specifier.contains(found, prereleases=True)


def packages() -> dict[str, str | None]:
    """The versions of this package's requirements, and of the other backends."""
    names = [requirement.name for requirement in required(OURS)]
    return {name: installed(name) for name in [*names, "jax", "torch"]}


def extras() -> list[dict[str, str]]:
    """Each extra for users: what it enables, and the packages that it lacks."""
    return [
        {
            "extra": extra,
            "enables": enables,
            "missing": ", ".join(str(one).split(";")[0] for one in needed if not holds(one)),
        }
        for extra, enables in EXTRAS.items()
        if (needed := required(OURS, extra))
    ]


def findings() -> Iterator[Finding]:
    """Yield unmet requirements, then known faults of the installed versions and settings."""
    if not required(OURS):
        yield Finding(
            False, f"{OURS} is not installed, so requirements are not known", "pip install keras-se"
        )
    for package in REQUIRING:
        for needed in required(package):
            if not holds(needed):
                found = installed(needed.name)
                asked = f"{needed.name}{needed.specifier}"
                has = f"{needed.name} {found} is installed" if found else "it is not installed"
                yield Finding(
                    package == OURS or found is None,
                    f"{package} needs {asked}; {has}",
                    f"pip install '{asked}'",
                )
    for fault in KNOWN_FAULTS:
        found = installed(fault.package)
        known = found and SpecifierSet(fault.versions).contains(found, prereleases=True)
        if known and not (fault.without and installed(fault.without)):
            yield Finding(False, f"{fault.package} {found}: {fault.what}", fault.remedy)
    for (name, value), (what, remedy) in KNOWN_SETTINGS.items():
        if os.environ.get(name) == value:
            yield Finding(False, f"{name}={value}: {what}", remedy)
