"""Twelve-megapixel JPEGs: decoded at a fraction of their size, beside decoded whole.

    python benchmarks/large_jpegs.py

4000 x 3000 JPEGs of scikit-learn's two photographs, enlarged, with the noise of a camera; to
224 x 224. Training: random crops in `tf.data`. `predict`: its files read one after the other. Both
sides in turn; then how far the pictures differ from those that are decoded whole.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_se.benchmarking.timing import compare, conditions, described
from keras_se.data.encoded import central_crop
from keras_se.pictures import read_picture
from keras_se.training.encoded_batches import ATTEMPTS, random_crop
from keras_se.weights.entries import Preprocessing

FILES, ROUNDS, SHAPE, CROP = 16, 7, (224, 224, 3), 0.875
TRANSFORM = Preprocessing(224, CROP, "bilinear", (), ())


def make(folder: Path) -> list[Path]:
    """Large JPEGs."""
    random = np.random.default_rng(0)
    large = [
        np.asarray(Image.fromarray(picture).resize((4000, 3000), Image.Resampling.LANCZOS))
        for picture in load_sample_images().images
    ]
    files = []
    for n in range(FILES):
        picture = np.roll(large[n % 2], 200 * n, axis=1).astype("float32")
        picture += random.normal(0, 4, (*picture.shape[:2], 1)).astype("float32")
        files.append(folder / f"{n}.jpg")
        Image.fromarray(picture.clip(0, 255).astype("uint8")).save(files[-1], quality=90)
    return files


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Decode whole pictures, as before, and accurately, as Pillow does."""
    with (
        mock.patch("keras_se.training.encoded_batches.jpeg_ratio", return_value=tf.constant(0)),
        mock.patch("keras_se.data.encoded.jpeg_ratio", return_value=tf.constant(0)),
        mock.patch("keras_se.pictures.LEAST_SCALE", 10**4),
    ):
        yield


def epoch(files: list[Path]) -> tf.data.Dataset:
    """A random crop of each file."""
    numbers = np.random.default_rng(1).random((len(files), 2 * ATTEMPTS + 2), "float32")
    data = tf.data.Dataset.from_tensor_slices(([str(file) for file in files], numbers))
    return data.map(
        lambda file, n: random_crop(tf.io.read_file(file), n, SHAPE, (0.08, 1.0)),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).batch(FILES)


def timed(work: object) -> float:
    start = time.perf_counter()
    list(work)  # type: ignore[call-overload]
    return time.perf_counter() - start


def main() -> None:
    print(described(conditions()))
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder))
        scaled, times = epoch(files), {}
        with whole():
            before = epoch(files)
        for _ in range(ROUNDS + 1):
            for name, data in (("whole", before), ("scaled", scaled)):
                times.setdefault(f"training, {name}", []).append(timed(data))
        print(f"\n{FILES} random crops")
        compare({name: seconds[1:] for name, seconds in times.items()})

        def read() -> list[np.ndarray]:
            return [read_picture(file, TRANSFORM, "RGB")[0] for file in files]

        times = {}
        for _ in range(ROUNDS + 1):
            with whole():
                times.setdefault("predict, whole", []).append(timed(read() for _ in range(1)))
            times.setdefault("predict, scaled", []).append(timed(read() for _ in range(1)))
        print(f"\n{FILES} files for predict, the network left out")
        compare({name: seconds[1:] for name, seconds in times.items()})

        with whole():
            expected = read()
        graph = [central_crop(tf.io.read_file(str(f)), SHAPE, CROP).numpy() for f in files]
        print("\nbeside whole pictures of Pillow, 224 x 224")
        for name, found in (("Pillow", read()), ("TensorFlow", graph)):
            off = np.abs(np.stack(found) - np.stack(expected)).mean(axis=(1, 2, 3))
            print(f"{name}: mean difference {off.mean():.2f} levels, at most {off.max():.2f}")


if __name__ == "__main__":
    main()
