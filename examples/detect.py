"""Object detection, end to end: KerasHub's RetinaNet on an SE-ResNet and on the plain one.

    python examples/detect.py                  # Fashion-MNIST garments on canvases
    python examples/detect.py --tfds voc/2007  # a data set with boxes, prepared by TFDS

Both detectors are trained from random values, from the same seed and on the same pictures; their
mean average precision at an intersection over union of 0.5 is printed, and what they find is drawn
beside the truth. Everything is written to `runs/detect`.

The paper detects with Faster R-CNN (Section 5.3). Keras has none to build on; KerasHub has
RetinaNet, another detector on the same backbones, so the figures are not to be laid beside the
paper's.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import keras
import keras_hub
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from garments import Scenes, training_and_test

import keras_se

BATCH = 8
RATE = 1e-3
FORMAT = "xyxy"
# Pictures that are drawn.
DRAWN = 8
# Confidence above which a box is drawn.
CONFIDENT = 0.4


def detector(se: keras_se.SEConfig | None, classes: int, size: int) -> keras.Model:
    """RetinaNet on SE-ResNet-18, or on the plain ResNet-18 where `se` is None."""
    network = keras_se.SEResNet18(
        include_top=False, weights=None, input_shape=(size, size, 3), se=se
    )
    backbone = keras_hub.models.RetinaNetBackbone(
        keras_se.feature_pyramid(network), min_level=3, max_level=5, use_p5=False,
        image_shape=(size, size, 3),
    )  # fmt: skip
    anchors = keras_hub.layers.AnchorGenerator(
        FORMAT, min_level=3, max_level=5, num_scales=3, aspect_ratios=[0.5, 1.0, 2.0],
        anchor_size=3.0,
    )  # fmt: skip
    model = keras_hub.models.RetinaNetObjectDetector(
        backbone, classes, FORMAT, anchors, use_prediction_head_norm=True,
        pre_logits_num_conv_layers=1,
        prediction_decoder=keras_hub.layers.NonMaxSuppression(
            FORMAT, from_logits=True, confidence_threshold=0.05, max_detections=50
        ),
    )  # fmt: skip
    # KerasHub 0.32 gives the focal loss's prior of 1 % to the boxes instead of the classes.
    prior = model.box_head.prediction_layer.bias, model.classification_head.prediction_layer.bias
    prior[0].assign(np.zeros(prior[0].shape))
    prior[1].assign(np.full(prior[1].shape, -math.log(99)))
    return model


def fit(model: keras.Model, scenes: Scenes, epochs: int) -> None:
    """`epochs` of Adam, the rate rising for an epoch and falling to zero along a cosine."""
    steps = math.ceil(len(scenes.pictures) / BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 10, steps * max(epochs - 1, 1), warmup_target=RATE, warmup_steps=steps
    )
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=10.0),
        box_loss=keras.losses.MeanAbsoluteError(reduction="sum"),
    )
    truth = {"boxes": scenes.boxes, "labels": scenes.labels.astype("float32")}
    data = tf.data.Dataset.from_tensor_slices((scenes.pictures.astype("float32"), truth))
    model.fit(data.shuffle(len(data)).batch(BATCH).prefetch(2), epochs=epochs, verbose=2)


def intersection_over_union(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Of one box with each of `boxes`."""
    corners = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(corners[1] - corners[0], 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / (np.prod(box[2:] - box[:2]) + areas - shared)


def average_precision(found: dict[str, np.ndarray], scenes: Scenes, label: int) -> float:
    """Area under the precision-recall curve of one class, each box to be found once."""
    wanted = [
        boxes[labels == label] for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True)
    ]
    taken = [np.zeros(len(boxes), bool) for boxes in wanted]
    picture, slot = np.nonzero(found["labels"] == label)
    order = np.argsort(-found["confidence"][picture, slot], kind="stable")
    hits = np.zeros(len(order), bool)
    for rank, (i, j) in enumerate(zip(picture[order], slot[order], strict=True)):
        if len(wanted[i]):
            overlap = intersection_over_union(found["boxes"][i, j], wanted[i])
            best = overlap.argmax()
            hits[rank] = overlap[best] >= 0.5 and not taken[i][best]
            taken[i][best] |= hits[rank]
    recall = np.cumsum(hits) / sum(map(len, wanted))
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    # The best precision at this recall or a higher one.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def mean_average_precision(found: dict[str, np.ndarray], scenes: Scenes) -> float:
    """The mean over the classes that occur."""
    occur = np.unique(scenes.labels[scenes.labels >= 0])
    return float(np.mean([average_precision(found, scenes, label) for label in occur]))


def draw(scenes: Scenes, results: dict[str, dict], path: Path) -> None:
    """A row of the truth and a row of what each detector found."""
    truth = {"boxes": scenes.boxes, "labels": scenes.labels, "confidence": scenes.labels >= 0}
    rows = {"truth": truth, **results}
    count = min(DRAWN, len(scenes.pictures))
    figure, axes = plt.subplots(
        len(rows), count, figsize=(2 * count, 2.1 * len(rows)), squeeze=False, layout="constrained"
    )
    for row, (title, found) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(title)
        for i, axis in enumerate(row):
            axis.imshow(scenes.pictures[i])
            axis.set(xticks=[], yticks=[])
            for j in np.flatnonzero(found["confidence"][i] >= CONFIDENT):
                left, top, right, bottom = found["boxes"][i, j]
                axis.add_patch(
                    plt.Rectangle(
                        (left - 0.5, top - 0.5), right - left, bottom - top, fill=False, color="w"
                    )
                )
                name = scenes.classes[int(found["labels"][i, j])]
                axis.text(left, max(top - 1, 6), name, color="w", size=7, clip_on=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tfds", metavar="NAME", help="data set with boxes, prepared by TFDS")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's four gzipped files")
    parser.add_argument("--samples", type=int, default=1600, help="pictures to train on")
    parser.add_argument("--tests", type=int, default=200, help="pictures to test on")
    parser.add_argument("--size", type=int, default=96, help="their height and width, 32 n")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/detect"))
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"detect: error: {' '.join(str(error).split())}")


def run(arguments: argparse.Namespace) -> None:
    size = arguments.size
    train, test = training_and_test(arguments, "objects")
    count = int((train.labels >= 0).sum())
    print(f"{len(train.pictures)} pictures with {count} objects to train on")

    results, table = {}, []
    for title, se in (("SE-ResNet-18", keras_se.SEConfig()), ("ResNet-18", None)):
        print(f"\n{title}", flush=True)
        keras.utils.set_random_seed(arguments.seed)
        model = detector(se, len(train.classes), size)
        fit(model, train, arguments.epochs)
        results[title] = model.predict(test.pictures.astype("float32"), BATCH, verbose=0)
        table.append((title, model.count_params(), mean_average_precision(results[title], test)))

    print(f"\n{len(test.pictures)} test pictures with {int((test.labels >= 0).sum())} objects")
    print(f"  {'backbone':<14}{'parameters':>14}{'mAP@0.5':>10}")
    for title, parameters, precision in table:
        print(f"  {title:<14}{parameters:14,}{precision:10.3f}")
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    draw(test, results, arguments.output_dir / "found.png")
    print(f"\nWritten to {arguments.output_dir}: found.png")


if __name__ == "__main__":
    main()
