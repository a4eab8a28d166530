"""Semantic segmentation, end to end: a U-Net with and without scSE beside KerasHub's DeepLabV3+.

    python examples/segment.py                         # Fashion-MNIST garments on canvases
    python examples/segment.py --tfds oxford_iiit_pet  # a data set with masks, prepared by TFDS

All segmenters are trained from random values, from the same seed and on the same pictures: U-Nets
on SE-ResNet-18 with and without scSE in the decoder, and, if KerasHub is installed, DeepLabV3+ on
SE-ResNet-18 and on the plain ResNet-18. Their mean intersection over union and pixel accuracy are
printed, and the masks are drawn beside the truth. Everything is written to `runs/segment`.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from garments import Scenes, training_and_test

import keras_se

BATCH = 8
# Of 1e-3 and 4e-3 the better one of U-Net and DeepLabV3+ on scenes held out of the training ones.
RATE = 4e-3
# Pictures that are drawn.
DRAWN = 8


Segmenter = Callable[[int, int], keras.Model]


def network(se: keras_se.SEConfig | None, size: int) -> keras.Model:
    """SE-ResNet-18, or the plain ResNet-18 where `se` is None, without a head."""
    return keras_se.SEResNet18(include_top=False, weights=None, input_shape=(size, size, 3), se=se)


def unet(attention: str | None, classes: int, size: int) -> keras.Model:
    """A U-Net on SE-ResNet-18; gives logits."""
    return keras_se.UNet(
        network(keras_se.SEConfig(), size), classes, attention=attention,
        classifier_activation=None,
    )  # fmt: skip


def deeplab(se: keras_se.SEConfig | None, classes: int, size: int) -> keras.Model:
    """DeepLabV3+ on SE-ResNet-18, or on the plain ResNet-18 where `se` is None; gives logits."""
    import keras_hub

    pyramid = keras_se.feature_pyramid(network(se, size))
    # Its last stage is not used at a stride of 16.
    levels = {name: pyramid.pyramid_outputs[name] for name in ("P2", "P4")}
    encoder = keras.Model(pyramid.inputs, levels)
    encoder.pyramid_outputs = levels
    backbone = keras_hub.models.DeepLabV3Backbone(
        encoder, spatial_pyramid_pooling_key="P4", upsampling_size=4, dilation_rates=[1, 2, 3],
        low_level_feature_key="P2", image_shape=(size, size, 3),
    )  # fmt: skip
    return keras_hub.models.DeepLabV3ImageSegmenter(backbone, classes)


def segmenters() -> dict[str, Segmenter]:
    """Functions that build each segmenter from the number of classes and the size, by title."""
    every: dict[str, Segmenter] = {
        "U-Net, scSE": partial(unet, "scse"),
        "U-Net": partial(unet, None),
    }
    if importlib.util.find_spec("keras_hub"):
        every["DeepLabV3+"] = partial(deeplab, keras_se.SEConfig())
        every["DeepLabV3+, no SE"] = partial(deeplab, None)
    return every


def fit(model: keras.Model, scenes: Scenes, epochs: int) -> None:
    """`epochs` of Adam, the rate rising for an epoch and falling to zero along a cosine."""
    steps = math.ceil(len(scenes.pictures) / BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 10, steps * max(epochs - 1, 1), warmup_target=RATE, warmup_steps=steps
    )
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    data = tf.data.Dataset.from_tensor_slices((scenes.pictures, scenes.masks))
    data = data.shuffle(len(data)).batch(BATCH)
    model.fit(data.prefetch(2), epochs=epochs, verbose=2)


def score(masks: np.ndarray, scenes: Scenes, classes: int) -> tuple[float, float]:
    """Mean intersection over union, background included, and the share of right pixels."""
    overlap = keras.metrics.MeanIoU(classes)
    overlap.update_state(scenes.masks, masks)
    right = keras.metrics.Accuracy()
    right.update_state(scenes.masks, masks)
    return float(overlap.result()), float(right.result())


def draw(scenes: Scenes, results: dict[str, np.ndarray], classes: int, path: Path) -> None:
    """A row of the pictures, one of the truth and one of each segmenter's masks."""
    rows = {"picture": scenes.pictures, "truth": scenes.masks, **results}
    count = min(DRAWN, len(scenes.pictures))
    figure, axes = plt.subplots(
        len(rows), count, figsize=(2 * count, 2.1 * len(rows)), squeeze=False, layout="constrained"
    )
    for row, (title, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(title)
        for axis, image in zip(row, images[:count], strict=True):
            axis.imshow(image, cmap="tab20", vmin=0, vmax=classes - 1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    names = ["background", *scenes.classes] if scenes.classes else map(str, range(classes))
    colours = plt.get_cmap("tab20")(np.linspace(0, 1, classes))
    patches = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours]
    figure.legend(patches, names, loc="outside lower center", ncols=classes, frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tfds", metavar="NAME", help="data set with masks, prepared by TFDS")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's four gzipped files")
    parser.add_argument("--samples", type=int, default=2000, help="pictures to train on")
    parser.add_argument("--tests", type=int, default=200, help="pictures to test on")
    parser.add_argument("--size", type=int, default=96, help="their height and width, 32 n")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/segment"))
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"segment: error: {' '.join(str(error).split())}")


def run(arguments: argparse.Namespace) -> None:
    size = arguments.size
    train, test = training_and_test(arguments, "segmentation_mask")
    classes = int(max(train.masks.max(), test.masks.max())) + 1
    print(f"{len(train.pictures)} pictures to train on, {classes} classes with the background")

    results, table = {}, []
    for title, segmenter in segmenters().items():
        print(f"\n{title}", flush=True)
        keras.utils.set_random_seed(arguments.seed)
        model = segmenter(classes, size)
        fit(model, train, arguments.epochs)
        results[title] = model.predict(test.pictures, BATCH, verbose=0).argmax(axis=-1)
        table.append((title, model.count_params(), *score(results[title], test, classes)))

    nothing = score(np.zeros_like(test.masks), test, classes)
    print(f"\n{len(test.pictures)} test pictures")
    print(f"  {'segmenter':<18}{'parameters':>14}{'mean IoU':>10}{'pixel accuracy':>16}")
    for title, parameters, overlap, right in (*table, ("all background", 0, *nothing)):
        print(f"  {title:<18}{parameters:14,}{overlap:10.3f}{right:16.3f}")
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    draw(test, results, classes, arguments.output_dir / "masks.png")
    print(f"\nWritten to {arguments.output_dir}: masks.png")


if __name__ == "__main__":
    main()
