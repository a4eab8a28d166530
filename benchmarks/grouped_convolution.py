"""SE-ResNeXt-50 beside SE-ResNet-50: inference of one picture and a training step of eight.

    python benchmarks/grouped_convolution.py

TensorFlow graph, 224 x 224, float32. The multiply-adds are in the ratio 1.10.
"""

import keras
import numpy as np
import tensorflow as tf

import keras_se
from keras_se.benchmarking.timing import conditions, described, measure
from keras_se.layers import GroupedConv2D


def with_keras_convolutions(model: keras.Model) -> keras.Model:
    """The same network with Keras' own grouped convolutions."""

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = keras.layers.Conv2D if isinstance(layer, GroupedConv2D) else type(layer)
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=convert)


def main() -> None:
    print(described(conditions()))
    models = {
        "SEResNet50": keras_se.SEResNet50(weights=None),
        "SEResNeXt50": keras_se.SEResNeXt50(weights=None),
    }
    models["SEResNeXt50, Keras' Conv2D(groups=32)"] = with_keras_convolutions(models["SEResNeXt50"])
    random = np.random.default_rng(0)

    print("\ninference, batch 1")
    picture = tf.constant(random.uniform(0, 255, (1, 224, 224, 3)).astype("float32"))
    functions = {
        name: tf.function(lambda x, model=model: model(x, training=False))
        for name, model in models.items()
    }
    measure({n: lambda f=f: f(picture).numpy() for n, f in functions.items()}, rounds=40)

    print("\ntraining step, batch 8")
    x = random.uniform(0, 255, (8, 224, 224, 3)).astype("float32")
    y = random.integers(0, 1000, 8)
    # Keras' own path takes minutes to compile its gradients: inference shows what it costs.
    del models["SEResNeXt50, Keras' Conv2D(groups=32)"]
    for model in models.values():
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    measure({n: lambda m=m: m.train_on_batch(x, y) for n, m in models.items()}, rounds=15)


if __name__ == "__main__":
    main()
