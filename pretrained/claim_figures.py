"""The figures of the runs of `claim.py`: errors, gains and their intervals."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from claim import ABLATED, ABLATION_SEEDS, ABLATIONS, PLAIN, RECIPE, SE, is_of_study
from results import Row

# Title, and the paper's top-1 errors in per cent without and with SE, of its nearest network.
TITLES: Mapping[str, tuple[str, str, float, float]] = {
    "resnet20": ("ResNet-20", "ResNet-50, Table 2", 24.80, 23.29),
    "resnet56": ("ResNet-56", "ResNet-152, Table 2", 22.42, 21.57),
    "resnext": ("ResNeXt-11 (8 groups)", "ResNeXt-50, Table 2", 22.11, 21.10),
    "inception": ("Inception-ResNet (3 blocks)", "Inception-ResNet-v2, Table 2", 20.37, 19.80),
    "mobilenet": ("MobileNet (alpha 0.25)", "MobileNet, Table 3", 28.4, 25.3),
    "vgg": ("VGG (4 convolutions)", "VGG-16, Table 2", 27.02, 25.22),
}
# 97.5 % quantiles of Student's distribution, by the number of seeds.
QUANTILES: Mapping[int, float] = {3: 4.303, 4: 3.182, 5: 2.776}
# The epoch after which the last fifth of training begins.
LAST_FIFTH = RECIPE["epochs"] * 4 // 5


def by_name(rows: Iterable[Row]) -> dict[str, dict[int, Row]]:
    """Rows of this study: of each name by seed."""
    found: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if is_of_study(row):
            found[row["name"]][int(row["seed"])] = row
    return found


def errors(rows: Mapping[int, Row]) -> list[float]:
    """Top-1 errors in per cent, by seed."""
    return [100 * (1 - float(rows[seed]["top1"])) for seed in sorted(rows)]


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def gain(one: Mapping[int, Row], other: Mapping[int, Row]) -> tuple[str, str]:
    """How much smaller the second's error is, over the seeds that both have, and whether it is.

    It is where the 95 % interval of Student's distribution does not contain zero.
    """
    seeds = sorted(one.keys() & other.keys())
    both = (errors({s: rows[s] for s in seeds}) for rows in (one, other))
    gains = [a - b for a, b in zip(*both, strict=True)]
    if len(gains) not in QUANTILES:
        return spread(gains), "too few seeds"
    mean, error = statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5
    if abs(mean) <= QUANTILES[len(gains)] * error:
        return spread(gains), "no clear difference"
    return spread(gains), "better" if mean > 0 else "worse"


def pairs(found: Mapping[str, Mapping[int, Row]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each network that has both, and the rows of both kinds over the seeds that both have."""
    for name in TITLES:
        both = {kind: found.get(f"{name}_{kind}", {}) for kind in (PLAIN, SE)}
        if seeds := sorted(both[PLAIN].keys() & both[SE].keys()):
            yield name, {kind: {seed: rows[seed] for seed in seeds} for kind, rows in both.items()}


def validation_errors(curves: Iterable[Row]) -> dict[str, dict[int, list[float]]]:
    """Top-1 errors in per cent on the held-out pictures after each epoch, by name and seed."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in curves:
        found[row["name"]][int(row["seed"])].append(100 * (1 - float(row["validation_top1"])))
    return found


def alternatives(found: Mapping[str, Mapping[int, Row]]) -> dict[str, Mapping[int, Row]]:
    """Rows of the network with standard SE, without SE, and with each alternative, by key."""
    every = {key: found.get(f"{ABLATED}_{SE}_{key}", {}) for key in ABLATIONS}
    base = {key: found.get(f"{ABLATED}_{key}", {}) for key in (SE, PLAIN)}
    seeds = range(ABLATION_SEEDS)
    return {
        key: {seed: rows[seed] for seed in seeds if seed in rows}
        for key, rows in (base | every).items()
        if rows
    }


def ablation_title(key: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=\d)", " ", key.replace("_", " "))
    own = {SE: "standard", PLAIN: "without SE", "eca": "ECA instead", "scse": "scSE instead"}
    return own.get(key, words.replace("stage", "only stage"))
