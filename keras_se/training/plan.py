"""`--dry-run`: what a run would do and need, without doing it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras_se
from keras_se.training.distillation import load_teacher
from keras_se.training.networks import network
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data
from keras_se.training.splits import described, split
from keras_se.training.strategies import resolve_strategy

BYTES = {"float32": 4, "float64": 8, "mixed_bfloat16": 2, "mixed_float16": 2}
# Optimizer values per weight.
OPTIMIZER_VALUES = {"sgd": 1, "lamb": 2, "adamw": 2}


def plan(recipe: Recipe, strategy: str, report: Callable[[str], None]) -> dict[str, Any]:
    """The resolved recipe, the network's cost, the steps and an estimate of the memory.

    The memory covers weights, also a teacher's, gradients, optimizer and all layers' outputs: an
    upper bound on what a backend keeps for the gradient, without workspace. `report` is called with
    a line for each skipped file.
    """
    chosen = resolve_strategy(strategy)
    training, validation, test = split(load_data(recipe, report), recipe)
    teacher = load_teacher(recipe, training, report)
    model = network(recipe, training)
    cost = keras_se.cost(model)
    outputs = sum(math.prod(layer.output.shape[1:]) for layer in model.layers)
    copies = 2 + OPTIMIZER_VALUES[recipe.optimizer] + (recipe.ema is not None)
    memory = 4 * copies * cost.params_trainable + BYTES[recipe.precision] * recipe.batch * outputs
    if teacher is not None:
        memory += 4 * teacher.network.count_params()
    steps = len(training) // recipe.batch
    return {
        **recipe.as_dict(),
        "strategy": chosen,
        "input_shape": list(model.input_shape[1:]),
        "classes": training.classes,
        "class_names": list(training.names),
        **{
            f"{part}_{key}": value
            for part, about in described(training, validation, test).items()
            for key, value in about.items()
        },
        "steps_per_epoch": steps,
        "steps": steps * recipe.epochs,
        "highest_learning_rate": recipe.highest_rate(),
        "parameters_trainable": cost.params_trainable,
        "parameters_total": cost.params_total,
        "multiply_adds": cost.macs,
        "memory_mib": round(memory / 2**20),
    }
