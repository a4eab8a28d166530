"""The reverse of a conversion: a network's variables as a publisher's state dict of PyTorch.

It reads the tables of `namings` backwards, and `conversion` confirms what it gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from keras_se.weights.conversion import convert
from keras_se.weights.namings import NAMINGS, STATE_DICTS, ResidualArchitecture
from keras_se.weights.patterns import spelled
from keras_se.weights.tensors import Tensor, TensorFile

# A BatchNorm's number of training steps, which only PyTorch has and only a momentum of None uses.
MEAN, COUNTER = "running_mean", "num_batches_tracked"


def tensor_names(
    variables: Iterable[str], naming: str, net: ResidualArchitecture
) -> dict[str, str]:
    """Return the publisher's name of each variable; a variable may have none."""
    first_block, table = STATE_DICTS[naming]
    layers = dict.fromkeys(name.split("/")[0] for name in variables)
    candidates = dict.fromkeys(spelled(layers, table(net), first_block=first_block), ())
    found = NAMINGS[naming](candidates, {}, net)
    return {name: found[name][0] for name in variables if len(found.get(name, ())) == 1}


def state_dict(
    arrays: Mapping[str, np.ndarray], naming: str, net: ResidualArchitecture
) -> dict[str, np.ndarray]:
    """Return a network's variables as the publisher's tensors.

    Args:
        arrays: The variables by `<layer>/<variable>`.
        naming: One of `STATE_DICTS`.
        net: The network's description.

    Raises:
        MismatchError: If the publisher has no place for a variable.
    """
    names = tensor_names(arrays, naming, net)
    tensors = {names[ours]: _reversed(ours, arrays[ours]) for ours in arrays if ours in names}
    file = TensorFile(
        {name: Tensor(array.shape, array.view) for name, array in tensors.items()}, out_first=True
    )
    convert(file, naming, {name: array.shape for name, array in arrays.items()}, net)
    counters = {name.replace(MEAN, COUNTER) for name in tensors if name.endswith(f".{MEAN}")}
    return tensors | {name: np.zeros((), "int64") for name in sorted(counters)}


def _reversed(ours: str, array: np.ndarray) -> np.ndarray:
    """Return a variable as PyTorch stores it: output channels first, blocks as convolutions."""
    array = array.astype("float32")
    layer, _, variable = ours.partition("/")
    if layer.endswith("_se") and variable.endswith("kernel"):
        array = array[None, None]
    if array.ndim == 2:
        array = array.T
    elif array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(array)
