"""The network that a recipe trains, and its input size."""

from __future__ import annotations

from typing import Any

import keras

import keras_se
from keras_se.data.encoded import EncodedPictures
from keras_se.data.labelled import Data
from keras_se.inspection import tell
from keras_se.models._builder import Builder, with_new_head
from keras_se.segmentation.fpn import FPN
from keras_se.segmentation.unet import UNet
from keras_se.training.recipe import Recipe
from keras_se.weights.entries import Weights

HEADS: dict[str, Any] = {"unet": UNet, "fpn": FPN}


def network(recipe: Recipe, data: Data) -> keras.Model:
    """A recipe's network for the data, described by both: 0..255 in, logits out."""
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
    if recipe.head is not None:
        backbone = builder(include_top=False, **arguments)
        own = {} if recipe.attention is None else {"attention": recipe.attention}
        return HEADS[recipe.head](backbone, data.classes, classifier_activation=None, **own)
    if not recipe.new_head:
        return builder(classes=data.classes, classifier_activation=None, **arguments)
    known = weights_set(recipe)
    net = builder.network.varied(known.variant if known else recipe.variant)
    return with_new_head(builder(include_top=False, **arguments), net, data.classes)


def weights_set(recipe: Recipe) -> Weights | None:
    """The published set a recipe starts from; `None` for a file or random weights."""
    builder = _builder(recipe)
    found = builder.resolve(recipe.weights, recipe.variant)
    return found if isinstance(found, Weights) else None


def encoded_as(recipe: Recipe, channels: int) -> tuple[tuple[int, int, int], float]:
    """Input shape, and share of the shorter side that is evaluated, from the recipe or its weights.

    A `ValueError` if neither gives them, or a setting does not apply to encoded pictures.
    """
    known = weights_set(recipe)
    size, crop = recipe.image_size, recipe.crop
    if known is not None and known.rank != 2:
        raise ValueError(
            f"`weights` must be a set for images. Received: weights={known.name!r}, for volumes"
        )
    if known is not None:
        size = size or known.preprocessing.size
        crop = crop or known.preprocessing.crop
        channels = known.input_shape[-1]
    elif recipe.weights is None:
        # Without a known crop, the whole picture is used.
        crop = crop or 1.0
    if size is None or crop is None:
        raise ValueError(
            f"`image_size` and `crop` must be given with data={recipe.data!r}, unless `weights` is "
            f"a published set. Received: image_size={size}, crop={crop}"
        )
    if recipe.shift:
        raise ValueError(
            f"`shift` must be 0 with data={recipe.data!r}, which uses random crops instead. "
            f"Received: shift={recipe.shift}"
        )
    return (size, size, channels), crop


def _builder(recipe: Recipe) -> Builder:
    builder: Builder = getattr(keras_se, recipe.model)
    return builder
