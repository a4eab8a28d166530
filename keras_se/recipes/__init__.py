"""The recipes: one module each, with a `RECIPE`."""
