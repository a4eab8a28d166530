"""What SE costs in a U-Net: a training step and inference; and the memory of a volume.

    python benchmarks/segmentation.py            # U-Nets on SE-ResNet-18, 224 x 224, in turn
    python benchmarks/segmentation.py --volume 128    # peak memory of a volume of 128 x 128 x 128

The plain U-Net has the same backbone without SE and no attention in its decoder. Float32, on the
processor, random weights and pictures. Memory is the peak of a fresh process above what it holds
once TensorFlow and the package are imported.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import resource

import keras
import numpy as np

import keras_se
from keras_se.benchmarking.timing import conditions, described, measure

SIZE, BATCH, CLASSES = 224, 4, 5
SE = keras_se.SEConfig()
# The blocks of the backbone and those of the decoder.
NETWORKS = {
    "plain U-Net": (None, None),
    "SE in the backbone": (SE, None),
    "SE in the backbone, scSE in the decoder": (SE, "scse"),
}


def unet(
    se: keras_se.SEConfig | None, attention: str | None, input_shape: tuple[int, ...]
) -> keras.Model:
    """An untrained U-Net."""
    backbone = keras_se.SEResNet18(
        include_top=False, weights=None, input_shape=input_shape, se=se,
        include_preprocessing=False,
    )  # fmt: skip
    model = keras_se.UNet(backbone, CLASSES, attention=attention)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def in_turn(rounds: int) -> None:
    """Print the times of a training step and of inference."""
    random = np.random.default_rng(0)
    x = random.normal(size=(BATCH, SIZE, SIZE, 3)).astype("float32")
    y = random.integers(0, CLASSES, (BATCH, SIZE, SIZE))
    models = {name: unet(*parts, x.shape[1:]) for name, parts in NETWORKS.items()}
    for name, model in models.items():
        cost = keras_se.cost(model)
        print(f"{name}: {cost.params_total:,} parameters, {cost.macs:,} multiply-adds")
    print(f"\ntraining step, batch {BATCH}")
    steps = {name: functools.partial(m.train_on_batch, x, y) for name, m in models.items()}
    measure(steps, rounds)
    print("\ninference, batch 1")
    answers = {name: functools.partial(m.predict_on_batch, x[:1]) for name, m in models.items()}
    measure(answers, rounds)


def _peak() -> float:
    """Most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _volume(side: int, train: bool) -> None:
    """In a process of its own: print the memory of one volume."""
    shape = (side, side, side, 1)
    model = unet(*NETWORKS["SE in the backbone, scSE in the decoder"], shape)
    before = _peak()
    x = np.zeros((1, *shape), "float32")
    if train:
        model.train_on_batch(x, np.zeros((1, *shape[:-1]), "int64"))
    else:
        model.predict_on_batch(x)
    what = "training step" if train else "inference"
    print(f"{what} of one volume of {side}: {_peak() - before:.2f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--volume", type=int, metavar="SIDE", help="memory of a volume instead")
    arguments = parser.parse_args()
    print(described(conditions()))
    if arguments.volume is None:
        in_turn(arguments.rounds)
        return
    spawn = multiprocessing.get_context("spawn")
    for train in (False, True):
        process = spawn.Process(target=_volume, args=(arguments.volume, train))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
