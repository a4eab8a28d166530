"""Networks as folders for model hubs, and from the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from keras_se.checks import shown
from keras_se.files import publish, staged, writing
from keras_se.weights.locations import offline

if TYPE_CHECKING:
    import keras

    from keras_se.description import Description

PREFIX = "hf://"
NAME = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
# The files of a network that Keras wrote into a folder.
CONFIG, WEIGHTS, CARD = "config.json", "model.weights.h5", "README.md"
WANTED = [CONFIG, "metadata.json", WEIGHTS, "assets/*"]
CARD_TEMPLATE = """---
{fields}
---

# {name}

{lines}

```python
import keras_se

model = keras_se.get_model("hf://user/repository")
```
"""
NO_MODULE = "a name of the Hugging Face Hub needs: pip install keras-se[huggingface]"


def save_for_hub(model: keras.Model, folder: str | Path, *, licence: str | None = None) -> None:
    """Save a network as a folder that model hubs take: configuration, weights and a model card.

    The Hugging Face Hub takes it with `huggingface_hub.upload_folder`, Kaggle with
    `kagglehub.model_upload`. `get_model` loads it from the folder, or from the Hugging Face Hub as
    `"hf://user/repository"`, and so does `keras.saving.load_model` after `import keras_se`. The
    optimizer is not saved, unless the model's class is your own.

    Args:
        model: A functional model whose one input is pictures, signals or volumes.
        folder: A new or empty folder.
        licence: The licence's name on the Hub, such as `"apache-2.0"`. Defaults to `None`: the card
            leaves a place for it.

    Raises:
        ValueError: If the folder has files, or the model has no such input.
        OSError: If the folder cannot be written.

    Example:

    >>> keras_se.save_for_hub(keras_se.SEResNet20(weights=None, classes=7), "flowers")
    >>> keras_se.get_model("flowers").output_shape
    (None, 7)
    """
    import keras

    from keras_se.inspection import describe

    if not isinstance(folder, str | Path) or not str(folder):
        raise ValueError(f"`folder` must be a path. Received: folder={shown(folder)}")
    folder = Path(folder)
    if licence is not None and not re.fullmatch(r"[\w.+-]+", str(licence)):
        raise ValueError(
            f"`licence` must be a name such as 'apache-2.0'. Received: licence={shown(licence)}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"`folder` must be new or empty. Received: folder={str(folder)!r}")
    about = describe(model)
    stored = model
    # A user's own class may have more than a graph, so it is saved as it is.
    if model.compiled and type(model).__module__.startswith("keras."):
        stored = keras.Model(model.inputs, model.outputs, name=model.name)
    with staged(folder) as stage:
        target = stage / folder.name
        with writing(folder):
            keras.saving.save_model(stored, target, zipped=False)
            (target / CARD).write_text(_card(model, about, licence), "utf-8")
            if folder.exists():
                folder.rmdir()
        publish(stage, [folder])


def fetched(name: str) -> Path:
    """Download a network of the Hugging Face Hub, unless it is there already.

    Args:
        name: `"hf://user/repository"`, maybe with `@` and a branch, tag or commit.

    Returns:
        The folder with its files.

    Raises:
        ValueError: If the name is malformed, the repository does not exist or has no Keras network.
        OSError: If it cannot be reached.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            "expected 'hf://user/repository', maybe with '@' and a branch, tag or commit. "
            f"Received: {shown(name)}"
        )
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise ValueError(f"{name}: {NO_MODULE}") from None
    try:
        folder = huggingface_hub.snapshot_download(
            match["repository"],
            revision=match["revision"],
            allow_patterns=WANTED,
            local_files_only=offline(),
            library_name="keras_se",
        )
    except errors.RepositoryNotFoundError:
        raise ValueError(
            f"{name}: there is no such repository, or you have no access to it"
        ) from None
    except errors.RevisionNotFoundError:
        raise ValueError(f"{name}: the repository has no such revision") from None
    except errors.LocalEntryNotFoundError:
        raise OSError(f"{name}: not downloaded yet, and the hub cannot be reached") from None
    except (errors.HfHubHTTPError, OSError, ValueError) as error:
        raise OSError(f"{name}: {' '.join(str(error).split())[:150]}") from None
    if not is_network(Path(folder)):
        raise ValueError(f"{name}: expected a Keras network, with {CONFIG} and {WEIGHTS}")
    return Path(folder)


def is_network(folder: Path) -> bool:
    """Whether a folder has a network that Keras wrote."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def _card(model: keras.Model, about: Description, licence: str | None) -> str:
    """Draft a model card in Markdown, with the fields that the Hugging Face Hub reads."""
    classifier = about.answers != "values"
    fields = ["library_name: keras", "tags:", "- keras", "- squeeze-and-excitation"]
    if licence is not None:
        fields.append(f"license: {licence}")
    if classifier and len(about.spatial) == 2:
        fields.append("pipeline_tag: image-classification")
    inside = "0..255; normalisation is built in" if about.normalises else "the network's own range"
    answers = about.answers if classifier else f"shape {tuple(model.output_shape)}"
    lines = [
        f"- Input: shape {tuple(model.input_shape)}, values in {inside}.",
        f"- Output: {answers}.",
        f"- Parameters: {model.count_params():,}.",
    ]
    if about.labels is not None:
        lines.append(f"- Classes, in order: {', '.join(about.labels)}.")
    missing = "training data, figures, intended use, known failures"
    missing += "" if licence else ", licence"
    lines.append(f"- [To be written: {missing}.]")
    return CARD_TEMPLATE.format(fields="\n".join(fields), name=model.name, lines="\n".join(lines))
