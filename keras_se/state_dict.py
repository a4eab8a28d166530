"""`save_checkpoint`: write a network as a publisher's state dict, for PyTorch."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se
from keras_se.checkpoint import builder_of, described
from keras_se.checks import shortened, unknown_choice
from keras_se.files import atomic, writing
from keras_se.inspection import describe, layers_of, normalization
from keras_se.layers.attention import AttentionConfig
from keras_se.layers.dense import HEAD
from keras_se.models._pretrained import TRAINING_ONLY
from keras_se.models._residual import ResidualNetwork
from keras_se.weights.entries import PublishedNetwork, list_networks
from keras_se.weights.namings import STATE_DICTS
from keras_se.weights.reversal import state_dict
from keras_se.weights.variable_file import named_variables

# Fields that do not change what a network of the same variables computes.
NO_MATTER = (*TRAINING_ONLY, "hidden_divisor")
# Longest description of a network in an error, in characters.
SHOWN = 90


def save_checkpoint(
    model: keras.Model, path: str | Path, *, layout: str, network: str | None = None
) -> str:
    """Write a network as a publisher's state dict, so that a fine-tuned one goes back to PyTorch.

    The reverse of `load_checkpoint`, as strict: the file has every tensor of the publisher's
    network and no other, bit for bit. In PyTorch, `timm.create_model(name, num_classes=...)` or
    pytorchcv's `get_model(name, num_classes=...)` builds the network, and
    `load_state_dict(safetensors.torch.load_file(path))` fills it. It returns logits, and takes
    normalised images: `keras_se.describe(model)` has their mean and standard deviation.

    Args:
        model: A network of this package, with any number of classes and channels, or without a
            head. A single dense layer is the classifier, whatever its name.
        path: The file, which ends in `.safetensors`.
        layout: Publisher whose names it uses: `"osmr"` or `"timm"`.
        network: The publisher's name of the network, such as `"seresnet50"`. Defaults to `None`:
            the one that computes the same; a model built with `include_preprocessing=False` does
            not say what it computes, so it needs the name.

    Returns:
        The publisher's name of the network.

    Raises:
        ValueError: If the publisher has no such network, or the model is not as it was built.
        FileNotFoundError: If there is no such folder.
        OSError: If the file cannot be written.

    Example:

    >>> model = keras_se.SEResNet20(weights=None, classes=7)
    >>> keras_se.save_checkpoint(model, "mine.safetensors", layout="osmr")
    'seresnet20_cifar'
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"`path` must end in .safetensors. Received: path={str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    describe(model)
    found = _network(model, layout, network)
    arrays = _arrays(model, found)
    net = described(found)
    _write(state_dict(arrays, found.naming, net), path)  # type: ignore[arg-type]
    return found.name


def _write(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with writing(path), atomic(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(str(error)) from None


def _network(model: keras.Model, layout: str, name: str | None) -> PublishedNetwork:
    """Return the publisher's network that computes the same as the model."""
    networks = [network for network in list_networks() if network.naming in STATE_DICTS]
    layouts = sorted({network.publisher for network in networks})
    if layout not in layouts:
        raise ValueError(unknown_choice("layout", layout, layouts))
    networks = [network for network in networks if network.publisher == layout]
    if name is not None:
        networks = [network for network in networks if network.name == name] or networks
        if networks[0].name != name:
            raise ValueError(unknown_choice("network", name, [n.name for n in networks]))
    pictures = normalization(model)
    architecture = pictures.architecture if pictures else None
    if architecture is None:
        if name is None:
            raise ValueError(
                f"`network` must be {layout}'s name of it, for a model that does not say what it "
                f"is. Received: network=None, model={model.name!r}"
            )
        return networks[0]
    own = getattr(keras_se, architecture["model"]).network.varied(architecture["variant"])
    if not isinstance(own, ResidualNetwork):
        raise ValueError(
            f"`model` must be one of {layout}'s networks, which are SE-ResNets and the like. "
            f"Received: {architecture['model']}"
        )
    settings, variant = architecture["se"], architecture["variant"]
    se = None if settings is None else AttentionConfig.from_settings(settings)
    found = [(_differences(own, se, network), network) for network in networks]
    differences, nearest = min(found, key=lambda pair: len(pair[0]))
    if differences:
        listed = ", ".join(f"{key}={value}" for key, value in differences.items())
        raise ValueError(
            f"`model` must be one of {layout}'s networks; the nearest, {nearest.name}, has "
            f"{shortened(listed, SHOWN)}. Received: {architecture['model']}, "
            f"{shortened(f'variant={variant}', SHOWN)}"
        )
    return nearest


def _differences(
    own: ResidualNetwork, se: AttentionConfig | None, network: PublishedNetwork
) -> dict[str, Any]:
    """Return the fields in which a publisher's network computes something else."""
    theirs, their_se = described(network), network.attention()
    found = {
        field.name: getattr(theirs, field.name)
        for field in fields(own)
        if field.name not in NO_MATTER and getattr(theirs, field.name) != getattr(own, field.name)
    }
    if se != their_se:
        found["se"] = their_se
    return found


def _arrays(model: keras.Model, network: PublishedNetwork) -> dict[str, np.ndarray]:
    """Return the variables by name, exactly those of the network."""
    layers = list(layers_of(model))
    dense = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
    names = {id(dense[0]): HEAD} if len(dense) == 1 else {}
    variables = {
        f"{names.get(id(layer), layer.name)}/{variable.name}": variable
        for layer in layers
        for variable in layer.weights
    }
    stem = variables.get(f"{described(network).first_convolution}/kernel")
    shape = (None, None, 3 if stem is None else stem.shape[-2])
    first = keras.config.image_data_format() == "channels_first"
    built = builder_of(network)(
        include_top=bool(dense),
        weights=None,
        input_shape=shape[::-1] if first else shape,
        classes=dense[-1].units if dense else None,
        include_preprocessing=False,
        se=network.attention(),
        variant=network.variant,
    )
    expected = {name: tuple(v.shape) for name, v in named_variables(built).items()}
    given = {name: tuple(variable.shape) for name, variable in variables.items()}
    wrong = [n for n in {**expected, **given} if expected.get(n) != given.get(n)]
    if wrong:
        raise ValueError(
            f"`model` must have the variables of {network.publisher}'s {network.name}; "
            f"{len(wrong)} differ, the first {wrong[0]}: {expected.get(wrong[0])} expected. "
            f"Received: {given.get(wrong[0])}"
        )
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
