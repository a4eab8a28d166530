"""The tables of the documents, from the networks and the registry themselves.

python tests/support/tables.py      # writes them between their markers
"""

from places import ROOT

import keras_se

README = ROOT / "README.md"
CARDS = ROOT / "pretrained" / "weights.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def networks():
    """The README's table."""
    lines = [
        "| network | input | parameters | with BatchNorm statistics | multiply-adds | sets "
        "| default |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name in keras_se.list_models():
        model = getattr(keras_se, name)(weights=None)
        cost = keras_se.cost(model)
        sets = keras_se.list_weights(name)
        main = [e for e in sets if e.default and e.dataset in ("imagenet", "cifar10")]
        default = ", ".join(f"`{e.name}` ({percent(e.metrics[0].value)})" for e in main)
        size = " x ".join(map(str, model.input_shape[1:3]))
        lines.append(
            f"| `{name}` | {size} | {cost.params_trainable:,} | {cost.params_total:,} "
            f"| {cost.macs / 1e6:,.1f} M | {len(sets) or ''} | {default} |"
        )
    return "\n".join(lines) + "\n"


def percent(value):
    """A fraction as a percentage, without zeros at the end."""
    return f"{round(100 * value, 3):g} %"


def cards():
    """The table of all sets of weights, in `pretrained/weights.md`."""
    lines = []
    for dataset in dict.fromkeys(entry.dataset for entry in keras_se.list_weights()):
        lines += [
            f"### {dataset}",
            "",
            "| set | builder | variant | evaluated at | top-1 | top-5 | parameters | source | hash "
            "or revision | licence | note |",
            "| --- | --- | --- | --- | ---: | ---: | ---: | --- | --- | --- | --- |",
        ]
        lines += [card(e) for e in keras_se.list_weights() if e.dataset == dataset]
        lines.append("")
    return "\n".join(lines)


def card(entry):
    """One row."""
    pre, figures = entry.preprocessing, {m.name: m for m in entry.metrics}
    size = f"{pre.size}, crop {pre.crop:g}, {pre.interpolation}" if entry.rank == 2 else "volumes"
    top1, top5 = (
        f"{percent(figures[name].value)} ({'measured' if figures[name].measured else 'claimed'})"
        if name in figures
        else ""
        for name in ("top1", "top5")
    )
    variant = ", ".join(f"{key}={value_of(value)}" for key, value in entry.variant.items())
    source = f"[{entry.publisher}]({entry.url})" if entry.url else "this package"
    proof = f"revision `{entry.revision}`" if entry.revision else "the server's MD5"
    proof = f"`{entry.sha}`" if entry.sha else proof
    default = "**default.** " if entry.default else ""
    return (
        f"| `{entry.name}` | `{entry.model}` | {variant} "
        f"| {size} | {top1} | {top5} "
        f"| {entry.params_trainable:,} | {source} | {proof} | {entry.licence} "
        f"| {default}{entry.note} |"
    )


def value_of(value):
    """A field's value, in short."""
    if not isinstance(value, list):
        return value
    if isinstance(value[0], list):
        return f"{len(value)} tuples"
    return "-".join(map(str, value))


TABLES = {README: networks, CARDS: cards}


def parts(text):
    """The text before, in and after the table."""
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    return before + BEGIN, old, END + after


if __name__ == "__main__":
    for path, table in TABLES.items():
        new = table()
        before, _, after = parts(path.read_text("utf-8"))
        path.write_text(before + new + after, "utf-8")
