"""Reports of a run: curves, TensorBoard events and a draft model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_se.data.labelled import Data
from keras_se.files import atomic, writing
from keras_se.training.averaging import in_words
from keras_se.training.recipe import Recipe
from keras_se.training.tasks import Task, task_of

CARD = """# {model} trained on {data}

Draft written by the run; fill in the brackets.

- Network: `keras.models.load_model("last.keras")` after `import keras_se`; {parameters:,}
  parameters.
- Weights: after the last epoch{averaged}; `best.keras` is the epoch with the best validation
  {title}. `last.weights.h5` and `best.weights.h5` are the weights alone.
- Input: images {shape} in 0..255; normalisation is built in. Output: {outputs}.
- Classes, in order: {classes}.
- Test set, evaluated once with the last weights: {figures}, cross-entropy
  {cross_entropy:.4f}.
- Validation ({validation}): {title} {val_score:.2%} after the last of {epochs} epochs.
- Recipe: `recipe.json`{taught}; versions: `environment.json`; every epoch: `metrics.csv`,
  `curves.png`.
- Licence of the data, intended use, known failures: [to be written].
"""
INDEPENDENT = "logits, whose sigmoids are independent probabilities"
# Figures of the test set, by the task's score.
FIGURES = {
    "top1": {"top1": "top-1", "top5": "top-5"},
    "mean_average_precision": {"mean_average_precision": "mean average precision"},
    "mean_iou": {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"},
}


def card(
    recipe: Recipe, data: Data, validation: str, history: Sequence[Mapping[str, float]],
    results: Mapping[str, Any],
) -> str:  # fmt: skip
    """Draft a model card in Markdown."""
    task, test = task_of(recipe), results["test"]
    shown = FIGURES[task.score]
    return CARD.format(
        model=recipe.model if recipe.head is None else f"{recipe.model}, {recipe.head}",
        data=recipe.data,
        shape=data.shape,
        classes=", ".join(data.names),
        parameters=results["parameters_trainable"],
        averaged=in_words(recipe),
        validation=validation,
        outputs=_outputs(recipe),
        title=task.title,
        figures=", ".join(f"{title} {test[name]:.2%}" for name, title in shown.items()),
        cross_entropy=test["cross_entropy"],
        val_score=history[-1][f"val_{task.score}"],
        epochs=recipe.epochs,
        taught="" if recipe.teacher is None else f", distilled from {recipe.teacher}",
    )  # fmt: skip


def _outputs(recipe: Recipe) -> str:
    if recipe.head is not None:
        return "logits of every pixel"
    return "logits" if recipe.labels == "one" else INDEPENDENT


def draw_curves(history: Sequence[Mapping[str, float]], path: Path, task: Task) -> bool:
    """Plot loss and accuracy per epoch; return `False` if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    epochs = [row["epoch"] for row in history]
    name = task.training or task.score
    curves = (
        ("cross-entropy", (("loss", "training"), ("val_cross_entropy", "validation"))),
        (task.training_title, ((name, "training"), (f"val_{name}", "validation"))),
    )
    for axes, (title, lines) in zip(figure.subplots(1, 2), curves, strict=True):
        for name, label in lines:
            if name not in history[-1]:
                continue
            axes.plot(epochs, [row[name] for row in history], marker=".", label=label)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    with writing(path), atomic(path, ".png") as temporary:
        figure.savefig(temporary, dpi=120)
    return True


class Events:
    """Per-epoch metrics for TensorBoard, if it is installed.

    The files are rewritten when a run resumes, since its checkpoint may be an epoch behind them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.written, self.writer = folder, 0, None
        try:
            from tensorboard.summary import Writer
        except ImportError:
            return
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = Writer(str(folder))

    def write(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the new epochs."""
        if self.writer is None:
            return
        for row in history[self.written :]:
            for name, value in row.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, int(row["epoch"]))
        self.written = len(history)
        self.writer.flush()
