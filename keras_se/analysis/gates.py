"""The gates of every Squeeze-and-Excitation block of a network, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.layers import ChannelAttention, MultiplyAdd
from keras_se.layers.attention import recorded_gates


class Gates:
    """Computes the gates of a built network in inference, without changing it.

    Each batch is one compiled prediction of the network itself, so nested models, shared layers and
    a user-defined `call` work as usual. Without built attention blocks it raises a `ValueError`.
    """

    def __init__(self, model: keras.Model) -> None:
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"`model` must be a `keras.Model`. Received: model of type {type(model).__name__}"
            )
        check_blocks(model)
        blocks = blocks_of(model)
        if not any(block.built for block in blocks.values()):
            raise ValueError(
                "`model` must be built: loaded, or called on a batch. "
                f"Received: model={model.name!r}, whose blocks have no weights"
            )
        self.model = model
        self._predictor = _Predictor(model, {id(block): name for name, block in blocks.items()})

    def __call__(self, pictures: Any) -> dict[str, np.ndarray]:
        """The gates for a batch: block names, in call order, to `(batch, C)`."""
        outputs = self._predictor.predict_on_batch(pictures)
        return {key.partition(" ")[2]: np.asarray(outputs[key]) for key in sorted(outputs)}


def check_blocks(model: keras.Model) -> None:
    """Raise a `ValueError` if the model has no blocks, or `fuse` has replaced some."""
    moved = getattr(getattr(model, "fusion", None), "done", {}).get("squeeze")
    if moved or dict(_named(model, MultiplyAdd, "", set())):
        raise ValueError(
            "`model` must be the network before `keras_se.fuse`, which replaces blocks: measure "
            f"and prune first, then fuse. Received: model={model.name!r}, which is fused"
        )
    if not blocks_of(model):
        raise ValueError(
            "`model` must hold attention blocks (`add_squeeze_excite` adds them to a "
            f"network). Received: model={model.name!r}, which has none"
        )


def blocks_of(model: keras.Model) -> dict[str, ChannelAttention]:
    """The attention blocks of a model by name; inside a nested model `"nested/layer"`."""
    return dict(_named(model, ChannelAttention, "", set()))


class _Predictor(keras.Model):
    """Outputs a network's gates, `(batch, C)`, by number and name of the call."""

    def __init__(self, model: keras.Model, names: dict[int, str]) -> None:
        super().__init__(name="gates")
        self.model = model
        self.name_of = names.__getitem__
        self.built = True

    def call(self, x: Any) -> dict[str, Any]:
        with recorded_gates() as calls:
            self.model(x, training=False)
        times: Counter[str] = Counter()
        outputs = {}
        for number, (block, gates, mask) in enumerate(calls):
            name = self.name_of(id(block))
            times[name] += 1
            again = f":{times[name]}" if times[name] > 1 else ""
            if len(gates.shape) > 2:
                gates = _mean(gates, mask)
            # Keras sorts the keys.
            outputs[f"{number:06} {name}{again}"] = gates
        return outputs


def _mean(gates: Any, mask: Any) -> Any:
    """The mean over positions, `(batch, C)`, of gates `(batch, *spatial, C)`."""
    axes = tuple(range(1, len(gates.shape) - 1))
    if mask is None:
        return ops.mean(gates, axis=axes)
    mask = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(gates.shape) - len(mask.shape))))
    count = ops.sum(ops.where(mask, ops.ones_like(gates), 0), axis=axes)
    return ops.sum(ops.where(mask, gates, 0), axis=axes) / count


def _named(layer: Any, kind: type[Any], path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Layers of a kind within a layer, with names; inside a nested model `"nested/layer"`."""
    if isinstance(layer, keras.Model):
        inside = layer.layers
    else:
        values = keras.tree.flatten(list(vars(layer).values()))
        inside = [value for value in values if isinstance(value, keras.layers.Layer)]
    for child in inside:
        if id(child) in seen:
            continue
        seen.add(id(child))
        if isinstance(child, kind):
            yield f"{path}{child.name}", child
        else:
            yield from _named(child, kind, f"{path}{child.name}/", seen)
