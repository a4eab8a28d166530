"""`Recipe`: all settings of a training run, checked before any work is done."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import keras_se
from keras_se.checks import unknown_choice

if TYPE_CHECKING:
    from keras_se.layers import AttentionConfig

BAD_PICTURES = ("refuse", "skip")

Check = tuple[Callable[[Any], bool], str]


def _whole(least: int) -> Check:
    def check(value: Any) -> bool:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole and value >= least

    return check, f"an integer of at least {least}"


def _number(words: str, inside: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> bool:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return real and math.isfinite(value) and inside(value)

    return check, f"a number {words}"


def _one_of(*choices: Any) -> Check:
    listed = ", ".join(map(repr, choices))
    return (lambda value: isinstance(value, str) and value in choices), f"one of: {listed}"


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_area(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_POSITIVE[0], value))
    return pair and value[0] <= value[1] <= 1


_COUNT, _NATURAL = _whole(1), _whole(0)
_POSITIVE = _number("above 0", lambda value: value > 0)
_NOT_NEGATIVE = _number("of at least 0", lambda value: value >= 0)
_SHARE = _number("from 0 to less than 1", lambda value: 0 <= value < 1)
_PROBABILITY = _number("from 0 to 1", lambda value: 0 <= value <= 1)
_TRUTH: Check = (lambda value: isinstance(value, bool)), "true or false"
_TEXT: Check = (lambda value: isinstance(value, str) and bool(value)), "a name"


def _or_none(check: Check) -> Check:
    return (lambda value: value is None or check[0](value)), f"null or {check[1]}"


CHECKS: Mapping[str, Check] = {
    "model": (lambda value: value in keras_se.list_models(), "the name of a builder"),
    "se": (
        (lambda value: value is None or _mapping(value)),
        "null or settings of the attention blocks",
    ),
    "variant": (_mapping, "fields of the network's description"),
    "weights": _or_none(_TEXT),
    "new_head": _TRUTH,
    "data": _TEXT,
    "data_dir": _or_none(_TEXT),
    "held_out": _NATURAL,
    "image_size": _or_none(_COUNT),
    "crop_area": (_is_area, "two numbers above 0, at most 1, the smaller first"),
    "crop": _or_none(_number("above 0, at most 1", lambda value: 0 < value <= 1)),
    "bad_pictures": _one_of(*BAD_PICTURES),
    "batch": _COUNT,
    "epochs": _COUNT,
    "seed": _NATURAL,
    "optimizer": _one_of("sgd", "lamb", "adamw"),
    "learning_rate": _POSITIVE,
    "learning_rate_batch": _or_none(_COUNT),
    "momentum": _SHARE,
    "nesterov": _TRUTH,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _or_none(_POSITIVE),
    "schedule": _one_of("cosine", "step"),
    "warmup_epochs": _NOT_NEGATIVE,
    "drops": (
        lambda value: isinstance(value, list | tuple) and all(map(_POSITIVE[0], value)),
        "epochs above 0",
    ),
    "drop_factor": _number("between 0 and 1", lambda value: 0 < value < 1),
    "loss": _one_of("softmax", "sigmoid"),
    "target_threshold": _or_none(_SHARE),
    "label_smoothing": _SHARE,
    "shift": _NATURAL,
    "flip": _TRUTH,
    "repeats": _COUNT,
    "rand_augment": _NATURAL,
    "rand_augment_magnitude": _number("from 0 to 10", lambda value: 0 <= value <= 10),
    "rand_augment_deviation": _NOT_NEGATIVE,
    "rand_augment_probability": _PROBABILITY,
    "cutout": _NATURAL,
    "cutout_probability": _PROBABILITY,
    "random_erasing": _PROBABILITY,
    "mixup": _NOT_NEGATIVE,
    "cutmix": _NOT_NEGATIVE,
    "ema": _or_none(_number("between 0 and 1", lambda value: 0 < value < 1)),
    "precision": _one_of("float32", "float64", "mixed_bfloat16", "mixed_float16"),
    "deterministic": _TRUTH,
    "checkpoint_steps": _COUNT,
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training run.

    Attributes:
        model: Name of the builder.
        data: Name of the data set: `"fashion_mnist"`, `"cifar10"`, `"cifar100"`, `"folder"` for
            your own pictures, or `"tfds:<name>"` for a data set prepared by TensorFlow Datasets,
            with config and version as TFDS spells them.
        data_dir: Folder of the data set's files, or `None` for the usual place. For `"folder"`: one
            folder of pictures per class, or these in folders `train`, `val`, `test` (also
            `training`, `valid`, `validation`, `dev`, `testing`, in any case), or a CSV file with
            the columns `file,label` and optionally `split`, or the flat folder that it is in or
            beside. Without `test`, `val` is also the test set; without both, a fifth of the
            pictures is. For `"tfds:<name>"`: TFDS' `data_dir`; the training set is `train`, the
            test set is `test` if it has labels, else `validation`, else a fifth of `train`.
        se: Settings of `keras_se.SEConfig` that differ from the default; with `"type"`, of another
            class, such as `{"type": "ECAConfig"}`; `None` for the plain network. Empty (default):
            those of the weights.
        variant: Fields of the network's description that differ from the default.
        weights: Weights to start from, or `None` for random weights.
        new_head: Whether to replace the classifier, for weights of other classes.
        held_out: Number of training pictures held out for validation; with 0, the validation set is
            the data set's own, or else the test set.
        image_size: Height and width to which encoded pictures are resized; `None`: the size of the
            set of weights, or of the data set, which is then held in memory.
        crop_area: Range of the share of a picture's area that is randomly cropped and resized, with
            an aspect ratio from 3/4 to 4/3; for pictures in files.
        crop: Share of the resized shorter side that is evaluated; for pictures in files. `None`:
            that of the set of weights, or the whole picture.
        bad_pictures: How to treat a file that is not a picture. `"refuse"`: stop the run with its
            name; `"skip"`: try all files before the first step, and list and skip bad ones.
        batch: Pictures per step, over all replicas.
        epochs: Number of passes over the training pictures; an incomplete last batch is dropped.
        seed: Seed for the weights, the order, the augmentation and the dropout.
        optimizer: `"sgd"`, `"lamb"` or `"adamw"`.
        learning_rate: The highest rate, for a batch of `learning_rate_batch` pictures; it scales
            with the batch.
        learning_rate_batch: See `learning_rate`. `None`: `learning_rate` holds for any batch.
        momentum: Momentum of SGD.
        nesterov: Whether to use Nesterov momentum.
        weight_decay: Weight decay of kernels; biases and BatchNorm have none. With SGD it is added
            to the gradient, as in the paper's framework; with the others it is decoupled.
        clip_norm: Largest global norm of the gradients, or `None`.
        schedule: `"cosine"`: to zero along half a cosine; `"step"`: times `drop_factor` at each of
            `drops`.
        warmup_epochs: Epochs of linear warm-up from zero, part of `epochs`.
        drops: Epochs at whose start the rate drops; may be fractions.
        drop_factor: Multiplier of the rate at each drop.
        loss: `"softmax"`: cross-entropy; `"sigmoid"`: binary cross-entropy, summed over classes.
        target_threshold: With the sigmoid loss, targets above it become one and others zero, so
            that a mixed picture fully has each of its classes; `None`: they are unchanged.
        label_smoothing: Share of the target that is spread over all classes.
        shift: Pixels of zero padding before a random crop.
        flip: Whether to mirror half of the pictures.
        repeats: Times that each picture is in a batch, differently augmented (Hoffer et al., 2019);
            the number of steps per epoch is the same, so an epoch shows 1 / `repeats` of the
            pictures.
        rand_augment: RandAugment operations per picture (Cubuk et al., 2019); 0: none.
        rand_augment_magnitude: Their strength, from 0 to 10.
        rand_augment_deviation: Standard deviation of the strengths.
        rand_augment_probability: Probability that an operation is applied.
        cutout: Side of the erased square, in pixels (DeVries and Taylor, 2017); 0: none.
        cutout_probability: Share of the pictures with an erased square.
        random_erasing: Share of the pictures in which a rectangle of 2 to 40 % of the area is
            erased (Zhong et al., 2017); 0: none.
        mixup: Alpha of the Beta distribution of mixup; 0: none.
        cutmix: Alpha of the Beta distribution of CutMix; 0: none. With both, each gets half of the
            batches.
        ema: Decay per step of the weights' moving average, which is then validated and saved; or
            `None`.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or, to compare runs,
            `"float64"`.
        deterministic: Whether to use TensorFlow's bitwise reproducible operations, slower on a GPU.
        checkpoint_steps: Steps between checkpoints; there is also one after each epoch.
    """

    model: str
    data: str
    data_dir: str | None = None
    se: Mapping[str, Any] | None = field(default_factory=dict)
    variant: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    new_head: bool = False
    held_out: int = 0
    image_size: int | None = None
    crop_area: tuple[float, float] = (0.08, 1.0)
    crop: float | None = 0.875
    bad_pictures: str = "refuse"
    batch: int = 256
    epochs: int = 100
    seed: int = 0
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    learning_rate_batch: int | None = 256
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    schedule: str = "cosine"
    warmup_epochs: float = 0
    drops: tuple[float, ...] = ()
    drop_factor: float = 0.1
    loss: str = "softmax"
    target_threshold: float | None = None
    label_smoothing: float = 0.0
    shift: int = 0
    flip: bool = False
    repeats: int = 1
    rand_augment: int = 0
    rand_augment_magnitude: float = 9.0
    rand_augment_deviation: float = 0.0
    rand_augment_probability: float = 1.0
    cutout: int = 0
    cutout_probability: float = 1.0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float | None = None
    precision: str = "float32"
    deterministic: bool = False
    checkpoint_steps: int = 500

    def __post_init__(self) -> None:
        for name, (check, words) in CHECKS.items():
            value = getattr(self, name)
            if name == "model" and not check(value):
                raise ValueError(unknown_choice(name, value, keras_se.list_models()))
            if not check(value):
                raise ValueError(f"`{name}` must be {words}. Received: {name}={value!r}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"`warmup_epochs` must be less than `epochs`, {self.epochs}. "
                f"Received: warmup_epochs={self.warmup_epochs}"
            )
        for name in ("drops", "crop_area"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.new_head and self.weights is None:
            raise ValueError("`weights` must be given with new_head=true. Received: weights=None")
        if self.schedule == "step" and not self.drops:
            raise ValueError("`drops` must not be empty with schedule='step'. Received: drops=()")
        if self.batch % self.repeats:
            raise ValueError(
                f"`batch` must be a multiple of `repeats`, {self.repeats}. "
                f"Received: batch={self.batch}"
            )
        if self.target_threshold is not None and self.loss != "sigmoid":
            raise ValueError(
                "`target_threshold` is only supported with loss='sigmoid'. "
                f"Received: target_threshold={self.target_threshold}"
            )
        self.se_config()

    def se_config(self) -> AttentionConfig | None:
        """The network's attention blocks."""
        from keras_se.layers import AttentionConfig

        return None if self.se is None else AttentionConfig.from_settings(self.se)

    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.learning_rate * self.batch / (self.learning_rate_batch or self.batch)

    def changed(self, settings: Iterable[str]) -> Recipe:
        """This recipe with `"<field>=<value>"` settings, or `"<field>.<key>=<value>"` for mappings.

        Values are JSON, else text: `epochs=5`, `se=null`, `se.ratio=8`, `drops=[60,120]`.
        """
        changes: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            name, _, key = name.strip().partition(".")
            if not equals or name not in CHECKS or (key and name not in ("se", "variant")):
                raise ValueError(unknown_choice("set", name, CHECKS, "as <name>=<value>"))
            try:
                value = json.loads(text)
            except json.JSONDecodeError:
                value = text.strip()
            if isinstance(value, list):
                value = tuple(value)
            if key:
                value = {**(changes.get(name, getattr(self, name)) or {}), key: value}
            changes[name] = value
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as a JSON-serialisable dict."""
        return json.loads(json.dumps(asdict(self)))


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """The inverse of `Recipe.as_dict`."""
    for name in values:
        if name not in CHECKS:
            raise ValueError(unknown_choice("recipe", name, CHECKS))
    return Recipe(**values)


def difference(one: Recipe, other: Recipe) -> str:
    """The fields in which two recipes differ, in words; empty if they are equal."""
    return ", ".join(
        f"{name} ({getattr(one, name)!r}, {getattr(other, name)!r})"
        for name in CHECKS
        if one.as_dict()[name] != other.as_dict()[name]
    )
