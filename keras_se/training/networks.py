"""The network that a recipe trains, and how large its pictures are."""

from __future__ import annotations

from typing import Any

import keras

import keras_se
from keras_se.inspection import tell
from keras_se.models._builder import Builder, with_new_head
from keras_se.training.batches import Data
from keras_se.training.files import EncodedPictures
from keras_se.training.recipe import Recipe
from keras_se.weights.entries import Weights

# Settings that are for pictures of one size in memory.
HELD_ONLY = ("shift", "cutout", "random_erasing")


def network(recipe: Recipe, data: Data) -> keras.Model:
    """The network of a recipe for such pictures: 0..255 in, logits out; it knows both."""
    model = _network(recipe, data)
    tell(
        model,
        size=data.shape[0],
        crop=data.crop if isinstance(data, EncodedPictures) else 1.0,
        labels=data.names,
        scores=recipe.loss,
    )
    return model


def _network(recipe: Recipe, data: Data) -> keras.Model:
    builder = _builder(recipe)
    arguments: dict[str, Any] = {
        "weights": recipe.weights,
        "input_shape": data.shape,
        "variant": recipe.variant,
    }
    if recipe.se != {}:
        arguments["se"] = recipe.se_config()
    if not recipe.new_head:
        return builder(classes=data.classes, classifier_activation=None, **arguments)
    known = weights_set(recipe)
    net = builder.network.varied(known.variant if known else recipe.variant)
    return with_new_head(builder(include_top=False, **arguments), net, data.classes)


def weights_set(recipe: Recipe) -> Weights | None:
    """The published set that a recipe starts from; `None` for a file or random values."""
    builder = _builder(recipe)
    found = builder.resolve(recipe.weights, recipe.variant)
    return found if isinstance(found, Weights) else None


def encoded_as(recipe: Recipe, channels: int = 3) -> tuple[tuple[int, int, int], float]:
    """What encoded pictures are brought to, where the recipe does not say it by its weights.

    Args:
        recipe: The recipe.
        channels: Channels that they have. Defaults to 3.

    Returns:
        `(size, size, channels)`, and the share of the shorter side that is evaluated.

    Raises:
        ValueError: If the recipe does not say it, or has a setting that is not for such pictures.
    """
    known = weights_set(recipe)
    size, crop = recipe.image_size, recipe.crop
    if known is not None:
        size = size or known.input_shape[0]
        crop = crop or known.preprocessing.crop
        channels = known.input_shape[2]
    elif recipe.weights is None:
        # A network that does not know its crop takes whole pictures.
        crop = crop or 1.0
    if size is None or crop is None:
        raise ValueError(
            f"`image_size` and `crop` must be given with data={recipe.data!r}, unless `weights` is "
            f"a published set. Received: image_size={size}, crop={crop}"
        )
    for name in HELD_ONLY:
        if getattr(recipe, name):
            raise ValueError(
                f"`{name}` must be 0 with data={recipe.data!r}, whose pictures are cropped "
                f"otherwise. Received: {name}={getattr(recipe, name)}"
            )
    return (size, size, channels), crop


def _builder(recipe: Recipe) -> Builder:
    builder: Builder = getattr(keras_se, recipe.model)
    return builder
