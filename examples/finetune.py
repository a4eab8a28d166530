"""Transfer learning, end to end: pretrained network, your pictures, a SavedModel that serves.

    python examples/finetune.py                                  # bundled weights, real digits
    python examples/finetune.py --data FOLDER --model SEResNet50 --weights imagenet

1. A new head is trained with the backbone frozen.
2. The last two stages are trained too, at a lower rate. BatchNorm stays in inference mode
   throughout: its moving statistics are part of what the backbone knows.
3. Without FOLDER: the same network from random values, every layer trained, for as many steps; and
   both again with five labelled pictures a class, where transfer counts most.
4. The fine-tuned network is exported, and a fresh process that has TensorFlow but not keras_se
   loads it and names a picture.

FOLDER has one folder of JPEG, PNG, BMP or GIF files a class; a third of them is held out. Without
it, the 1,797 handwritten digits of scikit-learn (8 x 8, real scans) are used, enlarged to 28 x 28.
Everything is written to `runs/examples/finetune`.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

import keras_se

SEED = 7
HELD_OUT = 1 / 3
HEAD_RATE, STAGES_RATE = 1e-2, 1e-3
# The second experiment: labelled pictures a class, and epochs of the head and of the last stages.
FEW, FEW_EPOCHS = 5, (20, 20)
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")

# No Keras here: what TensorFlow Serving would do.
SERVE = """
import sys
import tensorflow as tf
folder, picture, channels, *names = sys.argv[1:]
image = tf.io.decode_image(tf.io.read_file(picture), int(channels), tf.uint8)
model = tf.saved_model.load(folder)
scores = model.serve(tf.cast(image[None], tf.float32))[0].numpy()
assert "keras_se" not in sys.modules
print(f"named {names[scores.argmax()]} ({scores.max():.1%})")
"""


def digits(
    size: tuple[int, int], channels: int
) -> tuple[tf.data.Dataset, tf.data.Dataset, list[str]]:
    """scikit-learn's digits, bilinearly enlarged, in 0..255."""
    pictures, labels = load_digits(return_X_y=True)
    pictures = pictures.reshape(-1, 8, 8, 1) * (255 / 16)
    pictures = np.repeat(tf.image.resize(pictures, size).numpy(), channels, axis=-1)
    parts = train_test_split(
        pictures, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    train = tf.data.Dataset.from_tensor_slices((parts[0], parts[2])).shuffle(len(parts[0]), SEED)
    test = tf.data.Dataset.from_tensor_slices((parts[1], parts[3]))
    return train, test, [str(digit) for digit in range(10)]


def folder(
    path: Path, size: tuple[int, int], channels: int
) -> tuple[tf.data.Dataset, tf.data.Dataset, list[str]]:
    """Pictures of a folder of folders, every one checked before any work is done."""
    if not path.is_dir():
        raise ValueError(f"--data must be a folder. Received: {path}")
    files = [file for file in sorted(path.glob("*/*")) if file.suffix.lower() in PICTURES]
    names = sorted({file.parent.name for file in files})
    if len(names) < 2 or len(files) < 6:
        raise ValueError(
            f"--data must hold at least two folders of pictures ({', '.join(PICTURES)}), six in "
            f"all. Received: {len(files)} picture(s) in {len(names)} folder(s) of {path}"
        )
    for file in files:
        try:
            with Image.open(file) as image:
                image.load()
                received = "transparency" if image.has_transparency_data else image.mode
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{file}: expected an undamaged picture. Received: {error}") from None
        if received not in ("1", "L", "P", "RGB"):
            raise ValueError(f"{file}: expected a grey or RGB picture. Received: {received}")
    train, test = keras.utils.image_dataset_from_directory(
        path,
        class_names=names,
        color_mode={1: "grayscale", 3: "rgb"}[channels],
        batch_size=None,
        image_size=size,
        crop_to_aspect_ratio=True,
        seed=SEED,
        validation_split=HELD_OUT,
        subset="both",
        verbose=False,
    )
    return train, test, names


def classifier(backbone: keras.Model, classes: int, training: bool | None) -> keras.Model:
    """`backbone` with a new head; `training=False` keeps its BatchNorm in inference mode."""
    inputs = keras.Input(backbone.input_shape[1:])
    x = backbone(inputs, training=training)
    x = keras.layers.Dropout(0.2, seed=SEED)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def fit(model: keras.Model, train: tf.data.Dataset, epochs: int, rate: float) -> None:
    """`epochs` of Adam, the rate falling to zero along a cosine."""
    steps = epochs * len(train)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(train, epochs=epochs, verbose="auto")


def predict(model: keras.Model, test: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The true and the predicted class of every picture."""
    true = np.concatenate([labels for _, labels in test.as_numpy_iterator()])
    return true, model.predict(test, verbose=0).argmax(axis=1)


def accuracy(model: keras.Model, test: tf.data.Dataset) -> float:
    """Share of pictures that are named rightly."""
    true, predicted = predict(model, test)
    return float((true == predicted).mean())


def first_of_each_class(train: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """The first `count` pictures of each class."""
    chosen: dict[int, list[np.ndarray]] = {}
    for picture, label in train.as_numpy_iterator():
        if len(chosen.setdefault(int(label), [])) < count:
            chosen[int(label)].append(picture)
    pictures = np.concatenate([np.stack(chosen[label]) for label in sorted(chosen)])
    labels = np.repeat(sorted(chosen), [len(chosen[label]) for label in sorted(chosen)])
    return tf.data.Dataset.from_tensor_slices((pictures, labels)).shuffle(len(labels), SEED)


def stage(layer: keras.layers.Layer) -> str:
    """The stage of the network that a layer belongs to, or "" outside the residual stages."""
    name = layer.name.split("_")[0]
    return name if name.startswith("stage") else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with one folder of pictures a class")
    parser.add_argument("--model", default="SEResNet20", choices=keras_se.list_models())
    parser.add_argument("--weights", default="fashion_mnist", help="set of weights, or 'none'")
    parser.add_argument("--epochs", type=int, nargs=2, default=(3, 9), help="head, last stages")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/finetune"))
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"finetune: error: {' '.join(str(error).split())}")


def run(arguments: argparse.Namespace) -> None:
    keras.utils.set_random_seed(SEED)
    build: Callable[..., keras.Model] = getattr(keras_se, arguments.model)
    weights = None if arguments.weights == "none" else arguments.weights
    known = [
        entry
        for entry in keras_se.list_weights(arguments.model)
        if weights == entry.name or (entry.default and weights == entry.dataset)
    ]
    shape = known[0].input_shape if known else build(weights=weights).input_shape[1:]
    load = digits if arguments.data is None else functools.partial(folder, arguments.data)
    train, test, names = load(shape[:2], shape[2])
    print(f"{len(train)} pictures to train on, {len(test)} held out, {len(names)} classes")
    test = test.batch(arguments.batch).cache()
    experiments = {f"all {len(train)}": (train, arguments.epochs)}
    if arguments.data is None:
        experiments[f"{FEW} a class"] = (first_of_each_class(train, FEW), FEW_EPOCHS)

    def backbone(weights: str | None) -> keras.Model:
        return build(include_top=False, weights=weights, input_shape=shape, pooling="avg")

    models, table = [], []
    for title, (pictures, epochs) in experiments.items():
        pictures = pictures.batch(arguments.batch).prefetch(2)
        print(f"\n{title}: a new head on the frozen {arguments.model} ({arguments.weights})")
        base = backbone(weights)
        base.trainable = False
        model = classifier(base, len(names), training=False)
        figures = [accuracy(model, test)]
        fit(model, pictures, epochs[0], HEAD_RATE)
        figures.append(accuracy(model, test))

        stages = sorted({stage(layer) for layer in base.layers} - {""})[-2:]
        print(f"\n{title}: {' and '.join(stages)} too, at a lower rate")
        for layer in base.layers:
            layer.trainable = stage(layer) in stages
        fit(model, pictures, epochs[1], STAGES_RATE)
        figures.append(accuracy(model, test))

        if arguments.data is None:
            print(f"\n{title}: from random values, every layer, as many steps")
            random = classifier(backbone(None), len(names), training=None)
            fit(random, pictures, sum(epochs), STAGES_RATE)
            figures.append(accuracy(random, test))
        models.append(model)
        table.append((title, figures))

    columns = ("untrained head", "head", "fine-tuned", "from random values")[: len(figures)]
    print("\nAccuracy on the held-out pictures")
    print(f"  {'trained on':<14}" + "".join(f"{column:>20}" for column in columns))
    for title, figures in table:
        print(f"  {title:<14}" + "".join(f"{figure:20.2%}" for figure in figures))

    arguments.out.mkdir(parents=True, exist_ok=True)
    true, predicted = predict(models[0], test)
    display = ConfusionMatrixDisplay.from_predictions(
        true, predicted, display_labels=names, cmap="Blues", colorbar=False,
        xticks_rotation="vertical" if max(map(len, names)) > 3 else "horizontal",
    )  # fmt: skip
    display.ax_.set_title(f"{arguments.model}, fine-tuned: {table[0][1][2]:.2%}")
    display.figure_.savefig(arguments.out / "confusion.png", dpi=150, bbox_inches="tight")

    print("\nA SavedModel, loaded by a process without keras_se")
    models[0].export(arguments.out / "saved_model", verbose=False)
    picture, label = next(test.unbatch().as_numpy_iterator())
    path = arguments.out / "picture.png"
    keras.utils.save_img(path, picture, scale=False)
    served = subprocess.run(
        [sys.executable, "-c", SERVE, arguments.out / "saved_model", path, str(shape[2]), *names],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    print(f"  {path}: {served.stdout.strip()}; it is {names[label]}")
    print(f"\nWritten to {arguments.out}: confusion.png, picture.png, saved_model")


if __name__ == "__main__":
    main()
