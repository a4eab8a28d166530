"""The paper's parameters and multiply-adds beside those of this package's networks.

    python benchmarks/complexity.py      # writes complexity.md beside this file, in minutes

Every figure under "ours" is counted by `keras_se.cost`; the paper's are as printed.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras

import keras_se
from keras_se import Cost, SEConfig
from keras_se.graph.trace import trace

PAGE = Path(__file__).with_suffix(".md")
SCALES = {"G": 1e9, "M": 1e6}

# Stages 2 to 5 of the ResNets: units, and channels of what they put out.
UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CHANNELS = (256, 512, 1024, 2048)

RELEASED = SEConfig()
# From Table 10 on the fully connected layers of SE have no biases.
ABLATION = SEConfig(use_bias=False)

SUMS = "{sums} with an operation for each element of the residual sums"
SQUEEZED = "{squeezed} with an operation for each element that is squeezed"
BOTH = "{both} with an operation for each element of the residual sums and of what is squeezed"
# All four figures of the two ShuffleNets.
CUT = "further digits cut off"
POOLED = (
    "{pooled_cut} with an operation for each element of the residual sums and pooling windows, "
    f"{CUT}"
)


@dataclass(frozen=True)
class Row:
    """One figure of the paper.

    Attributes:
        network: The paper's name.
        paper: The figure as printed.
        figure: What it is.
        ours: Ours, to as many decimals.
        exact: Ours in full.
        remark: What else leads to the paper's figure, or that it is unexplained.
    """

    network: str
    paper: str
    figure: str
    ours: str
    exact: str
    remark: str = ""

    @property
    def explained(self) -> bool:
        """Whether both are the same, or the remark has the paper's figure or nothing has."""
        return self.paper in (self.ours, *self.remark.split()) or "unexplained" in self.remark


@functools.cache
def counted(builder: str, se: SEConfig | None) -> tuple[Cost, dict[str, int]]:
    """What the network costs, and that by other conventions."""
    model = getattr(keras_se, builder)(weights=None, se=se)
    cost = keras_se.cost(model)
    sums = squeezed = windows = biases = 0
    for call in trace(model, batch_size=1).calls:
        size = math.prod(call.outputs[0].shape)
        if isinstance(call.layer, keras.layers.Add):
            sums += size
        elif isinstance(call.layer, keras_se.SqueezeExcite):
            squeezed += size
            biases += sum(call.layer.reduce_kernel.shape)
        elif hasattr(call.layer, "pool_size"):
            windows += size * math.prod(call.layer.pool_size)
    return cost, {
        "multiply-adds": cost.macs,
        "parameters": cost.params_total,
        "trainable": cost.params_trainable,
        "biased": cost.params_total + biases,
        "sums": cost.macs + sums,
        "squeezed": cost.macs + squeezed,
        "both": cost.macs + sums + squeezed,
        "pooled": cost.macs + sums + windows,
    }


def row(
    network: str, paper: str, figure: str, builder: str, se: SEConfig | None, remark: str = ""
) -> Row:
    """A figure of a network.

    Args:
        network: The paper's name of it.
        paper: The paper's figure.
        figure: Its unit, G or M, and its name in `counted`.
        builder: Ours.
        se: Its Squeeze-and-Excitation, or `None`.
        remark: With other figures of `counted` in braces; `_cut`: cut off instead of rounded.
    """
    unit, name = figure.split()
    digits = len(paper.partition(".")[2])
    values = counted(builder, se)[1]
    texts = {}
    for key, value in values.items():
        scaled = value / SCALES[unit]
        texts[key] = f"{scaled:.{digits}f}"
        texts[f"{key}_cut"] = f"{math.floor(scaled * 10**digits) / 10**digits:.{digits}f}"
    return Row(network, paper, figure, texts[name], f"{values[name]:,}", remark.format(**texts))


def table_2() -> Iterator[Row]:
    rest = f"{SUMS}; the rest is unexplained"
    variant = (
        "unexplained: no published variant that we know has it; ours is TensorFlow's and Keras', "
        "10, 20 and 10 blocks at 299 x 299"
    )
    for network, builder, plain, remark, excited, se_remark in (
        ("ResNet-50", "SEResNet50", "3.86", "", "3.87", ""),
        ("ResNet-101", "SEResNet101", "7.58", SUMS, "7.60", BOTH),
        ("ResNet-152", "SEResNet152", "11.30", SUMS, "11.32", SUMS),
        ("ResNeXt-50", "SEResNeXt50", "4.24", SUMS, "4.25", BOTH),
        ("ResNeXt-101", "SEResNeXt101", "7.99", rest, "8.00", BOTH),
        ("VGG-16", "SEVGG16", "15.47", "", "15.48", ""),
        ("BN-Inception", "SEBNInception", "2.03", "", "2.04", SQUEEZED),
        ("Inception-ResNet-v2", "SEInceptionResNetV2", "11.75", variant, "11.76", variant),
    ):
        yield row(network, plain, "G multiply-adds", builder, None, remark)
        yield row(f"SE-{network}", excited, "G multiply-adds", builder, RELEASED, se_remark)


def table_3() -> Iterator[Row]:
    statistics = "{trainable} without BatchNorm's moving statistics"
    cut = f"{{trainable_cut}} without BatchNorm's moving statistics, {CUT}"
    for network, builder, se, macs, macs_remark, params, params_remark in (
        ("MobileNet", "SEMobileNet", None, "569", "", "4.2", statistics),
        ("SE-MobileNet", "SEMobileNet", RELEASED, "572", "", "4.7", ""),
        ("ShuffleNet", "SEShuffleNet", None, "140", POOLED, "1.8", cut),
        ("SE-ShuffleNet", "SEShuffleNet", RELEASED, "142", POOLED, "2.4", cut),
    ):
        yield row(network, macs, "M multiply-adds", builder, se, macs_remark)
        yield row(network, params, "M parameters", builder, se, params_remark)


def table_10() -> Iterator[Row]:
    yield row("ResNet-50", "25.6", "M parameters", "SEResNet50", None)
    for ratio, paper in ((2, "45.7"), (4, "35.7"), (8, "30.7"), (16, "28.1"), (32, "26.9")):
        remark = "{biased} with biases in the fully connected layers" if ratio == 8 else ""
        se = replace(ABLATION, ratio=ratio)
        yield row(f"SE-ResNet-50, r = {ratio}", paper, "M parameters", "SEResNet50", se, remark)


def ablation(network: str, macs: str, params: str, se: SEConfig | None) -> Iterator[Row]:
    """A row of Tables 13, 15 and 16."""
    yield row(network, macs, "G multiply-adds", "SEResNet50", se)
    yield row(network, params, "M parameters", "SEResNet50", se)


def table_13() -> Iterator[Row]:
    yield from ablation("ResNet-50", "3.86", "25.6", None)
    for stage, params in ((2, "25.6"), (3, "25.7"), (4, "26.4")):
        yield from ablation(f"SE Stage {stage}", "3.86", params, replace(ABLATION, stages=(stage,)))
    yield from ablation("SE All", "3.87", "28.1", ABLATION)


def table_15() -> Iterator[Row]:
    yield from ablation("SE", "3.87", "28.1", ABLATION)
    yield from ablation("SE_3x3", "3.86", "25.8", replace(ABLATION, placement="conv3x3"))


def table_16() -> Iterator[Row]:
    yield from ablation("ResNet-50", "3.86", "25.6", None)
    yield from ablation("NoSqueeze", "4.27", "28.1", replace(ABLATION, squeeze=None))
    yield from ablation("SE", "3.87", "28.1", ABLATION)


def equation_5(depths: Iterable[int] = UNITS) -> Iterator[Row]:
    """`2 / r * sum(N_s * C_s ** 2)`, stage by stage."""
    for depth in depths:
        cost, _ = counted(f"SEResNet{depth}", ABLATION)
        ours = [
            sum(
                layer.params
                for layer in cost.layers
                if layer.squeeze_excite and layer.name.startswith(f"stage{stage}_")
            )
            for stage in (2, 3, 4, 5)
        ]
        terms = [2 * n * c**2 // 16 for n, c in zip(UNITS[depth], CHANNELS, strict=True)]
        base = cost.params_trainable - cost.se_params
        remark = (
            f"{cost.se_params / base:.2%} of the plain network's {base:,}; "
            f"without stage 5 {1 - ours[-1] / cost.se_params:.2%} of them, "
            f"{(cost.se_params - ours[-1]) / base:.2%}"
        )
        for stage, term, own in zip((2, 3, 4, 5), terms, ours, strict=True):
            name = f"SE-ResNet-{depth}, stage {stage}"
            yield Row(name, f"{term:,}", "parameters", f"{own:,}", f"{own:,}")
        own = f"{cost.se_params:,}"
        yield Row(f"SE-ResNet-{depth}", f"{sum(terms):,}", "parameters", own, own, remark)


def claims() -> Iterator[Row]:
    """What Section 4 says of SE-ResNet-50."""
    plain, excited = counted("SEResNet50", None)[0], counted("SEResNet50", ABLATION)[0]
    shorter = counted("SEResNet50", replace(ABLATION, stages=(2, 3, 4)))[0]

    def percent(network: str, paper: str, part: int, whole: int, remark: str = "") -> Row:
        share, digits = 100 * part / whole, len(paper.partition(".")[2])
        return Row(network, paper, "% more", f"{share:.{digits}f}", f"{share:.3f}", remark)

    base = plain.params_trainable
    yield percent("parameters of SE-ResNet-50", "10", excited.se_params, base)
    yield percent("the same without SE in stage 5", "4", shorter.se_params, base)
    rounded = 100 * (3.87 - 3.86) / 3.86
    remark = f"{rounded:.2f} is the ratio of the rounded 3.87 and 3.86"
    more = excited.macs - plain.macs
    yield percent("multiply-adds of SE-ResNet-50", "0.26", more, plain.macs, remark)


SECTIONS = {
    "Table 2: ImageNet": table_2,
    "Table 3: mobile networks": table_3,
    "Table 10: reduction ratio": table_10,
    "Table 13: stages": table_13,
    "Table 15: SE after the 3x3 convolution": table_15,
    "Table 16: NoSqueeze": table_16,
    "Equation 5: weights of SE": equation_5,
    "Section 4: in words": claims,
}

HEAD = """# Parameters and multiply-adds beside the paper's

Written by `python benchmarks/complexity.py`. "paper" is what Hu et al., Squeeze-and-Excitation
Networks (arXiv:1709.01507, version 4) print, for Equation 5 what it gives; "ours" is counted from
this package's networks by `keras_se.cost` and given to as many decimals, then in full.

The paper's parameters count BatchNorm's moving mean and variance, as Keras' `count_params` does;
from Table 10 on its fully connected layers of SE have no biases (`SEConfig(use_bias=False)`). Its
multiply-adds follow no single rule: for some networks they are those of convolutions, fully
connected layers and scaling alone, for others sums or pooling are in them, too. The remarks say
which.
"""


def table(rows: Iterable[Row]) -> list[str]:
    """The lines of a table of the page."""
    head = [
        "| | figure | paper | ours | in full | remark |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    return head + [
        f"| {r.network} | {r.figure} | {r.paper} | {r.ours} | {r.exact} | {r.remark} |"
        for r in rows
    ]


def main() -> None:
    text = HEAD
    for title, rows in SECTIONS.items():
        print(title, flush=True)
        text += "\n".join(["", f"## {title}", "", *table(rows()), ""])
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
