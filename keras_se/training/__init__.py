"""Training: recipes, data, the loop, checkpoints, run folders.

`recipe` defines a run, `randomness` and `batches` make its data a pure function of (seed, epoch,
picture), `run` trains with `model.fit` and can be killed at any moment, `checkpoints` holds the
state it resumes from.
"""
