"""Pictures per second: random crops fused with JPEG decoding, beside decode, crop, resize.

    python benchmarks/input_pipeline.py

500 x 375 JPEGs of scikit-learn's two photographs and of noise between them, made here; both sides
run the same number of threads, read the same files and put out batches of 224 x 224, and are timed
from the first batch of an epoch to the last. Then where the time of a picture goes, and a training
step of SE-ResNet-50 on as many pictures, which must be what is waited for.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

import keras_se
from keras_se.benchmarking.timing import compare, conditions, described, measure
from keras_se.data.encoded import EncodedPictures
from keras_se.data.folder import Files
from keras_se.data.labelled import streamed
from keras_se.recipes import get_recipe
from keras_se.training.recipe_data import training_batches

FILES, BATCH, SIZE = 128, 32, 224
# Pictures of an epoch, each file eight times.
COUNT = 8 * FILES
ROUNDS = 9
# A crop of the mean size, in the middle.
WINDOW = (54, 111, 267, 277)


def make(folder: Path) -> EncodedPictures:
    """JPEGs as large as ImageNet's usual ones, with its amount of detail."""
    random = np.random.default_rng(0)
    photographs = [
        np.asarray(Image.fromarray(picture).resize((500, 375))).astype("float32")
        for picture in load_sample_images().images
    ]
    files = []
    for n in range(FILES):
        share = random.random()
        picture = share * photographs[0] + (1 - share) * np.roll(photographs[1], 37 * n, axis=1)
        picture += random.normal(0, 6, picture.shape)
        files.append(str(folder / f"{n}.jpg"))
        Image.fromarray(np.clip(picture, 0, 255).astype("uint8")).save(files[-1], quality=90)
    every, shape = np.arange(COUNT) % FILES, (SIZE, SIZE, 3)
    return EncodedPictures(Files(files), every, every % 2, ["a", "b"], shape, 0.875)


def plain(data: EncodedPictures) -> tf.data.Dataset:
    """Decode all of it, cut a part out, resize, flip: TensorFlow's own operations, one by one."""

    def load(index: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_jpeg(data.source.data(index), channels=3)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(picture),
            tf.zeros((1, 0, 4)),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        picture = tf.slice(picture, begin, size)
        picture = tf.image.random_flip_left_right(tf.image.resize(picture, (SIZE, SIZE)))
        return tf.ensure_shape(picture, (SIZE, SIZE, 3))

    pictures = tf.data.Dataset.from_tensor_slices(data.chosen).shuffle(COUNT)
    pictures = pictures.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return pictures.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def epoch(batches: tf.data.Dataset) -> float:
    """Seconds from the first batch to the last."""
    iterator = iter(batches)
    next(iterator)
    start = time.perf_counter()
    for _ in iterator:
        pass
    return time.perf_counter() - start


def parts(data: EncodedPictures) -> Mapping[str, Callable[[], None]]:
    """The work on a picture, each part with those before it, on all files in one thread."""

    def read(n: tf.Tensor) -> tf.Tensor:
        return data.source.data(n)

    def cropped(n: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_and_crop_jpeg(read(n), WINDOW, channels=3)

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1

    def all_files(work: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[], None]:
        pictures = tf.data.Dataset.range(FILES).map(work).with_options(options)

        def run() -> None:
            for _ in pictures:
                pass

        return run

    return {
        "read, decode all": all_files(lambda n: tf.io.decode_jpeg(read(n), channels=3)),
        "read": all_files(read),
        "read, decode a crop": all_files(cropped),
        "read, decode a crop, resize": all_files(
            lambda n: tf.image.resize(cropped(n), (SIZE, SIZE))
        ),
    }


def main() -> None:
    print(described(conditions()))
    recipe = get_recipe("imagenet").changed([f"batch={BATCH}"])
    with tempfile.TemporaryDirectory() as folder:
        data = make(Path(folder))
        sides = {
            "crop fused with decoding": lambda n: streamed(training_batches(data, recipe, n)),
            "decode, crop, resize": lambda n: plain(data),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for n in range(ROUNDS):
            for name, batches in sides.items():
                times[name].append(epoch(batches(n)))
        print(f"\n{COUNT - BATCH} JPEGs of 500 x 375, a batch of {BATCH} after the other")
        compare(times)
        print(f"\nin one thread, {FILES} JPEGs")
        measure(parts(data), rounds=ROUNDS)
    model = keras_se.SEResNet50(weights=None, classes=2, classifier_activation=None)
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    pictures = np.random.default_rng(1).uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype("float32")
    labels = np.arange(BATCH) % 2
    print(f"\na training step of SE-ResNet-50, {BATCH} pictures")
    measure({"step": lambda: model.train_on_batch(pictures, labels)}, rounds=3, warm_up=1)


if __name__ == "__main__":
    main()
