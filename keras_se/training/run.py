"""A training run: `fit` once per epoch, resumable from its folder at any moment."""

from __future__ import annotations

import functools
import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.data.encoded import EncodedPictures
from keras_se.data.labelled import Data, check_channels_last
from keras_se.training import checkpoints
from keras_se.training.averaging import WeightAverage
from keras_se.training.compilation import compile_for_training
from keras_se.training.contents import check_data
from keras_se.training.distillation import Student, Teacher, check_teacher, load_teacher
from keras_se.training.environment import prepared
from keras_se.training.figures import logits
from keras_se.training.networks import network
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data, training_batches
from keras_se.training.run_files import RunFiles
from keras_se.training.run_folder import CHECKPOINTS, check_new, check_resumed, is_free
from keras_se.training.signals import noted
from keras_se.training.splits import described, lines, split
from keras_se.training.strategies import Devices, distributed, resolve_strategy
from keras_se.training.tasks import Task, task_of

# Steps between checks of the loss, which make a GPU wait.
LOOK = 50


class Interrupted(Exception):  # noqa: N818
    """A signal ended the run after a checkpoint was written."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class _Steps(keras.callbacks.Callback):
    """Restores the state, checks the loss and writes checkpoints."""

    def __init__(self, run: Run, epoch: int, first: int) -> None:
        super().__init__()
        self.run, self.epoch, self.first = run, epoch, first

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Not earlier: Keras has only just reset the metrics.
        self.run.restore()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        run, step = self.run, self.first + batch + 1
        run.progress(run, self.epoch, step)
        last = step == run.steps
        due = step % run.recipe.checkpoint_steps == 0 and not last
        look = due or last or step % LOOK == 0
        # All processes must stop, and read their variables, after the same step.
        stop = (look or not run.devices.processes) and run.stops()
        if look or stop:
            loss = float(keras.ops.convert_to_numpy(logs["loss"]))
            run.check_finite("loss", loss, self.epoch, step)
        if due or stop:
            run.save(self.epoch, step)
        if stop:
            raise Interrupted(run.signal)


class Run:
    """A run of a recipe in a folder.

    Args:
        recipe: The recipe.
        folder: Output folder.
        strategy: `"auto"`, `"none"`, `"mirrored"`, `"multiworker"` or `"jax"`. Defaults to
            `"auto"`.
        report: Called with each line of output. Defaults to `print`.
        progress: Called after each step with the run, the epoch and the steps done in it. Defaults
            to a no-op.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        strategy: str = "auto",
        report: Callable[[str], None] = print,
        progress: Callable[[Run, int, int], None] = lambda *_: None,
    ) -> None:
        check_channels_last()
        self.recipe, self.folder, self.report, self.progress = recipe, folder, report, progress
        self.strategy, self.task = resolve_strategy(strategy), task_of(recipe)
        self.history: list[dict[str, float]] = []
        self.signal = 0
        self.steps = 0
        self.devices = Devices()
        self.pending: tuple[list[np.ndarray], list[list[float]]] | None = None
        self.average = WeightAverage(recipe)
        self.teacher: Teacher | None = None

    def train(self, *, resume: bool = False) -> dict[str, Any]:
        """Train, from the beginning or from the newest checkpoint.

        Args:
            resume: Whether to resume the run in the folder. Defaults to `False`.

        Returns:
            The content of `results.json`: test figures of the last weights.

        Raises:
            ValueError: If the folder has another run, or the recipe does not fit the data.
            FloatingPointError: If the training or validation loss or a weight is not finite; the
                last good weights are kept.
            Interrupted: If a signal ended it.
        """
        recipe = self.recipe
        with prepared(recipe, self.report), distributed(self.strategy) as devices:
            return self._train_on(devices, resume)

    def _train_on(self, devices: Devices, resume: bool) -> dict[str, Any]:
        recipe, self.devices = self.recipe, devices
        self.files = RunFiles(self.folder, recipe, devices.chief)
        if not devices.chief:
            self.report = lambda _: None
            self.progress = lambda *_: None
        if resume:
            check_resumed(self.folder, recipe, self.report)
            # A run killed before its first checkpoint starts over.
            resume = not is_free(self.folder)
        elif devices.chief:
            check_new(self.folder)
        parts = load_data(recipe, self.report)
        training, validation, test = split(parts, recipe)
        self.steps = len(training) // recipe.batch
        for line in lines(parts, recipe, training, validation, test):
            self.report(line)
        self.teacher = load_teacher(recipe, training, self.report)
        taught_by = None
        if self.teacher is not None:
            taught_by = self.teacher.record(recipe.teacher)
            # Loading it drew numbers, but the student starts as it would without it.
            keras.utils.set_random_seed(recipe.seed)
        if resume:
            self._check_data(parts)
            check_teacher(self.folder, taught_by)
        try:
            with self.files.locked(), noted(self._note):
                if not resume:
                    about = described(training, validation, test)
                    self.files.begin(parts, about, taught_by)
                return self._train(training, validation, test)
        except Interrupted:
            raise
        except Exception as error:
            # Once one process stops, the others fail.
            if self.signal and devices.processes:
                raise Interrupted(self.signal) from None
            # TensorFlow does not name the file that it could not decode.
            if type(error).__module__.startswith("tensorflow"):
                for line in (line for part in parts.values() for line in part.bad()):
                    raise ValueError(line) from None
            raise

    def _note(self, number: int) -> None:
        self.signal = number

    def _check_data(self, parts: Mapping[str, Data]) -> None:
        """Raise a `ValueError` if the data have changed since the run started."""
        if check_data(self.folder, parts):
            return
        if isinstance(parts["train"], EncodedPictures):
            raise ValueError(
                f"{self.folder}: its run was started by an earlier version, which recorded no list "
                "of pictures and decoded them differently; only that version can resume it"
            )
        self.report(f"{self.folder}: its run has no record of its data; they are not compared")

    def _train(self, training: Data, validation: Data, test: Data) -> dict[str, Any]:
        recipe, replicas = self.recipe, self.devices.replicas
        if recipe.batch % replicas:
            raise ValueError(
                f"`batch` must be a multiple of the {replicas} replicas. "
                f"Received: batch={recipe.batch}"
            )
        self.model, self.stored = network(recipe, training), network(recipe, training)
        if self.teacher is not None:
            self.model = Student(self.model, self.teacher, recipe)
        self.devices.prepare(self.model)
        compile_for_training(self.model, recipe, self.steps, training.labels)
        epoch, first = self._position()
        while epoch < recipe.epochs:
            began, steps = time.monotonic(), self.steps - first
            if steps:
                parts = functools.partial(training_batches, training, recipe, epoch, first)
                self.model.fit(
                    self.devices.batches(parts, recipe.batch),
                    steps_per_epoch=steps,
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    shuffle=False,
                    verbose=0,
                    callbacks=[_Steps(self, epoch, first)],
                )
            else:
                # Stopped between the last step and the evaluation.
                self.restore()
            logs = self.model.get_metrics_result()
            row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
            seconds = time.monotonic() - began
            self.average.update(
                self.model, epoch, functools.partial(training_batches, training, recipe, epoch)
            )
            row["pictures_per_second"] = round(steps * recipe.batch / seconds, 1)
            evaluated = self._evaluate(validation)
            # The training loss is that before the last update.
            self.check_finite("validation loss", evaluated["cross_entropy"], epoch, self.steps)
            row |= {f"val_{n}": value for n, value in evaluated.items() if isinstance(value, float)}
            self.history.append(row)
            self._write_weights()
            epoch, first = epoch + 1, 0
            # Before the checkpoint, so that a resumed epoch starts without metrics, too.
            self.model.reset_metrics()
            self.save(epoch, 0)
            self.files.write_history(self.history)
            self.report(_line(row, recipe.epochs, self.task))
            if self.stops():
                raise Interrupted(self.signal)
        if self.pending is not None:
            # Training was already complete.
            self.restore()
        results = {
            "parameters_trainable": sum(math.prod(v.shape) for v in self.model.trainable_variables),
            "parameters_total": self.model.count_params(),
            "test": self._evaluate(test),
        }
        if recipe.fold is not None:
            self.files.write_predictions(validation, self._logits(validation))
        validated = "the test set" if validation is test else f"{len(validation)} other pictures"
        if not self.files.finish(training, validated, self.history, results):
            self.report("no curves.png: it needs Matplotlib, pip install keras-se[train]")
        return results

    def _position(self) -> tuple[int, int]:
        """Epoch and step to resume from; values stay pending until Keras has built everything."""
        found = checkpoints.newest_checkpoint(self.folder / CHECKPOINTS, self.report)
        if found is None:
            return 0, 0
        values, state = found
        values = self.average.restore(values, state, len(self.model.weights))
        self.pending = values, state.get("metrics", [])
        self.history = state["history"]
        self.files.write_history(self.history)
        self.report(f"resuming from epoch {state['epoch'] + 1}, step {state['step']}")
        return state["epoch"], state["step"]

    def variables(self) -> list[Any]:
        """All variables that training changes: weights, optimizer, seed generators, metrics."""
        model = self.model
        several = (model.variables, model.optimizer.variables, model.metrics_variables)
        return list({id(v): v for variables in several for v in variables}.values())

    def restore(self) -> None:
        """Restore the values of the checkpoint, once."""
        if self.pending is not None:
            values, metrics = self.pending
            checkpoints.assign(self.variables(), values)
            self.devices.assign_metric_values(self.model.metrics_variables, metrics)
            self.pending = None

    def save(self, epoch: int, step: int) -> None:
        """Write a checkpoint after `step` steps of `epoch`."""
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        variables, weights = self.variables(), {id(weight) for weight in self.model.weights}
        values = checkpoints.values_of(variables)
        pairs = zip(variables, values, strict=True)
        total = sum(float(value.sum(dtype="float64")) for v, value in pairs if id(v) in weights)
        self.check_finite("sum of the weights", total, epoch, step)
        state = {"epoch": epoch, "step": step, "history": self.history, **self.average.state()}
        state["metrics"] = self.devices.metric_values(self.model.metrics_variables)
        values += self.average.values
        if self.devices.chief:
            checkpoints.save_checkpoint(self.folder / CHECKPOINTS, (epoch, step), values, state)

    def stops(self) -> bool:
        """Whether this or another process has received a signal."""
        if self.devices.any(self.signal > 0):
            self.signal = self.signal or signal.SIGTERM
        return self.signal > 0

    def check_finite(self, name: str, value: float, epoch: int, step: int) -> None:
        """Raise a `FloatingPointError` unless a value after `step` steps of `epoch` is finite."""
        if not math.isfinite(value):
            raise FloatingPointError(
                f"The {name} is {value} at epoch {epoch + 1}, step {step}; {self.folder} keeps the "
                "last good weights. A lower learning_rate, a longer warm-up or clip_norm may help"
            )

    def _logits(self, data: Data) -> np.ndarray:
        with self.average.swapped_in(self.model):
            return logits(self.model, data, self.recipe.batch)

    def _evaluate(self, data: Data) -> dict[str, Any]:
        with self.average.swapped_in(self.model):
            return self.task.measure(self.model, data, self.recipe.batch)

    def _write_weights(self) -> None:
        """Write the last and best networks, with the weights or their average."""
        best = max(
            range(len(self.history)), key=lambda n: self.history[n][f"val_{self.task.score}"]
        )
        names = ["last", *(["best"] if best == len(self.history) - 1 else [])]
        with self.average.swapped_in(self.model):
            # `self.stored` is not compiled, so it is saved without the optimizer.
            checkpoints.assign(self.stored.weights, checkpoints.values_of(self.model.weights))
        self.files.write_network(self.stored, names)


def _line(row: dict[str, float], epochs: int, task: Task) -> str:
    trained = f", {task.training_title} {row[task.training]:.2%}" if task.training else ""
    return (
        f"epoch {row['epoch']:.0f}/{epochs}: loss {row['loss']:.4f}{trained}, "
        f"validation {task.title} {row[f'val_{task.score}']:.2%}, "
        f"{row['pictures_per_second']:.0f} pictures/s"
    )
