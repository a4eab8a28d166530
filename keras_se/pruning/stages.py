"""`drop_stage`: remove the gates of a stage."""

from __future__ import annotations

import keras

from keras_se.analysis.result import STAGE_AND_BLOCK, Excitations
from keras_se.checks import unknown_choice
from keras_se.graph.editable import EditableGraph
from keras_se.graph.nodes import Copy, constant_of
from keras_se.pruning.blocks import blocks_in, check_model, mean_gates


def drop_stage(
    model: keras.Model, stage: int, excitations: Excitations | None = None
) -> keras.Model:
    """Return the network without Squeeze-and-Excitation in a stage: the paper's cheaper variant.

    The gates of the last stage cost most and, in the paper, hardly matter: without them the
    parameters that SE adds to ResNet-50 fall from 10 % to 4 %, at a loss of less than 0.1 points
    of top-5 accuracy after training. The model itself is unchanged. The new model has its own
    variables; layers keep their names, settings and `trainable`; nested models are flattened, as
    in `keras_se.fuse`.

    Args:
        model: A functional or built Sequential model whose attention blocks are named by stage, as
            in the networks of this package.
        stage: The paper's stage number, as in `keras_se.excitations`: 2 to 5, or 2 to 4 in the
            networks for small images.
        excitations: Result of `keras_se.excitations` for the model: each block becomes a constant
            multiplication by its mean gates (a trainable `keras_se.layers.ScaleOffset`, which
            `keras_se.fuse` folds away). Defaults to `None`: the blocks are removed without a
            replacement, as in the paper; the values that they scaled are then larger than before,
            and the network must be trained.

    Returns:
        A functional `keras.Model` with the inputs, outputs and name of `model`, not compiled.

    Raises:
        ValueError: If the model is not functional, has no blocks or none in that stage, or the
            excitations are of another network.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> smaller = keras_se.drop_stage(model, 4)
    >>> [keras_se.cost(network).se_params for network in (model, smaller)]
    [2373, 633]

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Sections 4 and 7.2.
    """
    check_model(model)
    graph = EditableGraph(model)
    found: dict[int, list[tuple[str, Copy]]] = {}
    for name, block in blocks_in(graph).items():
        match = STAGE_AND_BLOCK.fullmatch(name.rsplit("/", 1)[-1])
        if match:
            found.setdefault(int(match[1]), []).append((name, block))
    if isinstance(stage, bool) or stage not in found:
        raise ValueError(unknown_choice("stage", stage, sorted(found)))
    means = {} if excitations is None else mean_gates(model, excitations)
    for name, block in found[stage]:
        constant = constant_of(block, means[name]) if means else None
        for call in graph.calls_of(block):
            if constant is None:
                graph.replace(call, call.inputs[0])
            else:
                graph.substitute(call, constant, call.inputs[0])
    return graph.build()
