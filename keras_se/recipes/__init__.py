"""The recipes: one module each, with a `RECIPE`."""

from __future__ import annotations

import importlib
import pkgutil

from keras_se.checks import unknown_choice
from keras_se.training.recipe import Recipe


def recipe_names() -> list[str]:
    """The names of all recipes of the package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get_recipe(name: str) -> Recipe:
    """The recipe of that name, or a `ValueError` that lists the names."""
    if name not in recipe_names():
        raise ValueError(unknown_choice("recipe", name, recipe_names()))
    recipe: Recipe = importlib.import_module(f"{__name__}.{name}").RECIPE
    return recipe
