"""Distribution over devices: TensorFlow's strategies, Keras' data parallelism on JAX."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from keras_se.checks import one_of
from keras_se.data.labelled import streamed
from keras_se.training import multiworker

STRATEGIES = ("auto", "none", "mirrored", "multiworker", "jax")
# Stride between replicas' seeds, unlikely to collide with another layer's seed.
REPLICA_STRIDE = 0x3C6EF35
BACKENDS = {"mirrored": "tensorflow", "multiworker": "tensorflow", "jax": "jax"}
AUTOMATIC = {"tensorflow": "mirrored", "jax": "jax"}


@dataclass(frozen=True)
class Devices:
    """The devices that a network is trained on.

    Attributes:
        strategy: Name of the strategy.
        replicas: Parts of a batch computed in parallel, each on its own copy of the network.
        chief: Whether this process writes the run's folder.
    """

    strategy: str = "none"
    replicas: int = 1
    chief: bool = True

    @property
    def processes(self) -> bool:
        """Whether there are several processes."""
        return self.strategy == "multiworker"

    def prepare(self, model: keras.Model) -> None:
        """Prepare a network for several TensorFlow replicas.

        BatchNorm uses the statistics of all replicas; otherwise their moving statistics differ.
        Random layers draw different numbers on each replica; in Keras all replicas share them.
        """
        if BACKENDS.get(self.strategy) != "tensorflow":
            return
        if self.processes:
            multiworker.is_built(model)
        synchronized(model)
        for layer in model.layers:
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.next = functools.partial(_next_of_replica, generator.next)

    def any(self, truth: bool) -> bool:
        """Whether `truth` holds in any process; all of them must call this."""
        return multiworker.total(int(truth)) > 0 if self.processes else truth

    def metric_values(self, variables: Sequence[Any]) -> list[list[float]]:
        """Each replica's own values of metric variables, `(replicas, variables)`.

        Such a variable is the sum of its replicas' values. How the next sums round depends on them.
        Empty without several TensorFlow replicas. All processes must call this.
        """
        if BACKENDS.get(self.strategy) != "tensorflow":
            return []
        import tensorflow as tf

        def read() -> Any:
            return tf.stack([[tf.cast(variable, "float64") for variable in variables]])

        strategy = tf.distribute.get_strategy()
        return strategy.gather(strategy.run(read), axis=0).numpy().tolist()

    def assign_metric_values(self, variables: Sequence[Any], values: list[list[float]]) -> None:
        """Give each replica its own values; those of another number of replicas are left out."""
        if not values or len(values) != self.replicas:
            return
        import tensorflow as tf

        def assign() -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            own = tf.unstack(tf.gather(tf.constant(values, "float64"), replica))
            for variable, value in zip(variables, own, strict=True):
                variable.assign(value)

        tf.distribute.get_strategy().run(assign)

    def batches(self, parts: Callable[[tuple[int, int]], Any], batch: int) -> Any:
        """Input for `fit`; `parts` makes a part `(index, count)` of each batch of that size."""
        return multiworker.spread(parts, batch) if self.processes else streamed(parts((0, 1)))


def synchronized(model: keras.Model) -> keras.Model:
    """Make every BatchNormalization of a model use the statistics of all replicas.

    For your own `tf.distribute` strategy; `keras-se train` does this automatically. Without it each
    replica has its own moving statistics and only one replica's are saved, so `predict` differs
    before and after saving. The model and its nested models are changed in place; call this before
    `fit`. Such a model trains only on TensorFlow; it predicts on every backend.

    Args:
        model: Any Keras model.

    Returns:
        The same model.

    Raises:
        ValueError: If it is not a Keras model.

    Example:

    >>> import tensorflow as tf
    >>> with tf.distribute.MirroredStrategy().scope():
    ...     model = keras_se.synchronized(keras_se.SEResNet20(weights=None))
    ...     model.compile("sgd", "sparse_categorical_crossentropy")
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a Keras model. Received: model of type {type(model).__name__}"
        )
    for layer in within(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    return model


def within(layer: Any) -> Iterator[Any]:
    """A layer and all layers nested in it, in models and wrappers."""
    yield layer
    for inner in (*getattr(layer, "layers", ()), *filter(None, [getattr(layer, "layer", None)])):
        yield from within(inner)


def _devices(backend: str) -> list[Any]:
    """The accelerators, or the processors if there are none."""
    if backend == "jax":
        import jax

        return list(jax.devices())
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return []


def resolve_strategy(name: str) -> str:
    """Replace `"auto"` by the strategy that fits the available devices and processes.

    Raises:
        ValueError: If there is no such strategy, or the backend does not support it.
    """
    one_of(*STRATEGIES)("strategy", name)
    backend = keras.backend.backend()
    if name == "auto":
        # Before any TensorFlow operation runs.
        if backend == "tensorflow" and multiworker.workers() > 1:
            return resolve_strategy("multiworker")
        return AUTOMATIC.get(backend, "none") if len(_devices(backend)) > 1 else "none"
    if BACKENDS.get(name, backend) != backend:
        raise ValueError(
            f"`strategy` needs KERAS_BACKEND={BACKENDS[name]} for {name!r}. "
            f"Received: strategy={name!r} with KERAS_BACKEND={backend}"
        )
    if name == "multiworker":
        multiworker.check()
    return name


@contextmanager
def distributed(name: str) -> Iterator[Devices]:
    """The scope in which a network is built and trained."""
    if name == "mirrored":
        import tensorflow as tf

        options = {}
        if not tf.config.list_logical_devices("GPU"):
            # One failed step breaks collective operations on CPUs for the whole process.
            options = {"cross_device_ops": tf.distribute.ReductionToOneDevice()}
            options["devices"] = [d.name for d in tf.config.list_logical_devices("CPU")]
        strategy = tf.distribute.MirroredStrategy(**options)
        with strategy.scope():
            yield Devices(name, strategy.num_replicas_in_sync)
    elif name == "multiworker":
        strategy = multiworker.create()
        chief = multiworker.is_chief(strategy)
        with strategy.scope(), multiworker.repaired():
            yield Devices(name, strategy.num_replicas_in_sync, chief)
    elif name == "jax":
        before = keras.distribution.distribution()
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
        try:
            yield Devices(name, len(_devices("jax")))
        finally:
            keras.distribution.set_distribution(before)
    else:
        yield Devices()


def _next_of_replica(next_seed: Callable[..., Any], ordered: bool = True) -> Any:
    import tensorflow as tf

    seed = next_seed(ordered)
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    # The first half of a seed is the layer's, the second counts.
    return seed + tf.cast(tf.stack([tf.cast(replica, tf.int32) * REPLICA_STRIDE, 0]), seed.dtype)
