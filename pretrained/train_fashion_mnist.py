"""Trains the bundled set `se_resnet20.fashion_mnist`: SE-ResNet-20 on Fashion-MNIST, 28 x 28 x 1.

    python pretrained/train_fashion_mnist.py               # trains; writes to runs/
    python pretrained/train_fashion_mnist.py --evaluate    # evaluates the bundled set

55,000 training pictures, the last 5,000 of the training set held out; all choices were made on
those. The 10,000 test pictures are read once, after the last epoch. About 100 seconds an epoch on
two cores, 30 epochs. A run that was stopped goes on from its last finished epoch.

Network: He et al. (arXiv:1512.03385) Section 4.2 with SE (arXiv:1709.01507), ratio 16.
Recipe: SGD, Nesterov momentum 0.9, batch 128, learning rate 0.1 after one epoch of warm-up, then
cosine to zero; decoupled weight decay 5e-3 on kernels only; horizontal flips, shifts of up to two
pixels, and an 8 x 8 hole in every second picture.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
from pathlib import Path

import keras
import numpy as np
from results import RESULTS

import keras_se
from keras_se.data.datasets import DEBIAN, read_idx
from keras_se.weights.variable_file import write_variables

NAME = "se_resnet20.fashion_mnist"
SEED = 2017
BATCH = 128
HELD_OUT = 5000
# Mean and standard deviation of the 60,000 training pictures, in 0..1.
MEAN, STD = 0.2860, 0.3530
SHIFT, HOLE = 2, 8
HERE = Path(__file__).resolve().parent


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 28, 28, 1) and labels of "train" or "t10k"."""
    if DEBIAN.is_dir():
        pictures = read_idx(DEBIAN / f"{part}-images-idx3-ubyte.gz")
        labels = read_idx(DEBIAN / f"{part}-labels-idx1-ubyte.gz")
    else:
        pictures, labels = keras.datasets.fashion_mnist.load_data()[part == "t10k"]
    return pictures[..., None], labels


def normalise(pictures: np.ndarray) -> np.ndarray:
    return ((pictures / 255 - MEAN) / STD).astype("float32")


class Augmented(keras.utils.PyDataset):
    """Shuffled, augmented batches; a pure function of the seed, the epoch and the batch."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray, epoch: int = 0) -> None:
        super().__init__()
        self.pictures, self.labels, self.epoch = normalise(pictures), labels, epoch
        self.on_epoch_begin()

    def __len__(self) -> int:
        return len(self.labels) // BATCH

    def on_epoch_begin(self) -> None:
        self.order = np.random.default_rng((SEED, self.epoch)).permutation(len(self.labels))

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng((SEED, self.epoch, index))
        chosen = self.order[index * BATCH : (index + 1) * BATCH]
        background = normalise(np.zeros(1))[0]
        batch = np.empty((BATCH, 28, 28, 1), "float32")
        for i, picture in enumerate(self.pictures[chosen]):
            top, left = random.integers(0, 2 * SHIFT + 1, 2)
            padded = np.pad(
                picture, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), constant_values=background
            )
            picture = padded[top : top + 28, left : left + 28]
            if random.random() < 0.5:
                picture = picture[:, ::-1]
            batch[i] = picture
            if random.random() < 0.5:
                y, x = random.integers(0, 28, 2)
                y, x = max(0, y - HOLE // 2), max(0, x - HOLE // 2)
                batch[i, y : y + HOLE, x : x + HOLE] = 0
        return batch, self.labels[chosen]


def evaluate() -> None:
    """Evaluate the bundled set on the test pictures and write `results.csv`."""
    pictures, labels = load("t10k")
    model = keras_se.SEResNet20(weights=NAME)
    predicted = model.predict(pictures, batch_size=500, verbose=0)
    row = {"name": NAME, "split": "test", "pictures": len(labels)}
    row |= top_accuracies(predicted, labels)
    RESULTS.replace(lambda old: old["name"] == NAME, [row])
    print(row)


def top_accuracies(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Share of pictures whose class is the best, or one of the best two."""
    right = np.argsort(-scores, axis=1) == labels[:, None]
    return {"top1": float(right[:, 0].mean()), "top2": float(right[:, :2].any(axis=1).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluate", action="store_true", help="evaluate the bundled set only")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--run", type=Path, default=Path("runs") / NAME, help="run folder")
    arguments = parser.parse_args()
    if arguments.evaluate:
        evaluate()
        return
    arguments.run.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(SEED)
    pictures, labels = load("train")
    steps = (len(labels) - HELD_OUT) // BATCH
    model = keras_se.SEResNet20(
        weights=None, input_shape=(28, 28, 1), include_preprocessing=False,
        classifier_activation=None,
    )  # fmt: skip
    optimizer = keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(
            0.01, steps * (arguments.epochs - 1), warmup_target=0.1, warmup_steps=steps
        ),
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-3,
    )
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    log = arguments.run / "log.csv"
    done = len(log.read_text().splitlines()) - 1 if log.exists() else 0
    model.fit(
        Augmented(pictures[:-HELD_OUT], labels[:-HELD_OUT], epoch=done),
        validation_data=(normalise(pictures[-HELD_OUT:]), labels[-HELD_OUT:]),
        epochs=arguments.epochs,
        verbose=2,
        callbacks=[
            keras.callbacks.CSVLogger(log, append=True),
            keras.callbacks.BackupAndRestore(arguments.run / "backup", delete_checkpoint=False),
        ],
    )

    pictures, labels = load("t10k")
    logits = model.predict(normalise(pictures), batch_size=500, verbose=0)
    held_out = list(csv.DictReader(log.open()))[-1]["val_accuracy"]
    results = {
        "epochs": arguments.epochs,
        "held_out_top1": float(held_out),
        "test": top_accuracies(logits, labels),
        "params_trainable": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "params_total": model.count_params(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
        },
    }
    write_variables(model, arguments.run / f"{NAME}.h5")
    (arguments.run / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
