"""`Recipe`: all settings of a training run, checked before any work is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import keras_se
from keras_se.checks import (
    Check,
    boolean,
    integer,
    number,
    one_of,
    or_none,
    tuple_of,
    unknown_choice,
)
from keras_se.data.label_format import FORMATS
from keras_se.fields import CHECK, FRACTION, SHARE, check_fields, checked
from keras_se.training.conflicts import check_together, check_used

if TYPE_CHECKING:
    from keras_se.layers import AttentionConfig

BAD_PICTURES = ("refuse", "skip")
# Text settings that may be or have spaces at the ends.
VERBATIM = ("separator",)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_area(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(POSITIVE.accepts, value))
    return pair and value[0] <= value[1] <= 1


COUNT, NATURAL = integer(1), integer(0)
POSITIVE = number("above 0", lambda value: value > 0)
NOT_NEGATIVE = number("of at least 0", lambda value: value >= 0)
PROBABILITY = number("from 0 to 1", lambda value: 0 <= value <= 1)
PART = number("above 0, at most 1", lambda value: 0 < value <= 1)
# Recipes are JSON.
TRUTH: Check[bool] = Check("true or false", boolean.accepts)
TEXT: Check[str] = Check("a name", lambda value: isinstance(value, str) and bool(value))
MODEL: Check[str] = Check(
    "the name of a builder",
    lambda value: isinstance(value, str) and value in keras_se.list_models(),
    choices=lambda: keras_se.list_models(),
)
TEACHER: Check[str] = Check(
    "a set of weights, a run folder or a .keras file",
    # A builder alone has random weights, or downloads its default.
    lambda value: TEXT.accepts(value) and value not in keras_se.list_models(),
)
VARIANT: Check[Any] = Check("fields of the network's description", _is_mapping)
SE: Check[Any] = Check(
    "null or settings of the attention blocks", lambda value: value is None or _is_mapping(value)
)
AREA: Check[Any] = Check("two numbers above 0, at most 1, the smaller first", _is_area, tuple)


def _or_null(check: Check[Any]) -> Check[Any]:
    return or_none(check, "null")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training run.

    Attributes:
        model: Name of the builder.
        data: Name of the data set: `"fashion_mnist"`, `"cifar10"`, `"cifar100"`, `"folder"` for
            your own pictures, `"masks"` for pictures with masks, or `"tfds:<name>"` for a data set
            prepared by TensorFlow Datasets, with config and version as TFDS spells them.
        data_dir: Folder of the data set's files, or `None` for the usual place. For `"folder"`: one
            folder of pictures per class, or these in folders `train`, `val`, `test` (also
            `training`, `valid`, `validation`, `dev`, `testing`, in any case), or a CSV file with
            the columns `file,label` and optionally `split`, or the flat folder that it is in or
            beside; other columns are left out. Without `test`, `val` is also the test set; without
            both, a fifth of the pictures is. For `"masks"`: folders `pictures` and `masks`, or
            these in `train`, `val`, `test`; a mask is a PNG of class numbers with its picture's
            stem and size, in which 255 means that a pixel does not count; `classes.txt` may name
            the classes, one a line. For `"tfds:<name>"`: TFDS' `data_dir`; the training set is
            `train`, the test set is `test` if it has labels, else `validation`, else a fifth of
            `train`.
        labels: For `"folder"`, the labels in the CSV file. `"one"`: one per picture, in the column
            `label`; `"separated"`: the names of any number of labels in it; `"columns"`: any number
            of labels, 0 or 1 (or 0.0 or 1.0) in a column for each class, which are all columns
            except `file` and `split`. Several labels need `loss="sigmoid"`; `best.keras` then has
            the best mean average precision on the validation pictures.
        separator: Text between the names of several labels, in the CSV file and in
            `out_of_fold.csv`.
        se: Settings of `keras_se.SEConfig` that differ from the default; with `"type"`, of another
            class, such as `{"type": "ECAConfig"}`; `None` for the plain network. Empty (default):
            those of the weights.
        head: With `data="masks"`, the decoder on the network: `"unet"` for `keras_se.UNet`,
            `"fpn"` for `keras_se.FPN`; else `None`.
        attention: Attention in the U-Net's decoder, `"se"` or `"scse"`; `None`: none.
        variant: Fields of the network's description that differ from the default.
        weights: Weights to start from, or `None` for random weights.
        new_head: Whether to replace the classifier, for weights of other classes.
        held_out: Number of training pictures held out for validation; with 0, the validation set is
            the data set's own, or else the test set.
        folds: Number of parts of the training pictures for cross-validation, each with the same
            share of every class; of several labels, with as nearly the same share of each as
            iterative stratification finds (Sechidis et al., 2011); `None`: none.
        fold: The part that is validated and not trained on, from 1 to `folds`; the run also writes
            its predictions, `out_of_fold.csv`.
        sampling: `"shuffled"`: each epoch shows every picture once; `"balanced"`: it shows as many
            pictures, but each class equally often, rare ones repeatedly.
        class_weights: `"balanced"`: the loss of a picture counts in inverse proportion to the
            number of training pictures of its class, for a mixed picture that of each of its
            classes; `None`: all count alike.
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
        label_smoothing: Share of the target that is spread over all classes; 0 with
            `target_threshold`.
        teacher: Network to distil (Hinton et al., 2015): the name of a set of weights, a run folder
            or a `.keras` file, with the classes of the data. It answers the same augmented
            pictures in inference mode; a run resumes only with the same teacher.
        distillation: With `teacher`, the weight of the loss against its probabilities, from 0 to 1;
            that against the labels has the rest.
        temperature: Divides both networks' logits in that loss, which counts by its square.
        shift: Pixels of zero padding before a random crop; for pictures in memory.
        flip: Whether to mirror half of the pictures.
        repeats: Times that each picture is in a batch, differently augmented (Hoffer et al., 2019);
            the number of steps per epoch is the same, so an epoch shows 1 / `repeats` of the
            pictures.
        rand_augment: RandAugment operations per picture (Cubuk et al., 2019); 0: none.
        rand_augment_magnitude: Their strength, from 0 to 10.
        rand_augment_deviation: Standard deviation of the strengths.
        rand_augment_probability: Probability that an operation is applied.
        cutout: Side of the erased square, in pixels (DeVries and Taylor, 2017); 0: none. It gets
            the mean colour of the training pictures; of pictures in files, of 1,000 of them.
        cutout_probability: Share of the pictures with an erased square.
        random_erasing: Share of the pictures in which a rectangle of 2 to 40 % of the area is
            erased (Zhong et al., 2017), with the same colour; 0: none.
        mixup: Alpha of the Beta distribution of mixup; 0: none.
        cutmix: Alpha of the Beta distribution of CutMix; 0: none. With both, each gets half of the
            batches.
        ema: Decay per step of the weights' moving average, which is then validated and saved, with
            BatchNorm's statistics recomputed after each epoch, as for `swa`; or `None`.
        swa: Stochastic weight averaging (Izmailov et al., 2018): share of the epochs after which
            the weights are averaged, over the ends of all later epochs; from then on the mean is
            validated and saved, with BatchNorm's statistics recomputed on 10,000 training pictures;
            the learning rate stays that of `schedule`. `None`: no averaging.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or, to compare runs,
            `"float64"`.
        deterministic: Whether to use TensorFlow's bitwise reproducible operations, slower on a GPU.
            They stay on for all later runs of the process.
        checkpoint_steps: Steps between checkpoints; there is also one after each epoch.
    """

    model: str = field(metadata={CHECK: MODEL})
    data: str = field(metadata={CHECK: TEXT})
    data_dir: str | None = checked(_or_null(TEXT), None)
    labels: str = checked(one_of(*FORMATS), "one")
    separator: str = checked(TEXT, ";")
    se: Mapping[str, Any] | None = field(default_factory=dict, metadata={CHECK: SE})
    head: str | None = checked(one_of(None, "unet", "fpn"), None)
    attention: str | None = checked(one_of(None, "se", "scse"), None)
    variant: Mapping[str, Any] = field(default_factory=dict, metadata={CHECK: VARIANT})
    weights: str | None = checked(_or_null(TEXT), None)
    new_head: bool = checked(TRUTH, False)
    held_out: int = checked(NATURAL, 0)
    folds: int | None = checked(_or_null(integer(2)), None)
    fold: int | None = checked(_or_null(COUNT), None)
    sampling: str = checked(one_of("shuffled", "balanced"), "shuffled")
    class_weights: str | None = checked(one_of(None, "balanced"), None)
    image_size: int | None = checked(_or_null(COUNT), None)
    crop_area: tuple[float, float] = checked(AREA, (0.08, 1.0))
    crop: float | None = checked(_or_null(PART), 0.875)
    bad_pictures: str = checked(one_of(*BAD_PICTURES), "refuse")
    batch: int = checked(COUNT, 256)
    epochs: int = checked(COUNT, 100)
    seed: int = checked(NATURAL, 0)
    optimizer: str = checked(one_of("sgd", "lamb", "adamw"), "sgd")
    learning_rate: float = checked(POSITIVE, 0.1)
    learning_rate_batch: int | None = checked(_or_null(COUNT), 256)
    momentum: float = checked(SHARE, 0.9)
    nesterov: bool = checked(TRUTH, False)
    weight_decay: float = checked(NOT_NEGATIVE, 1e-4)
    clip_norm: float | None = checked(_or_null(POSITIVE), None)
    schedule: str = checked(one_of("cosine", "step"), "cosine")
    warmup_epochs: float = checked(NOT_NEGATIVE, 0)
    drops: tuple[float, ...] = checked(tuple_of(POSITIVE, "epochs above 0"), ())
    drop_factor: float = checked(FRACTION, 0.1)
    loss: str = checked(one_of("softmax", "sigmoid"), "softmax")
    target_threshold: float | None = checked(_or_null(SHARE), None)
    label_smoothing: float = checked(SHARE, 0.0)
    teacher: str | None = checked(_or_null(TEACHER), None)
    distillation: float | None = checked(_or_null(PROBABILITY), None)
    temperature: float = checked(POSITIVE, 1.0)
    shift: int = checked(NATURAL, 0)
    flip: bool = checked(TRUTH, False)
    repeats: int = checked(COUNT, 1)
    rand_augment: int = checked(NATURAL, 0)
    rand_augment_magnitude: float = checked(
        number("from 0 to 10", lambda value: 0 <= value <= 10), 9.0
    )
    rand_augment_deviation: float = checked(NOT_NEGATIVE, 0.0)
    rand_augment_probability: float = checked(PROBABILITY, 1.0)
    cutout: int = checked(NATURAL, 0)
    cutout_probability: float = checked(PROBABILITY, 1.0)
    random_erasing: float = checked(PROBABILITY, 0.0)
    mixup: float = checked(NOT_NEGATIVE, 0.0)
    cutmix: float = checked(NOT_NEGATIVE, 0.0)
    ema: float | None = checked(_or_null(FRACTION), None)
    swa: float | None = checked(_or_null(SHARE), None)
    precision: str = checked(
        one_of("float32", "float64", "mixed_bfloat16", "mixed_float16"), "float32"
    )
    deterministic: bool = checked(TRUTH, False)
    checkpoint_steps: int = checked(COUNT, 500)

    def __post_init__(self) -> None:
        check_fields(self)
        check_together(self)
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

        Values are JSON, else text: `epochs=5`, `se=null`, `se.ratio=8`, `drops=[60,120]`. For a
        field that takes text, of JSON only a string and null count: `data_dir=2024` is a folder.

        Raises:
            ValueError: If there is no such field, a value is not accepted, values do not fit each
                other, or a setting has no effect with the others.
        """
        changes: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            name, _, key = name.strip().partition(".")
            if not equals or name not in FIELDS or (key and name not in ("se", "variant")):
                raise ValueError(unknown_choice("set", name, FIELDS, "as <name>=<value>"))
            value = _value(name, text)
            if key:
                value = {**(changes.get(name, getattr(self, name)) or {}), key: value}
            changes[name] = value
        changed = replace(self, **changes)
        check_used(changed, changes)
        return changed

    def as_dict(self) -> dict[str, Any]:
        """The recipe as a JSON-serialisable dict."""
        return json.loads(json.dumps(asdict(self)))


FIELDS = tuple(field.name for field in fields(Recipe))
# Fields that take text, maybe `None`.
TEXTS = tuple(field.name for field in fields(Recipe) if str(field.type).startswith("str"))


def _value(name: str, text: str) -> Any:
    """The value of a field, as a setting gives it."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        pass
    else:
        if name not in TEXTS or isinstance(value, str | None):
            return tuple(value) if isinstance(value, list) else value
    return text if name in VERBATIM else text.strip()


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """The inverse of `Recipe.as_dict`."""
    for name in values:
        if name not in FIELDS:
            raise ValueError(unknown_choice("recipe", name, FIELDS))
    return Recipe(**values)


def difference(one: Recipe, other: Recipe) -> str:
    """The fields in which two recipes differ, in words; empty if a run may go on with the other.

    The data may have moved: they are compared themselves, not the path to them.
    """
    return ", ".join(
        f"{name} ({getattr(one, name)!r}, {getattr(other, name)!r})"
        for name in FIELDS
        if name != "data_dir" and one.as_dict()[name] != other.as_dict()[name]
    )
