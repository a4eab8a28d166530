"""`keras-se export`: write files for servers and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import keras_se
from keras_se.commands._output import as_json, print_report


@click.command()
@click.argument("what")
@click.argument("path", required=False)
@click.option("--format", default="tf_saved_model", show_default=True,
              help="tf_saved_model, onnx, openvino or litert.")  # fmt: skip
@click.option("--serving-dir", metavar="BASE", help="Write BASE/VERSION for TensorFlow Serving.")
@click.option("--labels", metavar="FILE", help="Class names, one per line, or a data set's name.")
@click.option("--scores", help="Activation for logits: softmax or sigmoid.")
@click.option("--preprocessing", metavar="WEIGHTS", help="Set for resize and crop; see `list`.")
@click.option("--int8", metavar="DATA", help="Quantise with a folder of pictures or a data set.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Classes.")
@click.option("--max-pixels", type=click.IntRange(min=1), help="Refuse larger pictures.")
@click.option("--strict", is_flag=True, help="Refuse pictures that are not 8-bit RGB (or grey).")
@click.option("--compile", is_flag=True, help="Faster, but needs XLA: see the serving page.")
@click.option("--constants/--no-constants", default=None,
              help="Weights in the graph: faster, more memory; default if small.")  # fmt: skip
@click.option("--input-type", default="float32", show_default=True,
              help="Type of the pictures, float32 or uint8; not for a SavedModel.")  # fmt: skip
@click.option("--image-size", type=click.IntRange(min=1), help="Side of the pictures, if free.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures in a batch; default any.")
@click.option("--no-fuse", is_flag=True, help="Do not fuse the network.")
@as_json
def export(
    what: str, path: str | None, format: str, serving_dir: str | None, labels: str | None,
    scores: str | None, preprocessing: str | None, int8: str | None, top: int,
    max_pixels: int | None, strict: bool, compile: bool, constants: bool | None,
    input_type: str, image_size: int | None, batch_size: int | None, no_fuse: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write WHAT to PATH, for servers and devices.

    WHAT is a set of weights, a builder with a data set (SEResNet50.imagenet), a run folder or a
    .keras file. The file is run and compared with the model.
    """
    if (path is None) == (serving_dir is None):
        raise ValueError("give either PATH or --serving-dir BASE")
    if "" in (path, serving_dir):
        raise ValueError("give a PATH that is not empty. Received: ''")
    from keras_se.serving import sources

    model = keras_se.get_model(what)
    options: dict[str, Any] = {}
    if labels is not None:
        file = Path(labels)
        options["labels"] = file.read_text("utf-8").splitlines() if file.is_file() else labels
    if preprocessing is not None:
        options["preprocessing"] = preprocessing
    if max_pixels is not None:
        options["max_pixels"] = max_pixels
    if int8 is not None:
        options["representative"] = sources.pictures(int8)
    written = keras_se.export(
        model, str(path or serving_dir), format, fuse=not no_fuse, compile=compile,
        constants=constants, scores=scores, strict=strict, top_k=top,
        serving=serving_dir is not None, input_type=input_type, image_size=image_size,
        batch_size=batch_size, **options,
    )  # fmt: skip
    report = {
        "path": str(written.path),
        "format": written.format,
        "bytes": written.bytes,
        "largest_difference": written.difference,
        "classes": len(written.labels),
        "constant_gates": list(written.constant_gates),
    }
    if written.agreement is not None:
        report["agreement"] = written.agreement
    if written.accuracy is not None:
        report["accuracy"], report["accuracy_in_8_bits"] = written.accuracy
    print_report(report, as_json)
