"""The networks, one file per family; the stub next to this file lists them all."""

import re

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def list_models() -> list[str]:
    """List the names of all builders.

    Returns:
        Names such as `"SEResNet50"`, by family and depth; each is a function of `keras_se`.

    Example:

    >>> "SEResNet50" in keras_se.list_models()
    True
    """
    builders = [name for name in __all__ if name.startswith("SE")]
    return sorted(
        builders, key=lambda name: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", name)]
    )
