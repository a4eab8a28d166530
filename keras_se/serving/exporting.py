"""`export`: write a trained network to a file for other runtimes."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se
from keras_se.checks import boolean, one_of
from keras_se.files import publish, staged, writing
from keras_se.inspection import warn_of_range
from keras_se.pictures import MAX_PIXELS
from keras_se.serving import warmup
from keras_se.serving.decoding import Transform
from keras_se.serving.description import any_size, network_of, transform_of, with_size
from keras_se.serving.formats import FORMATS, INPUT_TYPES, check_modules, check_path, parts
from keras_se.serving.network import in_float32, is_half, with_constant_gates, with_native_groups
from keras_se.serving.representative import compared, representative_images
from keras_se.weights.entries import Preprocessing, Weights

# Relative to the largest output: float32 sums are reordered; half precision keeps 8 bits.
TOLERANCE, HALF_TOLERANCE = 1e-3, 0.1
# Reordered rounding has more effect than one change of the input by a millionth.
ROUNDINGS = 10
# Size of a signal or volume for a network that takes any size.
PROBE = 32
# Bytes of weights that become constants by default, and the most that a graph can hold: a protobuf
# message is limited to 2 GiB.
SMALL, LARGEST_GRAPH = 2**27, 2**31 - 2**27


@dataclass(frozen=True)
class Export:
    """The result of `export`.

    Attributes:
        path: The folder or file.
        format: Its format.
        bytes: Its size, including all files that belong to it.
        difference: The largest difference between its answers and the model's on a batch of
            images.
        amplification: How much the model's own answers change, as a share of the largest, if its
            input changes by a millionth: measured if the file's answers differ by more than usual,
            else `None`. Up to ten times this is rounding.
        constant_gates: Blocks whose hidden units were zero for all representative images, and
            which scale by constants in the file.
        agreement: Share of the representative images for which the file names the class that the
            model names; `None` without them, or if the outputs are not known to be class scores.
        accuracy: Shares of right classes, the model's and the file's, on representative images
            with labels; else `None`.
        labels: Names of the classes; none if the outputs are not known to be class scores.
        transform: The preprocessing of files, or `None`.
    """

    path: Path
    format: str
    bytes: int
    difference: float
    amplification: float | None
    constant_gates: tuple[str, ...]
    agreement: float | None
    accuracy: tuple[float, float] | None
    labels: tuple[str, ...]
    transform: Transform | None


def export(
    model: keras.Model,
    path: str | Path,
    format: str = "tf_saved_model",
    *,
    fuse: bool = True,
    compile: bool = False,
    constants: bool | None = None,
    scores: str | None = None,
    image_bytes: bool = True,
    labels: Sequence[str] | str | None = None,
    top_k: int = 5,
    preprocessing: str | Weights | Preprocessing | None = None,
    max_pixels: int = MAX_PIXELS,
    strict: bool = False,
    serving: bool = False,
    representative: Any = None,
    input_type: str = "float32",
    image_size: int | Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Export:
    """Write a trained network to a file that needs neither this package nor Keras.

    The file is run on a batch of images and compared with the model before it is renamed to `path`,
    so nothing half-written ever appears there.

    A SavedModel has these signatures; all scores are float32 under any policy:

    - `serving_default`: `image_bytes`, string `(N,)`, the JPEG, PNG, GIF or BMP files, to `scores`,
      `class_ids` and `labels`, `(N, top_k)`, best first; `probabilities`, `(N, classes)`; and
      `error`, string `(N,)`: "" or why the image is refused, by the rules of `load_image`. A
      refused image affects only its own row, with scores 0, ids -1 and labels "". If the outputs
      are not known to be class scores (values, embeddings, dense maps, several outputs), the
      answers are the outputs by name, `outputs` if there is one. A network that gives class scores
      for every pixel gets the whole picture, resized to its size without a crop, and answers
      `outputs`, `(N, H, W, classes)`, and `labels`, string `(N, classes)`, their names.
    - `serve_images` and `serve_images_uint8`: `images`, `(N, H, W, C)` in 0..255, to the same
      without `error`. H and W are free if the network takes any size. Networks of signals and
      volumes take `(N, length, C)` and `(N, depth, H, W, C)`, and need `image_bytes=False`.
    - `features`: `images` to the classifier's input, float32 `(N, features)`; only if the last
      layer with weights is a layer of the model itself.

    The other formats take `images`, `(N, H, W, C)` in 0..255 of the type `input_type`, H and W free
    if the model takes any size and `image_size` is not given, and answer `predictions`, or several
    outputs by name.

    Args:
        model: A functional or Sequential model with one input, images in 0..255, signals or
            volumes, and any outputs.
            The file gives the model's outputs; known logits, as of a run or a published set,
            become probabilities.
        path: Output path, which must not exist: a folder, or a file that ends in `.onnx`, `.xml`
            (OpenVINO, with a `.bin` beside it) or `.tflite`.
        format: `"tf_saved_model"` (default), `"onnx"`, `"openvino"` or `"litert"`.
        fuse: `True` (default): convert to the inference form of `keras_se.fuse`.
        compile: `True`: on the CPU, XLA compiles the ends of a fused network's residual units in a
            SavedModel. This is faster, but each new batch or image size first takes a quarter of a
            second or more, and TensorFlow Serving refuses the model unless it is started with
            `--xla_cpu_compilation_enabled`. Defaults to `False`: nothing needs XLA.
        constants: Whether the weights are constants in the graph of a SavedModel, instead of
            variables beside it: a quarter to a third faster on the CPU, for several times the
            memory (SE-ResNet-50 in C 1.9 GB instead of 0.6 GB, in Python 1.7 GB once it is loaded
            and 4.3 GB with all signatures in use, instead of 0.3 GB). Defaults to `None`: up to
            128 MiB of weights. The limit is 1.8 GiB.
        scores: Activation to apply to logits: `"softmax"` or `"sigmoid"`. Defaults to `None`: the
            one that `keras_se.describe` reports, else none.
        image_bytes: `True` (default): a SavedModel takes files; otherwise its `serving_default` is
            `serve_images`.
        labels: Names of the classes, or the name of a data set such as `"imagenet"`; for one
            sigmoid two names, for "no" and "yes". Defaults to the model's own, else to "0", "1"
            and so on for probabilities, and to none for values.
        top_k: Number of classes to name, at most all. Defaults to 5.
        preprocessing: The evaluation transform for files: a set of weights, its name, or a
            `Preprocessing`. Defaults to the model's own, else bilinear on the whole image.
        max_pixels: Larger images are refused. Defaults to 100 megapixels, as in `load_image`.
        strict: Whether a SavedModel refuses images that need conversion to 8-bit RGB or grey, or
            rotation, as `load_image` does. Defaults to `False`.
        serving: `True`: `path` is the base folder of a model in TensorFlow Serving; the next
            version is written into it, with warm-up requests.
        representative: Images as the network takes them, `(n, H, W, C)` in 0..255, a stream of
            them or of batches such as a `tf.data.Dataset`, or a folder of files, a hundred or more.
            They calibrate the ranges of ONNX, OpenVINO and LiteRT files in 8-bit integers. At most
            300 of a folder or stream are used. If the elements of a stream are pairs of images and
            class numbers, or one-hot vectors, the report has both accuracies. Defaults to `None`.
        input_type: `"float32"` (default) or `"uint8"`: the type of the images; not for a
            SavedModel, which takes both. In a LiteRT file of 8-bit integers all operations are
            then integer ones, and the outputs are uint8, too: a score is
            `(output - zero_point) * scale`, with the output's `quantization`.
        image_size: Size of the images, one integer or `(H, W)`, for a model that takes any size;
            not for a SavedModel. With a known size onnxruntime computes Squeeze-and-Excitation
            faster. Defaults to `None`: the model's own.
        batch_size: Images in a batch; not for a SavedModel. Defaults to `None`: any number.

    Returns:
        An `Export`: `path`, `bytes`, `difference` and more.

    Raises:
        ValueError: If an argument is invalid, the format cannot hold the network, or the written
            network differs by more than a thousandth of the largest output.
        OSError: If it cannot be written.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> keras_se.export(model, "shoes").labels[9]
    'Ankle_boot'
    """
    one_of(*FORMATS)("format", format)
    chosen, folder = FORMATS[format], format == "tf_saved_model"
    boolean("fuse", fuse)
    one_of(*INPUT_TYPES)("input_type", input_type)
    if boolean("compile", compile) and not folder:
        raise ValueError("`compile` is only supported with format='tf_saved_model'")
    constants = _constants(model, constants, folder)
    boolean("image_bytes", image_bytes)
    path = check_path(path, chosen, boolean("serving", serving), folder)
    check_modules(chosen, serving, representative)
    transform = transform_of(model, preprocessing, max_pixels, boolean("strict", strict))
    files = transform if folder and image_bytes else None
    network = network_of(model, labels, top_k, scores, files)
    if folder and (image_size, batch_size, input_type) != (None, None, "float32"):
        raise ValueError(
            "`image_size`, `batch_size` and `input_type` are only supported with format 'onnx', "
            "'openvino' or 'litert'"
        )
    rank = len(network.shape) - 1
    shape = with_size(network.shape, image_size, batch_size)
    network = replace(network, shape=shape, batch=batch_size, input_type=input_type)
    usual = (transform.height, transform.width) if rank == 2 else (PROBE,) * rank
    fixed = tuple(
        own or other for own, other in zip(network.shape, (*usual, transform.channels), strict=True)
    )
    known = None
    if representative is not None:
        known = representative_images(representative, transform, fixed, len(network.labels or ()))
        warn_of_range(model, known.images)
    images = None if known is None else known.images
    with staged(path) as stage:
        temporary = stage / path.name
        written = replace(network, model=model if folder else in_float32(model))
        written = replace(written, compile=compile, constants=constants)
        if not compile:
            written = replace(written, model=with_native_groups(written.model))
        if folder:
            written = replace(written, shape=any_size(written))
        constant_gates: tuple[str, ...] = ()
        if images is not None:
            changed, constant_gates = with_constant_gates(written.model, network.given(images))
            written = replace(written, model=changed)
        if fuse:
            written = replace(written, model=keras_se.fuse(written.model))
        with _converting(format):
            save = chosen.convert(written, *([] if images is None else [images]))
        with writing(path):
            save(temporary)
        batch = np.random.default_rng(0).integers(0, 256, (2, *fixed)).astype("float32")
        batch = batch if images is None else images[:8]
        batch = network.typed(np.resize(batch, (batch_size or len(batch), *fixed)))
        with _converting(format):
            received = chosen.run(temporary, batch)
        batch = batch.astype("float32")
        expected = network.expected(batch)
        difference, share = network.difference(received, expected)
        tolerance = HALF_TOLERANCE if is_half(model) else TOLERANCE
        amplification = None
        if images is None and not share <= tolerance:
            amplification = network.amplification(batch, expected)
            tolerance = max(tolerance, ROUNDINGS * amplification)
            warnings.warn(
                "The model amplifies rounding: changing its input by a millionth changes its "
                f"answers by {amplification:.2g} of the largest, so {tolerance:.2g} is allowed",
                stacklevel=2,
            )
        if images is None and not share <= tolerance:
            raise ValueError(
                f"{path}: the written network must differ by at most {tolerance} of the largest "
                f"output from the model; nothing was written. Received: {share}"
            )
        agreement, accuracy = None, None
        if known is not None:
            with _converting(format):
                agreement, accuracy = compared(network, chosen.run, temporary, known)
        if serving:
            with writing(path):
                warmup.write(written, temporary, fixed)
        size = publish(stage, parts(path))
    labels = network.labels or ()
    return Export(
        path, format, size, difference, amplification, constant_gates, agreement, accuracy, labels,
        network.transform,
    )  # fmt: skip


@contextmanager
def _converting(format: str) -> Iterator[None]:
    """Silence a converter or runtime, and turn its errors into one line."""
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"format={format!r} cannot hold this network ({reason})") from error


def _constants(model: Any, constants: bool | None, folder: bool) -> bool:
    """Whether the weights become constants; raises a `ValueError` if they cannot."""
    if constants is not None and not folder:
        raise ValueError("`constants` is only supported with format='tf_saved_model'")
    if constants is not None:
        boolean("constants", constants)
    variables = getattr(model, "variables", ())
    size = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables)
    if constants and size > LARGEST_GRAPH:
        raise ValueError(
            f"`constants` must be False for weights of more than {LARGEST_GRAPH} bytes. "
            f"Received: a model of {size}"
        )
    return size <= SMALL if constants is None else constants
