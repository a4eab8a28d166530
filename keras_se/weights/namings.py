"""Tables from publishers' tensor names to ours.

`pretrained/layouts.md` explains each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from keras_se.layer_names import parse
from keras_se.weights import keras_applications
from keras_se.weights.patterns import UNIT, Shapes, Sources, Table, by_name


class Architecture(Protocol):
    """The fields of a `NetworkDescription` that determine a publisher's tensor names."""

    @property
    def units(self) -> Mapping[int, int]:
        """The number of units of each stage."""

    @property
    def first_convolution(self) -> str:
        """Name of the first convolution."""


class ResidualArchitecture(Architecture, Protocol):
    """The same for residual networks."""

    @property
    def stem_widths(self) -> tuple[int, ...]:
        """Widths of the stem's convolutions."""

    @property
    def stem_pool(self) -> str | None:
        """Kind of the stem's pool."""

    @property
    def preactivation(self) -> bool:
        """Whether units begin with BatchNorm."""

    @property
    def shortcut(self) -> str:
        """Kind of the projection shortcuts."""


def _torchvision_unit(unit: str, pool: bool = False) -> Table:
    """Map a unit without its attention block; `pool`: a pool precedes the projection."""
    return {
        unit + r"conv<n>\.<v>": UNIT + "_conv{n}",
        unit + r"bn<n>\.<bn>": UNIT + "_bn{n}",
        unit + rf"downsample\.{0 + pool}\.<v>": UNIT + "_shortcut_conv",
        unit + rf"downsample\.{1 + pool}\.<bn>": UNIT + "_shortcut_bn",
    }


def timm(net: ResidualArchitecture) -> Table:
    """Map the networks of timm's `resnet.py`."""
    unit, single = r"layer<stage>\.<block>\.", len(net.stem_widths) == 1
    return {
        r"conv1\.<v>": "stem_conv",
        r"conv1\.0\.<v>": "stem_conv1",
        r"conv1\.1\.<bn>": "stem_bn1",
        r"conv1\.3\.<v>": "stem_conv2",
        r"conv1\.4\.<bn>": "stem_bn2",
        r"conv1\.6\.<v>": "stem_conv3",
        r"bn1\.<bn>": "stem_bn" if single else "stem_bn3",
        r"maxpool\.0\.<v>": "stem_pool_conv",
        r"maxpool\.1\.<bn>": "stem_pool_bn",
        **_torchvision_unit(unit, pool=net.shortcut == "average_pool"),
        unit + r"se\.fc<se>\.<v>": UNIT + "_se",
        unit + r"se\.conv\.<v>": UNIT + "_se",
        r"fc\.<v>": "predictions",
    }


def cadene(net: ResidualArchitecture) -> Table:
    """Map Cadene's `pretrainedmodels`, and thus timm's `legacy_` networks."""
    unit, single = r"layer<stage>\.<block>\.", len(net.stem_widths) == 1
    return {
        r"layer0\.conv<n>\.<v>": "stem_conv" if single else "stem_conv{n}",
        r"layer0\.bn<n>\.<bn>": "stem_bn" if single else "stem_bn{n}",
        **_torchvision_unit(unit),
        unit + r"se_module\.fc<se>\.<v>": UNIT + "_se",
        r"last_linear\.<v>": "predictions",
    }


def mmpretrain(net: ResidualArchitecture) -> Table:
    """Map the networks of OpenMMLab's `mmpretrain`, whose backbone has a prefix."""
    unit, of_backbone = r"(backbone\.)?layer<stage>\.<block>\.", r"(backbone\.)?"
    return {
        of_backbone + r"conv1\.<v>": "stem_conv",
        of_backbone + r"bn1\.<bn>": "stem_bn",
        **_torchvision_unit(unit),
        unit + r"se_layer\.conv<se>\.conv\.<v>": UNIT + "_se",
        r"head\.fc\.<v>": "predictions",
    }


def osmr_torch(net: ResidualArchitecture, also_tensorflow: bool = False) -> Table:
    """Map the networks of imgclsmob's `pytorchcv`, and those of `tf2cv` under similar paths."""
    unit = r"features\.stage<stage>\.unit<block>\."
    stem = r"conv\." if net.stem_pool and not net.preactivation else ""
    identity = "" if net.preactivation else r"conv\."
    se, fc, end = r"se\.conv<se>\.", "" if len(net.stem_widths) == 1 else r"fc\.", "post_activ"
    conv = stem
    if also_tensorflow:
        conv, stem, identity, fc = "", r"(conv\.)?", r"(conv\.)?", r"(fc\.)?"
        se, end = r"se(_block(_\d+)?)?\.(conv|fc)<se>\.(conv\.)?", "(post_activ|final_block)"
    return {
        rf"features\.init_block\.{conv}conv\.<v>": "stem_conv",
        rf"features\.init_block\.{stem}bn\.<bn>": "stem_bn",
        r"features\.init_block\.conv<n>\.conv\.<v>": "stem_conv{n}",
        r"features\.init_block\.conv<n>\.bn\.<bn>": "stem_bn{n}",
        unit + r"body\.conv<n>\.conv\.<v>": UNIT + "_conv{n}",
        unit + r"body\.conv<n>\.conv\.convgroup(?P<group>\d+)\.<v>": UNIT + "_conv{n}",
        unit + r"body\.conv<n>\.bn\.<bn>": UNIT + "_bn{n}",
        unit + rf"{se}<v>": UNIT + "_se",
        unit + rf"identity_conv\.{identity}<v>": UNIT + "_shortcut_conv",
        unit + r"identity_conv\.bn\.<bn>": UNIT + "_shortcut_bn",
        rf"features\.{end}\.bn\.<bn>": "post_bn",
        rf"output{'1?' if also_tensorflow else ''}\.{fc}<v>": "predictions",
    }


def osmr(tensors: Shapes, variables: Shapes, net: ResidualArchitecture) -> Sources:
    """Map the networks of imgclsmob, whatever of its packages wrote the file."""
    paths = {_osmr_path(name): name for name in tensors}
    sources = by_name(paths, osmr_torch(net, also_tensorflow=True))
    return {ours: [paths[path] for path in group] for ours, group in sources.items()}


def _osmr_path(name: str) -> str:
    """Return a tensor's dotted path; tf2cv repeats names and starts with the network's class."""
    parts = name.split("|")[1].split("/")[1:] if "|" in name else name.split(".")
    return ".".join(part for i, part in enumerate(parts) if i == 0 or part != parts[i - 1])


def caffe(tensors: Shapes, variables: Shapes, net: ResidualArchitecture) -> Sources:
    """Map the authors' Caffe networks."""
    unit = "conv<stage>_<block>_"
    table = {
        r"conv1/7x7_s2\|<v>": "stem_conv",
        r"conv1/7x7_s2/bn(/scale)?\|<bn>": "stem_bn",
        r"conv1_<n>/3x3(_s2)?\|<v>": "stem_conv{n}",
        r"conv1_<n>/3x3(_s2)?/bn(/scale)?\|<bn>": "stem_bn{n}",
        r"classifier\|<v>": "predictions",
        unit + r"1x1_<se>\|<v>": UNIT + "_se",
    }
    for part, layer in (
        ("1x1_reduce", "{}1"), ("3x3", "{}2"), ("1x1_increase", "{}3"), ("1x1_proj", "shortcut_{}"),
    ):  # fmt: skip
        table[unit + part + r"\|<v>"] = f"{UNIT}_{layer.format('conv')}"
        table[unit + part + r"/bn(/scale)?\|<bn>"] = f"{UNIT}_{layer.format('bn')}"
    return by_name(tensors, table, first_stage=2)


def paddleclas(tensors: Shapes, variables: Shapes, net: ResidualArchitecture) -> Sources:
    """Map PaddleClas' SE-ResNet-vd, SE-ResNeXt and SENet-154-vd, which count from 0."""
    unit = r"bb_<stage>_<block>\."
    layers = {
        r"conv\.": "stem_KIND", r"conv1_<n>\.": "stem_KIND{n}",
        unit + r"conv0\.": UNIT + "_KIND1", unit + r"conv1\.": UNIT + "_KIND2",
        unit + r"conv2\.": UNIT + "_KIND3", unit + r"short\.": UNIT + "_shortcut_KIND",
    }  # fmt: skip
    table = {unit + r"scale\.<se>\.<v>": UNIT + "_se", r"out\.<v>": "predictions"}
    for theirs, ours in layers.items():
        for part, kind in ((r"_conv\.<v>", "conv"), (r"_batch_norm\._?<bn>", "bn")):
            table[theirs + part] = ours.replace("KIND", kind)
    return by_name(tensors, table, first_stage=0, first_block=0)


def qubvel(tensors: Shapes, variables: Shapes, net: ResidualArchitecture) -> Sources:
    """Map the networks of `classification_models`: numbered layers, matched by kind and order.

    Within a kind the order is that of the network, whatever the numbers: convolutions without a
    bias, those with one (of Squeeze-and-Excitation), BatchNorms, the classifier. A grouped
    convolution is stored as one convolution per group.
    """
    if not variables:
        return {}
    queues: dict[str, list[list[str]]] = {}
    for _, members in _by_layer(tensors, "|"):
        names = [name.rsplit("/", 1)[1] for name in members]
        kind = _kind(names, [tensors[name] for name in members])
        queues.setdefault(kind, []).append(members)
    sources: Sources = {}
    for layer, members in sorted(_by_layer(variables, "/"), key=lambda item: _position(item[0])):
        names = [name.rsplit("/", 1)[1] for name in members]
        if any(name.startswith("reduce") for name in names):
            for step in ("reduce", "expand"):
                _take(sources, queues.get("excitation", []), f"{layer}/{step}_", 1)
            continue
        kind = _kind(names, [variables[name] for name in members])
        queue, groups = queues.get(kind, []), 1
        if kind == "convolution" and queue:
            groups = max(1, variables[f"{layer}/kernel"][-1] // tensors[queue[0][0]][-1])
        _take(sources, queue, f"{layer}/", groups)
    return sources


def _take(sources: Sources, queue: list[list[str]], prefix: str, groups: int) -> None:
    """Assign the next layers of a queue to the variables that begin with `prefix`."""
    for members in queue[:groups]:
        for name in members:
            sources.setdefault(prefix + name.rsplit("/", 1)[1], []).append(name)
    del queue[:groups]


def _by_layer(names: Iterable[str], separator: str) -> Iterable[tuple[str, list[str]]]:
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.split(separator)[0], []).append(name)
    return layers.items()


def _kind(names: list[str], shapes: list[tuple[int, ...]]) -> str:
    if "kernel" not in names:
        return "normalisation"
    if len(shapes[names.index("kernel")]) == 2:
        return "classifier"
    return "excitation" if "bias" in names else "convolution"


def _position(layer: str) -> tuple[int, int, str]:
    """Sort key that puts our layers of one kind in order of computation."""
    name = parse(layer)
    if name and name.block:
        return name.stage, name.block, name.rest
    return (99 if layer in ("post_bn", "predictions") else 1), 0, layer


def caffe_inception(tensors: Shapes, variables: Shapes, net: Any) -> Sources:
    """Map the authors' SE-BN-Inception."""
    table = {
        r"conv1/7x7_s2\|<v>": "stem_conv",
        r"conv1/7x7_s2/bn(/scale)?\|<bn>": "stem_bn",
        r"classifier\|<v>": "predictions",
    }
    for part, layer in (("conv2/3x3_reduce", "stage2_1"), ("conv2/3x3", "stage2_2")):
        table[part + r"\|<v>"] = f"{layer}_conv"
        table[part + r"/bn(/scale)?\|<bn>"] = f"{layer}_bn"
    for letters, unit in INCEPTION_MODULES.items():
        table[rf"inception_{letters}_1x1_<se>\|<v>"] = f"{unit}_se"
        for part, step in (
            ("1x1", "1_1"), ("3x3_reduce", "2_1"), ("3x3", "2_2"), ("double3x3_reduce", "3_1"),
            ("double3x3a", "3_2"), ("double3x3b", "3_3"), ("pool_proj", "4_2"),
        ):  # fmt: skip
            table[rf"inception_{letters}/{part}\|<v>"] = f"{unit}_branch{step}_conv"
            table[rf"inception_{letters}/{part}/bn(/scale)?\|<bn>"] = f"{unit}_branch{step}_bn"
    return by_name(tensors, table)


# The authors assign 3c and 4e, which halve the resolution, to the previous stages.
INCEPTION_MODULES = {
    "3a": "stage3_block1", "3b": "stage3_block2",
    "3c": "stage4_block1", "4a": "stage4_block2", "4b": "stage4_block3", "4c": "stage4_block4",
    "4d": "stage4_block5",
    "4e": "stage5_block1", "5a": "stage5_block2", "5b": "stage5_block3",
}  # fmt: skip


def _by_table(first_block: int, table: Callable[[Any], Table], *given: Any) -> Sources:
    tensors, _, net = given
    return by_name(tensors, table(net), first_block=first_block)


# Tables of state dicts, which `reversal` reads backwards; their number of a stage's first unit.
STATE_DICTS: dict[str, tuple[int, Callable[[Any], Table]]] = {
    "osmr": (1, osmr_torch),
    "timm": (0, timm),
    "cadene": (0, cadene),
}
NAMINGS: dict[str, Callable[[Any, Any, Any], Sources]] = {
    "osmr": osmr,
    "timm": partial(_by_table, *STATE_DICTS["timm"]),
    "cadene": partial(_by_table, *STATE_DICTS["cadene"]),
    "mmpretrain": partial(_by_table, 0, mmpretrain),
    "paddleclas": paddleclas,
    "qubvel": qubvel,
    "caffe": caffe,
    "caffe_inception": caffe_inception,
    "keras_resnet": keras_applications.resnet,
    "keras_densenet": keras_applications.densenet,
    "keras_mobilenet": keras_applications.mobilenet,
    "keras_inception": keras_applications.inception,
}
# Tensors that are not weights.
COUNTERS = re.compile(r".*\.num_batches_tracked")
