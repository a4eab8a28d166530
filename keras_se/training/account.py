"""Reports of a run: curves, TensorBoard events and a draft model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_se.data.labelled import Data
from keras_se.files import atomic, writing
from keras_se.training.recipe import Recipe

CARD = """# {model} trained on {data}

Draft written by the run; fill in the brackets.

- Network: `keras.models.load_model("last.keras")` after `import keras_se`; {parameters:,}
  parameters.
- Weights: after the last epoch{averaged}; `best.keras` is the epoch with the best validation
  top-1. `last.weights.h5` and `best.weights.h5` are the weights alone.
- Input: images {shape} in 0..255; normalisation is built in. Output: logits.
- Classes, in order: {classes}.
- Test set, evaluated once with the last weights: top-1 {top1:.2%}, top-5 {top5:.2%}, cross-entropy
  {cross_entropy:.4f}.
- Validation ({validation}): top-1 {val_top1:.2%} after the last of {epochs} epochs.
- Recipe: `recipe.json`; versions: `environment.json`; every epoch: `metrics.csv`, `curves.png`.
- Licence of the data, intended use, known failures: [to be written].
"""


def card(
    recipe: Recipe, data: Data, validation: str, history: Sequence[Mapping[str, float]],
    results: Mapping[str, Any],
) -> str:  # fmt: skip
    """Draft a model card in Markdown."""
    return CARD.format(
        model=recipe.model,
        data=recipe.data,
        shape=data.shape,
        classes=", ".join(data.names),
        parameters=results["parameters_trainable"],
        averaged="" if recipe.ema is None else " (their moving average)",
        validation=validation,
        val_top1=history[-1]["val_top1"],
        epochs=recipe.epochs,
        **results["test"],
    )  # fmt: skip


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> bool:
    """Plot loss and top-1 per epoch; return `False` if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    epochs = [row["epoch"] for row in history]
    curves = (
        ("cross-entropy", (("loss", "training"), ("val_cross_entropy", "validation"))),
        ("top-1", (("top1", "training"), ("val_top1", "validation"))),
    )
    for axes, (title, lines) in zip(figure.subplots(1, 2), curves, strict=True):
        for name, label in lines:
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
