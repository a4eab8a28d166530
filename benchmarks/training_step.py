"""What Squeeze-and-Excitation costs in training: a step of SE-ResNet-50 beside one of ResNet-50.

    python benchmarks/training_step.py

224 x 224, batch 16, float32, on the processor. Multiply-adds are in the ratio 1.002; what a step
costs more is memory traffic: each block reads its feature maps twice more forward.
"""

import keras
import numpy as np

import keras_se
from keras_se.benchmarking.timing import conditions, described, measure

BATCH, SIZE = 16, 224


def main() -> None:
    print(described(conditions()))
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype("float32")
    y = random.integers(0, 1000, BATCH)
    models = {
        "ResNet-50": keras_se.SEResNet50(weights=None, classifier_activation=None, se=None),
        "SE-ResNet-50": keras_se.SEResNet50(weights=None, classifier_activation=None),
    }
    for model in models.values():
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
    print(f"\ntraining step, batch {BATCH}")
    measure({n: lambda m=m: m.train_on_batch(x, y) for n, m in models.items()}, rounds=15)


if __name__ == "__main__":
    main()
