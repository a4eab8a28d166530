"""Weights files as Keras 2 wrote those of `keras.applications`."""

from pathlib import Path

import h5py
import keras
import numpy as np


def write(model: keras.Model, path: Path) -> Path:
    """Write the weights of a model of Keras 3 in the format of Keras 2."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"] = b"tensorflow"
        for layer in model.layers:
            group = file.create_group(layer.name)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            names = [
                f"{layer.name}/{'depthwise_' if depthwise else ''}{variable.name}:0"
                for variable in layer.weights
            ]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=np.asarray(variable))
    return path


def random_values(model: keras.Model, seed: int) -> keras.Model:
    """Give a model of `keras.applications` weights and statistics such as trained ones."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            if variable.name.endswith("kernel"):
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                fan_in = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
                value = random.normal(0, np.sqrt(2 / fan_in), shape)
            elif variable.name == "gamma":
                value = random.uniform(0.3, 1.0, shape)
            elif variable.name == "moving_variance":
                value = random.uniform(0.7, 2, shape)
            else:
                value = random.uniform(-0.3, 0.3, shape)
            variable.assign(value)
    return model
