"""The order of the package's rooms: a room imports only from those below it."""

import ast
from pathlib import Path

import keras_se

PACKAGE = Path(keras_se.__file__).parent
# From the bottom to the top; a room or module imports only from those before it.
ORDER = [
    *("checks", "fields", "files", "labels", "layer_names", "tables", "tiff", "views", "layers"),
    *(
        "weights",
        "graph",
        "inflation",
        "surgery",
        "models",
        "complexity",
        "description",
        "inspection",
    ),
    *(
        "heads",
        "embeddings",
        "hub",
        "resolve",
        "checkpoint",
        "state_dict",
        "predictions",
        "essentials",
        "pixels",
    ),
    *("pictures", "scoring", "pyramid", "segmentation", "data", "inference", "analysis"),
    *("pruning", "serving"),
    *("training", "recipes", "benchmarking", "diagnosis", "commands", "cli"),
]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def room_of_each_name() -> dict[str, str]:
    """The room of each name of the package's top level, from its stub."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    return {
        alias.name: (node.module or alias.name).split(".")[0]
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from, anywhere in it."""
    found = set()
    public = room_of_each_name()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "keras_se":
            names = [f"keras_se.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "keras_se":
            names = [f"keras_se.{public.get(node.attr, node.attr)}"]
        found |= {name.split(".")[1] for name in names if name.startswith("keras_se.")}
    return found & set(ORDER)


def test_imports_point_down() -> None:
    files = [
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem[0] != "_"
    ]
    assert {room_of(path) for path in files} == set(ORDER)
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files
        for name in imported(path) - {room_of(path)}
        if ORDER.index(name) > ORDER.index(room_of(path))
    ]
    assert upwards == []
