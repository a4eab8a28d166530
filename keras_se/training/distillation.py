"""Distillation: a network that learns from another one's probabilities.

Hinton, Vinyals and Dean (arXiv:1503.02531), section 2: the loss is the weighted mean of the one
for the labels, and of the cross-entropy with the teacher's probabilities, both at a temperature,
times its square, so that the gradients of the two keep their proportion at any temperature.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_se.data.labelled import Data
from keras_se.description import describe_set, find_set
from keras_se.inspection import describe
from keras_se.labels import class_places
from keras_se.resolve import get_model, model_file, unknown
from keras_se.training.figures import TINY
from keras_se.training.recipe import Recipe
from keras_se.training.run_folder import TEACHER
from keras_se.weights.hashes import variables_hash

# Characters of a hash and of a name in a message.
SHOWN, LONGEST = 23, 120
# The answers, as `describe` names them, that each loss of a recipe needs.
ANSWERS = {"softmax": "probabilities", "sigmoid": "independent probabilities"}
# Settings that decide which pictures are trained on.
PARTS = ("data", "data_dir", "held_out", "folds", "fold")


@dataclass(frozen=True)
class Teacher:
    """A trained network for the pictures and classes of a recipe.

    Attributes:
        network: Pictures in 0..255 to `answers`; it is not trained.
        answers: `"logits"`, `"probabilities"` or `"independent probabilities"`.
        order: The place of each of the student's classes among the teacher's.
    """

    network: keras.Model
    answers: str
    order: list[int]

    def logits(self, pictures: Any) -> Any:
        """Its logits, `(batch, classes)`, in the order of the student's classes, in a graph."""
        outputs = self.network(pictures, training=False)
        outputs = ops.cast(outputs, keras.backend.result_type(outputs.dtype, "float32"))
        if self.answers != "logits":
            others = 1 - outputs
            outputs = ops.log(ops.maximum(outputs, TINY))
            if self.answers == "independent probabilities":
                outputs = outputs - ops.log(ops.maximum(others, TINY))
        return ops.stop_gradient(ops.take(outputs, self.order, axis=-1))

    def record(self, name: str | None) -> dict[str, Any]:
        """The content of `teacher.json`: its name, and the hash of its weights."""
        return {"teacher": name, "weights": variables_hash(self.network.weights)}


def load_teacher(recipe: Recipe, data: Data, report: Callable[[str], None]) -> Teacher | None:
    """The teacher of a recipe, in inference mode; `None` without one.

    Args:
        recipe: The recipe.
        data: The training pictures.
        report: Called with a line for each doubt.

    Raises:
        ValueError: If there is no such network, or its pictures or classes are other ones.
    """
    name = recipe.teacher
    if name is None:
        return None
    entry = find_set(name)
    if entry is not None:
        known, scores, answers = describe_set(entry), "softmax", "logits"
        if not entry.classes:
            raise _unfit("have a classifier", name)
        if entry.input_shape[-1] != data.shape[-1]:
            raise _unfit(f"take {data.shape[-1]} channels", f"{name}, {entry.input_shape[-1]}")
        network = get_model(entry, input_shape=tuple(data.shape), classifier_activation=None)
        if known.size != data.shape[0]:
            report(f"teacher: {name} sees {data.shape[0]} pixels; it was trained at {known.size}")
    elif model_file(name) is None:
        raise unknown(name, "teacher")
    else:
        network = get_model(name)
        known = describe(network)
        scores = known.scores or "none"
        answers = known.answers
        if answers == "values" or not known.normalises:
            raise _unfit("take pictures in 0..255 and answer classes, as a run's network", name)
        wanted, taken = tuple(data.shape), tuple(network.input_shape[1:])
        if any(size not in (None, own) for size, own in zip(taken, wanted, strict=True)):
            raise _unfit(f"take pictures of the shape {wanted}", f"{name}, {taken}")
        _report_seen(Path(name), recipe, report)
    if ANSWERS[recipe.loss] not in (answers, ANSWERS.get(scores)):
        raise _unfit(f"give {ANSWERS[recipe.loss]} with loss={recipe.loss!r}", name)
    order = _order(name, known.classes, network.output_shape[-1], data, report)
    network.trainable = False
    return Teacher(network, answers, order)


def _order(
    name: str, classes: Any, count: int, data: Data, report: Callable[[str], None]
) -> list[int]:  # fmt: skip
    """The place of each class of the data among the teacher's."""
    if count != data.classes:
        raise _unfit(f"have the {data.classes} classes of the data", f"{name}, {count}")
    if classes is None:
        report(f"teacher: the names of {name}'s classes are not known; its order is used")
        return list(range(count))
    places = class_places(classes)
    missing = [label for label in data.names if label not in places]
    if missing:
        raise _unfit("have the classes of the data", f"{name}, without {missing[0][:60]!r}")
    order = [places[label] for label in data.names]
    if len(set(order)) < count:
        raise _unfit("have the classes of the data, each once", name)
    return order


def _report_seen(path: Path, recipe: Recipe, report: Callable[[str], None]) -> None:
    """Say that a run on the same data, or its file, may know pictures that are held out here."""
    folder = path.parent if path.suffix == ".keras" else path
    try:
        stored = _parts(json.loads((folder / "recipe.json").read_text("utf-8")))
    except (OSError, ValueError):
        return
    own = _parts(recipe.as_dict())
    differing = [name for name in PARTS if stored[name] != own[name]]
    if differing and not {"data", "data_dir"} & set(differing):
        words = ", ".join(f"{name}={stored[name]}" for name in differing)
        report(f"teacher: trained with {words}: it may know pictures that are validated here")


def _parts(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide which pictures are trained on; the folder is resolved."""
    parts = {name: settings.get(name) for name in PARTS}
    if parts["data_dir"] is not None:
        parts["data_dir"] = Path(parts["data_dir"]).resolve()
    return parts


def check_teacher(folder: Path, record: dict[str, Any] | None) -> None:
    """Raise a `ValueError` unless a run's teacher has the weights that it had."""
    if record is None:
        return
    path = folder / TEACHER
    try:
        stored = json.loads(path.read_text("utf-8"))["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the record of a run's teacher ({error})") from None
    if stored != record["weights"]:
        raise ValueError(
            f"{folder}: its run has another teacher: expected weights {stored[:SHOWN]}... "
            f"Received: {record['weights'][:SHOWN]}..."
        )


def _unfit(expected: str, received: str) -> ValueError:
    return ValueError(f"`teacher` must {expected}. Received: teacher={received[-LONGEST:]}")


@keras.saving.register_keras_serializable(package="keras_se")
class SoftLoss(keras.losses.Loss):
    """Cross-entropy with a teacher's probabilities at a temperature, times its square.

    Args:
        kind: `"softmax"`, or `"sigmoid"` for the sum of the classes' binary cross-entropies.
        temperature: Divides both networks' logits.
        **loss_kwargs: As for `keras.losses.Loss`.
    """

    def __init__(self, kind: str, temperature: float, **loss_kwargs: Any) -> None:
        super().__init__(**loss_kwargs)
        self.kind, self.temperature = kind, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss, `(batch,)`, of the teacher's and the student's logits."""
        teacher, student = y_true / self.temperature, y_pred / self.temperature
        if self.kind == "softmax":
            losses = -ops.softmax(teacher, axis=-1) * ops.log_softmax(student, axis=-1)
        else:
            losses = ops.binary_crossentropy(ops.sigmoid(teacher), student, from_logits=True)
        return ops.sum(losses, axis=-1) * self.temperature**2

    def get_config(self) -> dict[str, Any]:
        own = {"kind": self.kind, "temperature": self.temperature}
        return {**super().get_config(), **own}


class Student(keras.Model):
    """A network that `fit` trains on its labels and on a teacher's answers to the same pictures.

    Args:
        network: The network, whose layers it has; its outputs are logits.
        teacher: The teacher.
        recipe: Provides the weight of the teacher, the temperature and the loss.
    """

    def __init__(self, network: keras.Model, teacher: Teacher, recipe: Recipe) -> None:
        super().__init__(network.input, network.output, name=network.name)
        soft = SoftLoss(recipe.loss, recipe.temperature)
        self.share = float(recipe.distillation or 0)
        # A function, since the weights of an attribute would be the student's.
        self.soft_loss = lambda pictures, logits: soft(teacher.logits(pictures), logits)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
        training: bool = True,
    ) -> Any:  # fmt: skip
        """The weighted mean of both losses."""
        hard = super().compute_loss(x, y, y_pred, sample_weight, training)
        return (1 - self.share) * hard + self.share * self.soft_loss(x, y_pred)
