"""The types of builders with additional arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_se.layers.attention import AttentionConfig
from keras_se.models._builder import Builder
from keras_se.weights.entries import Weights


class MobileNetBuilder(Builder, Protocol):
    """A function that builds a MobileNet."""

    def __call__(
        self,
        include_top: bool = True,
        weights: str | Path | Weights | None = ...,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = "softmax",
        include_preprocessing: bool = True,
        name: str = ...,
        *,
        se: AttentionConfig | None = ...,
        variant: Mapping[str, Any] | None = None,
        alpha: float = 1.0,
    ) -> keras.Model: ...


class ShuffleNetBuilder(Builder, Protocol):
    """A function that builds a ShuffleNet."""

    def __call__(
        self,
        include_top: bool = True,
        weights: str | Path | Weights | None = ...,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = "softmax",
        include_preprocessing: bool = True,
        name: str = ...,
        *,
        se: AttentionConfig | None = ...,
        variant: Mapping[str, Any] | None = None,
        groups: int = 3,
        scale: float = 1.0,
    ) -> keras.Model: ...
