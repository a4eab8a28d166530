"""Training steps of the claim's networks, with SE beside without."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

from claim import NETWORKS, PLAIN, RECIPE, SE

STEPS = Path(__file__).resolve().parent / "step_times.csv"


def measure_steps() -> None:
    """Training steps of both of a pair, in turn in one run, to `step_times.csv`."""
    import keras
    import numpy as np

    import keras_se
    from keras_se.benchmarking.timing import conditions, described, timed

    batch = RECIPE["batch"]
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (batch, 28, 28, 1)).astype("float32")
    y = random.integers(0, 10, batch)
    rows = []
    for name, (builder, variant, _) in NETWORKS.items():
        models = {
            kind: getattr(keras_se, builder)(
                weights=None, input_shape=(28, 28, 1), classes=10, classifier_activation=None,
                variant=variant, se=se,
            )
            for kind, se in ((PLAIN, None), (SE, keras_se.SEConfig()))
        }  # fmt: skip
        for model in models.values():
            model.compile(
                keras.optimizers.SGD(0.1, momentum=0.9),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                jit_compile=False,
            )
        times = timed({k: lambda m=m: m.train_on_batch(x, y) for k, m in models.items()}, 25, 5)
        ratios = [a / b for a, b in zip(times[SE], times[PLAIN], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "name": name,
                "plain_ms": f"{1000 * statistics.median(times[PLAIN]):.1f}",
                "ratio": f"{middle:.2f}", "low": f"{low:.2f}", "high": f"{high:.2f}",
                "conditions": described(conditions()),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    with open(STEPS, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def step_times() -> list[dict[str, str]]:
    """What `measure_steps` wrote."""
    if not STEPS.exists():
        return []
    with open(STEPS, encoding="utf-8") as file:
        return list(csv.DictReader(file))
