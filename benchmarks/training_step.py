"""What Squeeze-and-Excitation costs in training: a step of a network beside one of its plain twin.

    python benchmarks/training_step.py              # SE-ResNet-50, 224 x 224, batch 16
    python benchmarks/training_step.py --small      # SE-ResNet-20, 28 x 28 x 1, batch 128
    python benchmarks/training_step.py --small --batch-norm     # beside Keras' own BatchNorm
    python benchmarks/training_step.py --small --one-thread     # CPU time, on a busy machine

Float32, on the processor. Multiply-adds of ResNet-50 are in the ratio 1.002; what a step costs more
is memory traffic: each block reads its feature maps twice more forward.
"""

import argparse
import time

import keras
import numpy as np

import keras_se
from keras_se.benchmarking.timing import compare, conditions, described, timed
from keras_se.layers import BatchNormalization


def with_keras_batch_norm(model: keras.Model) -> keras.Model:
    """The network with Keras' own BatchNorm, untrained."""

    def exchanged(layer: keras.layers.Layer) -> keras.layers.Layer:
        own = type(layer) is BatchNormalization
        kind = keras.layers.BatchNormalization if own else type(layer)
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=exchanged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="SE-ResNet-20, 28 x 28 x 1")
    parser.add_argument("--batch-norm", action="store_true", help="beside Keras' own BatchNorm")
    parser.add_argument("--one-thread", action="store_true", help="CPU time of one thread")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if arguments.one_thread:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)

    builder, name, batch, shape = keras_se.SEResNet50, "ResNet-50", 16, (224, 224, 3)
    if arguments.small:
        builder, name, batch, shape = keras_se.SEResNet20, "ResNet-20", 128, (28, 28, 1)
    options = {"weights": None, "classifier_activation": None, "input_shape": shape}
    if arguments.small:
        options["include_preprocessing"] = False
    models = {name: builder(se=None, **options), f"SE-{name}": builder(**options)}
    if arguments.batch_norm:
        for label, model in list(models.items()):
            models[f"{label}, Keras' BatchNorm"] = with_keras_batch_norm(model)
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (batch, *shape)).astype("float32")
    y = random.integers(0, models[name].output_shape[-1], batch)
    for model in models.values():
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
    print(described(conditions()))
    print(f"\ntraining step, {shape[0]} x {shape[1]}, batch {batch}")
    clock = time.process_time if arguments.one_thread else time.perf_counter
    steps = {name: lambda model=model: model.train_on_batch(x, y) for name, model in models.items()}
    compare(timed(steps, arguments.rounds, clock=clock))


if __name__ == "__main__":
    main()
