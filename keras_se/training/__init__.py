"""Training: recipes, data, the loop, checkpoints, run folders.

`recipe` says what a run does, `randomness` and `batches` make its data a pure function of (seed,
epoch, picture), `run` trains with `model.fit` and can be killed at any moment, `checkpoints` holds
what it goes on from.
"""
