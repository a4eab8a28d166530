"""`tf.distribute.MultiWorkerMirroredStrategy` with `fit`, which Keras 3.15 alone does not support.

A process on each machine runs the same command. `TF_CONFIG` or Slurm names them. The first one, the
chief, writes the run's folder; all of them read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from keras_se.data.labelled import streamed

# Its `fit` averages metrics along an axis they lack, and reduces a batch before the first step to
# build what is already built: https://github.com/keras-team/keras/issues/20585. Synchronised
# BatchNorm sends three messages per layer forward and at least two backward, all blocking.
REPAIRED = "3.15."
# Bytes of gradients per message; one message for all of them takes twice the time.
GRADIENT_BYTES = 8 * 2**20


def workers() -> int:
    """Number of processes in `TF_CONFIG`, 1 if it is not set, a `ValueError` if it is malformed."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return 1
    try:
        cluster = json.loads(text)["cluster"]
        return sum(len(cluster.get(kind, [])) for kind in ("chief", "worker"))
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(
            'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host:port", "host:port"]}, '
            f'"task": {{"type": "worker", "index": 0}}}}. Received: {text[:100]!r}'
        ) from None


def check() -> None:
    """Raise a `ValueError` unless several processes can train together."""
    if not keras.__version__.startswith(REPAIRED):
        raise ValueError(
            f"strategy='multiworker' needs Keras {REPAIRED}x. Received: Keras {keras.__version__}"
        )
    if workers() < 2 and int(os.environ.get("SLURM_NTASKS", 1)) < 2:
        raise ValueError(
            "strategy='multiworker' needs TF_CONFIG or Slurm to name at least two processes. "
            f"Received: TF_CONFIG={os.environ.get('TF_CONFIG')!r}"
        )


def create() -> Any:
    """Create the strategy; no TensorFlow operation may have run before."""
    import tensorflow as tf

    # Without a resolver the strategy reads `TF_CONFIG`.
    resolver = None if workers() > 1 else tf.distribute.cluster_resolver.SlurmClusterResolver()
    return tf.distribute.MultiWorkerMirroredStrategy(
        cluster_resolver=resolver,
        communication_options=tf.distribute.experimental.CommunicationOptions(
            bytes_per_pack=GRADIENT_BYTES
        ),
    )


def is_chief(strategy: Any) -> bool:
    """Whether this process writes the files that all of them share."""
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


@contextmanager
def repaired() -> Iterator[None]:
    """Patch Keras to average metrics over processes and send BatchNorm in one message."""
    from keras.src.backend.tensorflow import nn, trainer

    reduce_per_replica = trainer.reduce_per_replica

    def reduced(values: Any, strategy: Any, reduction: str) -> Any:
        if reduction == "concat":
            return reduce_per_replica(values, strategy, reduction)
        return keras.tree.map_structure(
            lambda value: strategy.reduce("MEAN", value, axis=None), values
        )

    with (
        _replaced(trainer, "reduce_per_replica", reduced),
        _replaced(nn, "_compute_moments_sync", moments),
    ):
        yield


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def moments(x: Any, axes: Sequence[int], keepdims: bool) -> tuple[Any, Any]:
    """Mean and variance over all replicas, in one message, plus one for the gradient.

    Keras sends sums, squares and counts separately, and counts by summing a map of ones.
    """
    import tensorflow as tf

    sums = [tf.reduce_sum(each, axes, keepdims=True) for each in (x, tf.square(x))]
    count = tf.cast(tf.size(x) // tf.size(sums[0]), x.dtype)
    message = tf.concat([*(tf.reshape(each, [-1]) for each in sums), [count]], 0)
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, message)
    mean, squares = (
        tf.reshape(each, tf.shape(sums[0])) for each in tf.split(total[:-1] / total[-1], 2)
    )
    variance = tf.maximum(squares - tf.square(mean), 0)
    if keepdims:
        return mean, variance
    return tf.squeeze(mean, axes), tf.squeeze(variance, axes)


def is_built(model: keras.Model) -> None:
    """Keep Keras from building a model's variables before its first step.

    `compile_for_training` builds those of the optimizer and of the metrics.
    """
    model._maybe_symbolic_build = lambda *_, **__: None


def total(number: int) -> int:
    """Sum a number over all processes."""
    import tensorflow as tf

    return int(tf.distribute.get_strategy().reduce("SUM", tf.constant(number), axis=None))


def spread(batches: Callable[[tuple[int, int]], Any], batch: int) -> Any:
    """Batches of the global size `batch`; each process makes its own part, `(index, count)`."""
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()

    def of_process(context: Any) -> Any:
        data = streamed(batches((context.input_pipeline_id, context.num_input_pipelines)))
        data = data.rebatch(batch // strategy.num_replicas_in_sync, drop_remainder=True)
        return data.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_process)
