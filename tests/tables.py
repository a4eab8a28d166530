"""The README's table of networks and sets of weights, counted from the networks themselves.

python tests/tables.py      # writes it between the README's markers
"""

import math
from pathlib import Path

import keras

import keras_se

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def multiply_adds(model):
    """Multiply-adds for one picture by the paper's convention.

    Convolutions, fully connected layers and the scaling of Squeeze-and-Excitation; not pooling,
    normalisation, activations and sums.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
        elif isinstance(layer, keras_se.SqueezeExcite):
            size = math.prod(layer.output.shape[1:])
            positions = math.prod(layer.output.shape[1:3]) if layer.squeeze is None else 1
            total += 2 * math.prod(layer.reduce_kernel.shape) * positions + size
    return total


def table():
    """The table as Markdown."""
    lines = [
        "| network | input | parameters | with BatchNorm statistics | multiply-adds | weights |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for name in keras_se.list_models():
        model = getattr(keras_se, name)(weights=None)
        trainable = sum(math.prod(v.shape) for v in model.trainable_variables)
        sets = ", ".join(f"`{entry.name}`" for entry in keras_se.list_weights(name))
        size = " x ".join(map(str, model.input_shape[1:3]))
        lines.append(
            f"| `{name}` | {size} | {trainable:,} | {model.count_params():,} "
            f"| {multiply_adds(model) / 1e6:,.1f} M | {sets} |"
        )
    return "\n".join(lines) + "\n"


def parts(text):
    """The text before, in and after the table."""
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    return before + BEGIN, old, END + after


if __name__ == "__main__":
    before, _, after = parts(README.read_text("utf-8"))
    README.write_text(before + table() + after, "utf-8")
