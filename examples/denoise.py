"""Denoising with and without SE: a small convolutional autoencoder on Fashion-MNIST.

    python examples/denoise.py

Two convolutions encode and two decode, with a `keras_se.SqueezeExcite` after each or none. Both are
trained from the same seed to take Gaussian noise off; the peak signal-to-noise ratio on the 10,000
test pictures is printed. Everything is written to `runs/denoise`.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from garments import load
from keras import layers

import keras_se

BATCH = 128
RATE = 2e-3
# Standard deviation of the noise; pictures are in 0..1.
NOISE = 0.3
WIDTHS = (32, 64)
# Pictures that are drawn.
DRAWN = 10


def noisy(pictures: np.ndarray, seed: int) -> np.ndarray:
    """`pictures`, in 0..1, with Gaussian noise."""
    noise = np.random.default_rng(seed).normal(0, NOISE, pictures.shape)
    return np.clip(pictures + noise, 0, 1).astype("float32")


def autoencoder(se: bool) -> keras.Model:
    """28 x 28 to 7 x 7 and back."""

    def hidden(
        x: keras.KerasTensor, convolution: type[layers.Layer], width: int
    ) -> keras.KerasTensor:
        x = convolution(width, 3, strides=2, padding="same", activation="relu")(x)
        return keras_se.SqueezeExcite(8)(x) if se else x

    x = inputs = keras.Input((28, 28, 1))
    for width in WIDTHS:
        x = hidden(x, layers.Conv2D, width)
    for width in reversed(WIDTHS):
        x = hidden(x, layers.Conv2DTranspose, width)
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x))


def peak_signal_to_noise(pictures: np.ndarray, others: np.ndarray) -> float:
    """The mean over the pictures, in dB, with a peak of 1."""
    errors = np.mean(np.square(pictures - others, dtype="float64"), axis=(1, 2, 3))
    return float(np.mean(-10 * np.log10(errors)))


def draw(rows: dict[str, np.ndarray], path: Path) -> None:
    """A row of pictures for each title."""
    figure, axes = plt.subplots(
        len(rows), DRAWN, figsize=(DRAWN, 1.1 * len(rows)), layout="constrained"
    )
    for row, (title, pictures) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(title)
        for axis, picture in zip(row, pictures[:DRAWN], strict=True):
            axis.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's four gzipped files")
    parser.add_argument("--samples", type=int, default=60000, help="pictures to train on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/denoise"))
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"denoise: error: {' '.join(str(error).split())}")


def run(arguments: argparse.Namespace) -> None:
    train, test = (
        load(part, arguments.data)[0][..., None].astype("float32") / 255
        for part in ("train", "t10k")
    )
    train = train[: arguments.samples]
    damaged = noisy(test, arguments.seed)
    rows, parameters = {"clean": test, "noisy": damaged}, {}
    for title, se in (("with SE", True), ("without SE", False)):
        print(f"\n{title}", flush=True)
        keras.utils.set_random_seed(arguments.seed)
        model = autoencoder(se)
        steps = arguments.epochs * math.ceil(len(train) / BATCH)
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)), "mse"
        )
        model.fit(
            noisy(train, arguments.seed + 1), train, BATCH, epochs=arguments.epochs, verbose=2
        )
        rows[title] = model.predict(damaged, batch_size=500, verbose=0)
        parameters[title] = model.count_params()

    print(f"\nPeak signal-to-noise ratio on {len(test)} test pictures")
    print(f"  {'':<12}{'parameters':>12}{'dB':>8}")
    for title in ("noisy", *parameters):
        ratio = peak_signal_to_noise(test, rows[title])
        print(f"  {title:<12}{parameters.get(title, 0):12,}{ratio:8.2f}")
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    draw(rows, arguments.output_dir / "denoised.png")
    print(f"\nWritten to {arguments.output_dir}: denoised.png")


if __name__ == "__main__":
    main()
