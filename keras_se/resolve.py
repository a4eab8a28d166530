"""`get_model`: resolves a name or path to a network, for every function and command."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras

import keras_se
from keras_se.checks import reader_of, unknown_choice
from keras_se.description import Description, agreed_set, describe_set, find_set
from keras_se.hub import PREFIX, fetched, is_network
from keras_se.inspection import describe
from keras_se.weights.entries import Weights, known_weights

# The network of a run, whose figures are reported.
RUN_FILE = "last.keras"
BUILDER = "give it to its builder, keras_se.SEResNet50(weights=...)"


def get_model(name_or_path: str | Path | Weights, **builder_arguments: Any) -> keras.Model:
    """Build or load the network for a name or path.

    Args:
        name_or_path: A set of weights, `"se_resnet50.timm_ra2_imagenet"` or its entry; a builder,
            `"SEResNet50"`, or a builder with a data set, `"SEResNet50.imagenet"`; a run folder, for
            its last network; a `.keras` file; a folder of `save_for_hub`; or such a repository of
            the Hugging Face Hub, `"hf://user/repository"` or `"hf://user/repository@revision"`
            (needs `pip install keras-se[huggingface]`).
        **builder_arguments: As for the builder; not for a run, a file, a folder or a repository.

    Returns:
        A functional `keras.Model`, `(batch, H, W, C)` or `(batch, C, H, W)` to
        `(batch, classes)`; a run's network outputs logits. See also `keras_se.describe`.

    Raises:
        ValueError: If the name is not known, the file is not a Keras model, or an argument is
            invalid.
        OSError: If a repository cannot be reached.

    Example:

    >>> keras_se.get_model("se_resnet20.fashion_mnist").output_shape
    (None, 10)
    """
    entry = find_set(name_or_path)
    if entry is not None:
        options = {"weights": entry, **builder_arguments}
        if not entry.classes:
            options.setdefault("include_top", False)
        return getattr(keras_se, entry.model)(**options)
    if isinstance(name_or_path, str) and name_or_path in keras_se.list_models():
        return getattr(keras_se, name_or_path)(**builder_arguments)
    path = model_file(name_or_path)
    if path is None:
        raise unknown(name_or_path)
    if builder_arguments:
        raise ValueError(
            f"Builder arguments are not supported with a stored network. "
            f"Received: {', '.join(builder_arguments)}, name_or_path={str(name_or_path)!r}"
        )
    return load_keras(path)


def describe_named(what: Any) -> Description:
    """Describe a model, a set of weights, a run folder or a `.keras` file.

    A set is described from the registry: nothing is downloaded or built.
    """
    if isinstance(what, keras.Model):
        return describe(what)
    entry = find_set(what) or agreed_set(what)
    if entry is None:
        path = model_file(what)
        if path is None:
            raise unknown(what, "weights_or_model")
        return describe(load_keras(path))
    return describe_set(entry)


def model_file(path: Any) -> Path | None:
    """The file or folder with the network of a path: itself, or the file in a run folder.

    A network of the Hugging Face Hub is downloaded.
    """
    if not isinstance(path, str | Path) or not str(path):
        return None
    if isinstance(path, str) and path.startswith(PREFIX):
        return fetched(path)
    path = Path(path)
    if (path / "recipe.json").is_file():
        return path / RUN_FILE
    if is_network(path):
        return path
    return path if path.suffix == ".keras" and path.is_file() else None


def load_keras(path: Path) -> keras.Model:
    """Load a `.keras` file, or a folder that Keras wrote; errors are one line."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError, RecursionError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:150]
        raise ValueError(f"{path}: expected a Keras model. Received: {reason}") from None


def unknown(name: Any, what: str = "name_or_path") -> ValueError:
    """A one-line error for a name that no network has; a `teacher` has weights, unlike builders."""
    builders = [] if what == "teacher" else keras_se.list_models()
    if isinstance(name, str | Path) and str(name):
        text = str(name)
        if text.endswith(".keras"):
            return ValueError(f"`{what}` names a file that does not exist. Received: {text!r}")
        use = BUILDER if text.endswith(".weights.h5") else reader_of(text)
        if use:
            return ValueError(
                f"`{what}` must be a set, {'a builder, ' if builders else ''}a run folder or a "
                f".keras file. Received: {text!r}; {use}"
            )
        if Path(text).is_dir():
            return ValueError(
                f"`{what}` must be a run folder, with its recipe.json, or another name. "
                f"Received: the folder {text!r}"
            )
    sets = known_weights()
    datasets = dict.fromkeys(entry.dataset for entry in sets) if what == "weights_or_model" else ()
    names = [*builders, *datasets, *(entry.name for entry in sets)]
    return ValueError(unknown_choice(what, name, names, "a run folder, a .keras file"))
