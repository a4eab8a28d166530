"""`Excitations`: measured gates, with their file, figures, report and summary."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_se.analysis.extremes import Extremes
from keras_se.analysis.summary import Summary, summarise
from keras_se.files import atomic, write_text, writing

if TYPE_CHECKING:
    import keras

STATISTICS = ("mean", "std", "high", "low")
# Prefix of the extremes' arrays in a file.
EXTREMES = "extremes/"
# Names of this package's blocks: stage, and block or place within it.
STAGE_AND_BLOCK = re.compile(r"stage(\d+)_(?:block(\d+)_se|se(\d+))")


@dataclass(frozen=True, eq=False)
class Excitations:
    """Gates of a network's Squeeze-and-Excitation blocks by class, measured by `excitations`.

    A class without pictures has the count 0 and NaN everywhere else. Standard deviations are of the
    measured pictures (divided by their count).

    Args:
        classes: Names of the classes.
        counts: Number of pictures of each class, `(classes,)`.
        mean: Mean gates, by block `(classes, C)`, float64.
        std: Their standard deviation within the class, by block `(classes, C)`.
        high: Share of the gates above 0.9, by block `(classes,)`.
        low: Share of the gates below 0.1, by block `(classes,)`.
        extremes: Thumbnails of the pictures with the largest and smallest mean gate of each block,
            for the report. `None` (default): none, e.g. if the network does not take pictures.

    Example:

    >>> model = keras_se.SEResNet20(weights="fashion_mnist")
    >>> found = keras_se.excitations(model, np.repeat(x, 10, axis=0), np.arange(10))
    >>> found.blocks[-1], found.label("stage4_block3_se"), found.mean["stage4_block3_se"].shape
    ('stage4_block3_se', 'SE_4_3', (10, 64))
    >>> found.save("excitations.npz")
    >>> keras_se.Excitations.load("excitations.npz").counts
    array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    >>> found.report("gates.html", model, classes=["5"], blocks=["SE_4_3"])

    Reference:
        Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), Section 7.2.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    mean: dict[str, np.ndarray]
    std: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    extremes: Extremes | None = None

    @property
    def blocks(self) -> list[str]:
        """Names of the blocks, in the order of the network.

        The layer's name; inside a nested model `"nested/layer"`; for a layer's second call
        `"layer:2"`.
        """
        return list(self.mean)

    def label(self, block: str) -> str:
        """The paper's name of a block, `SE_stage_block`, if it is unique; else its own."""
        return self._labels()[block]

    def stage(self, block: str) -> int | None:
        """The stage in a block's name; `None` if the name has none."""
        match = STAGE_AND_BLOCK.fullmatch(block.rsplit("/", 1)[-1])
        return int(match[1]) if match else None

    def _labels(self) -> dict[str, str]:
        found = {name: STAGE_AND_BLOCK.fullmatch(name.rsplit("/", 1)[-1]) for name in self.mean}
        labels = {n: f"SE_{m[1]}_{m[2] or m[3]}" if m else n for n, m in found.items()}
        times = Counter(labels.values())
        return {n: label if times[label] == 1 else n for n, label in labels.items()}

    def summary(self) -> Summary:
        """Figures of each block: are its gates open or closed, and do they depend on the class?

        With n pictures per class, the ratio of between-class to within-class variance is about
        1 / n even if gates do not depend on the class.

        Returns:
            A `Summary`: `.blocks` has for each block the mean gate (`mean`), the shares above 0.9
            (`high`) and below 0.1 (`low`), the spread between classes (`between`) and within them
            (`within`), and the `ratio` of the variances; classes with pictures are weighted
            equally. `str` gives a table.
        """
        return summarise(self._labels(), self.mean, self.std, self.high, self.low)

    def plot(
        self,
        path: str | Path,
        classes: Sequence[str | int] | None = None,
        channels: int = 50,
        *,
        blocks: Sequence[str] | None = None,
    ) -> None:
        """Draw the gates like the paper's Figs. 6 and 7: a row of panels per block.

        The left panel shows the mean gates of each class and of all classes (Fig. 6), the others
        the mean and the standard deviation within one class (Fig. 7), over evenly spaced channels.
        A class has the same colour and marker throughout; all panels share the same scale.

        Args:
            path: File to write: `.png`, `.pdf` or `.svg`.
            classes: One to six names or numbers of classes. Defaults to `None`, for four (the
                paper's number) evenly spaced among those with pictures.
            channels: Number of channels to draw, at least 1; all, if a block has fewer. Defaults to
                50, as in the paper.
            blocks: Blocks to draw, by name or label. Defaults to `None`, for all; the paper has the
                last of each stage and all of the last stage.

        Raises:
            ValueError: If there is no such class or block, a class has no pictures, an argument is
                invalid, or Matplotlib is not installed; nothing is written then.
            OSError: If the file cannot be written.
        """
        from keras_se.analysis.figure import check_path, compose, write

        check_path(path := Path(path))
        write(path, compose(self, classes, channels, blocks))

    def report(
        self,
        path: str | Path,
        model: keras.Model,
        classes: Sequence[str | int] | None = None,
        channels: int = 50,
        *,
        blocks: Sequence[str] | None = None,
        title: str | None = None,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        """Write a report on the network and its gates: one self-contained HTML file.

        It has the paper's sentences with the figures that confirm or refute them, the stages and
        blocks with their shapes and costs, the paper's Figs. 6 and 7, the summary, and the pictures
        with the largest and smallest mean gate of each block, with their heat maps (`grad_cam`) if
        the network is a classifier.

        Args:
            path: File to write: `.html` or `.htm`.
            model: The network that was measured.
            classes: Classes to draw, as in `plot`.
            channels: Channels to draw, as in `plot`.
            blocks: Blocks to draw, by name or label. Defaults to `None`, for the paper's: the last
                of each stage and the last three of the last stage; or six, evenly spaced, if block
                names do not include stages.
            title: Heading of the page. Defaults to `None`, for the model's name.
            input_shape: Shape of one picture, `(H, W, C)` or `(C, H, W)`, for the costs. Defaults
                to `None`, for the model's own.

        Raises:
            ValueError: If there is no such class or block, a class has no pictures, the model is
                another one, an argument is invalid, or Matplotlib or Jinja is not installed;
                nothing is written then.
            OSError: If the file cannot be written.
        """
        from keras_se.analysis.report import check_path, compose

        check_path(path := Path(path))
        write_text(path, compose(self, model, classes, channels, blocks, title, input_shape))

    def save(self, path: str | Path) -> None:
        """Write everything, including thumbnails, to one `.npz` file, atomically.

        Raises:
            OSError: If it cannot be written.
        """
        path = Path(path)
        arrays: dict[str, Any] = {
            "classes": np.array(self.classes, str),
            "blocks": np.array(self.blocks, str),
            "counts": self.counts,
        }
        for statistic in STATISTICS:
            tables = getattr(self, statistic).values()
            arrays |= {f"{statistic}/{n}": table for n, table in enumerate(tables)}
        if self.extremes:
            more = self.extremes.arrays()
            arrays |= {EXTREMES + name: array for name, array in more.items()}
        with writing(path), atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Excitations:
        """Load a file written by `save`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not such a file, or damaged.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                blocks = [str(name) for name in arrays["blocks"]]
                shown = {
                    name.removeprefix(EXTREMES): arrays[name]
                    for name in arrays
                    if name.startswith(EXTREMES)
                }
                tables = {
                    statistic: {name: arrays[f"{statistic}/{n}"] for n, name in enumerate(blocks)}
                    for statistic in STATISTICS
                }
                extremes = Extremes.of_arrays(shown, blocks) if shown else None
                classes = tuple(str(name) for name in arrays["classes"])
                found = cls(classes, arrays["counts"], **tables, extremes=extremes)
            found._check()
        except FileNotFoundError:
            raise
        except (ValueError, TypeError, LookupError, OSError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{path}: expected a file written by `Excitations.save`. Received: {reason}"
            ) from None
        return found

    def _check(self) -> None:
        classes = (len(self.classes),)
        shapes = {self.counts.shape == classes}
        for name, mean in self.mean.items():
            shapes.add(mean.ndim == 2 and mean.shape[:1] == classes)
            shapes.add(self.std[name].shape == mean.shape)
            shapes.add(self.high[name].shape == self.low[name].shape == classes)
        if self.extremes:
            labels = self.extremes.labels
            shapes.add(bool(np.all((labels >= 0) & (labels < len(self.classes)))))
        if shapes != {True} or not self.mean:
            raise ValueError("arrays that do not fit together")
