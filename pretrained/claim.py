"""The paper's claim measured: pairs of networks with and without SE on Fashion-MNIST.

    python pretrained/claim.py train            # what is left of the runs; several at once may
    python pretrained/claim.py train --only resnet20   # runs whose names begin so

Each run is an ordinary run of `keras_se.training`, in a folder of `runs/claim/`, and goes on where
it was stopped; one that `results.csv` has is not made again. Both of a pair have the same recipe,
the same seeds and so the same pictures in the same order. 5,000 of the 60,000 training pictures are
held out; the 10,000 test pictures are read once at the end of a run, with the last weights.

Two cores have to do it all, so the first convolution has stride 2, as the 224-pixel networks have
it, which makes each network four times cheaper at its full depth. Small networks are fastest with a
core each: `taskset -c 0 python pretrained/claim.py train`, and another with `-c 1`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from results import RESULTS

from keras_se.recipes import get_recipe
from keras_se.training.recipe import Recipe

RUNS = Path(__file__).resolve().parent.parent / "runs" / "claim"
PLAIN = "plain"
SE = "se"

RECIPE: Mapping[str, Any] = {
    "batch": 128,
    "epochs": 15,
    "held_out": 5000,
    "learning_rate": 0.1,
    "warmup_epochs": 1,
    # At about a half and three quarters, as in He et al. (arXiv:1512.03385), Section 4.2. With a
    # cosine the error falls to the end; after drops it stands still where a run is long enough.
    "schedule": "step",
    "drops": [8, 11],
    "weight_decay": 5e-4,
    "cutout": 0,
    "checkpoint_steps": 200,
}
RESNEXT = {
    "blocks": [1, 1, 1],
    "widths": [16, 32, 64],
    "bottleneck": True,
    "groups": 8,
    "base_width": 16,
    "stride_on": "3x3",
    "shortcut": "1x1",
    "stem_stride": 2,
}
MOBILENET = {"alpha": 0.25, "strides": [2, 1, 1, 2, 2, 1]}
VGG = {"blocks": [1, 1, 2], "widths": [16, 32, 64], "fully_connected": [64]}
INCEPTION = {"alpha": 0.1, "blocks": [1, 1, 1], "stem": "small"}
# Builder, variant and number of seeds of each network, the shortest runs first.
NETWORKS: Mapping[str, tuple[str, Mapping[str, Any], int]] = {
    "vgg": ("SEVGG16", VGG, 3),
    "mobilenet": ("SEMobileNet", MOBILENET, 3),
    "resnet20": ("SEResNet20", {"stem_stride": 2}, 5),
    "resnext": ("SEResNet20", RESNEXT, 3),
    "inception": ("SEInceptionResNetV2", INCEPTION, 3),
    "resnet56": ("SEResNet56", {"stem_stride": 2}, 3),
}
ABLATED = "resnet20"
# Each against SE with ratio 16, average squeeze, sigmoid gate, standard placement.
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "ratio2": {"ratio": 2},
    "ratio4": {"ratio": 4},
    "ratio8": {"ratio": 8},
    "squeeze_max": {"squeeze": "max"},
    "gate_tanh": {"gate": "tanh"},
    "gate_relu": {"gate": "relu"},
    "placement_pre": {"placement": "pre"},
    "placement_post": {"placement": "post"},
    "placement_identity": {"placement": "identity"},
    "stage2": {"stages": [2]},
    "stage3": {"stages": [3]},
    "stage4": {"stages": [4]},
    "eca": {"type": "ECAConfig"},
    "scse": {"type": "SCSEConfig"},
}
ABLATION_SEEDS = 3


def settings(network: str, se: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a run's recipe has besides `RECIPE`."""
    model, variant, _ = NETWORKS[network]
    return {"model": model, "variant": variant, "se": se}


def runs() -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Name, seed and recipe settings of every run, network by network."""
    for name, (_, _, seeds) in NETWORKS.items():
        for seed in range(seeds):
            for kind, se in ((SE, {}), (PLAIN, None)):
                yield f"{name}_{kind}", seed, settings(name, se)
    for name, se in ABLATIONS.items():
        for seed in range(ABLATION_SEEDS):
            yield f"{ABLATED}_{SE}_{name}", seed, settings(ABLATED, se)


def is_of_study(row: Mapping[str, str]) -> bool:
    """Whether a row of `results.csv` is of these runs; an earlier study's have three epochs."""
    return bool(row["seed"]) and row["epochs"] == str(RECIPE["epochs"])


def recipe(own: Mapping[str, Any], seed: int) -> Recipe:
    """The recipe of a run."""
    return replace(get_recipe("fashion_mnist"), **RECIPE, **own, seed=seed)


def train(only: str) -> None:
    """Every run that is not finished and not in another process' hands."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_se.training.run import Run
    from keras_se.training.run_files import Taken

    done = {(row["name"], row["seed"]) for row in RESULTS.read() if is_of_study(row)}
    for name, seed, own in runs():
        folder = RUNS / f"{name}-{seed}"
        finished = (name, str(seed)) in done or (folder / "results.json").exists()
        if finished or not name.startswith(only):
            continue
        print(f"{name}, seed {seed}", flush=True)
        try:
            Run(recipe(own, seed), folder).train(resume=(folder / "recipe.json").exists())
        except Taken as error:
            print(error, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("train",))
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    train(arguments.only)


if __name__ == "__main__":
    main()
