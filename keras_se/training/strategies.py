"""How a run is spread over devices: TensorFlow's strategies, Keras' data parallelism on JAX."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from keras_se.checks import unknown_choice

STRATEGIES = ("auto", "none", "mirrored", "jax")
# Seeds of layers that differ by this are not to be expected.
REPLICA_STRIDE = 0x3C6EF35
BACKENDS = {"mirrored": "tensorflow", "jax": "jax"}


def _devices(backend: str) -> list[Any]:
    """The accelerators, or where there is none the processors."""
    if backend == "jax":
        import jax

        return list(jax.devices())
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return []


def resolve_strategy(name: str) -> str:
    """`"none"`, `"mirrored"` or `"jax"`: for `"auto"`, what the machine has several devices for.

    Raises:
        ValueError: If there is no such strategy, or not with this backend.
    """
    if name not in STRATEGIES:
        raise ValueError(unknown_choice("strategy", name, STRATEGIES))
    backend = keras.backend.backend()
    if name == "auto":
        by_backend = {needed: strategy for strategy, needed in BACKENDS.items()}
        return by_backend.get(backend, "none") if len(_devices(backend)) > 1 else "none"
    if BACKENDS.get(name, backend) != backend:
        raise ValueError(
            f"`strategy` needs KERAS_BACKEND={BACKENDS[name]} for {name!r}. "
            f"Received: strategy={name!r} with KERAS_BACKEND={backend}"
        )
    return name


@contextmanager
def distributed(name: str) -> Iterator[int]:
    """The scope in which a network is built and trained; yields the number of replicas."""
    if name == "mirrored":
        import tensorflow as tf

        options = {}
        if not tf.config.list_logical_devices("GPU"):
            # One failed step poisons collective operations on CPUs for the whole process.
            options = {"cross_device_ops": tf.distribute.ReductionToOneDevice()}
            options["devices"] = [d.name for d in tf.config.list_logical_devices("CPU")]
        strategy = tf.distribute.MirroredStrategy(**options)
        with strategy.scope():
            yield strategy.num_replicas_in_sync
    elif name == "jax":
        before = keras.distribution.distribution()
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
        try:
            yield len(_devices("jax"))
        finally:
            keras.distribution.set_distribution(before)
    else:
        yield 1


def prepare(model: keras.Model) -> None:
    """Make a network fit for several replicas of TensorFlow.

    BatchNorm uses the statistics of all replicas; the moving ones would differ otherwise. Random
    layers draw other numbers on each replica, since Keras gives all of them the same.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = functools.partial(_next_of_replica, generator.next)


def _next_of_replica(next_seed: Callable[..., Any], ordered: bool = True) -> Any:
    import tensorflow as tf

    seed = next_seed(ordered)
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    # The first half of a seed is the layer's, the second counts.
    return seed + tf.cast(tf.stack([tf.cast(replica, tf.int32) * REPLICA_STRIDE, 0]), seed.dtype)
