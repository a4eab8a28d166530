"""`keras-se predict --out` on many pictures: killed, in shards, its memory and its speed.

    python benchmarks/many_pictures.py --count 20000 --network SEResNet50

Made JPEGs of 256 x 256 pixels, one in a hundred cut off, and a network with random weights. The
command is run undisturbed, killed three times (SIGKILL), and as two shards at once that are joined;
the tables must be equal bit for bit, with every file once. Then its peak memory beside that for a
tenth of the files, and its speed beside the bare network on ready arrays of the same batch size.
Ends with 1 unless all tables are equal.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_se.benchmarking.timing import conditions, described

SIDE, DISTINCT, BAD_EVERY, BATCH, KILLS = 256, 400, 100, 32, 3
# A killed run commits more often, so that a short one can be killed several times.
COMMIT_SECONDS = 0.02
PROGRAM = """
import sys
from keras_se.scoring import journal
journal.COMMIT_SECONDS = float(sys.argv.pop(1)) or journal.COMMIT_SECONDS
from keras_se.cli import main
main()
"""


def make(folder: Path, count: int) -> None:
    """JPEGs in folders of a thousand; one in a hundred lacks its second half."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(min(count, DISTINCT)):
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), "uint8"))
        data = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
        files.append(data.getvalue())
    for n in range(count):
        path = folder / f"{n // 1000:04}" / f"{n:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data_of = files[n % len(files)]
        bad = n % BAD_EVERY == BAD_EVERY // 2
        path.write_bytes(data_of[: len(data_of) // 2] if bad else data_of)


def start(network: Path, pictures: Path, out: Path, *more: str, commit: float = 0) -> Any:
    """The command in a process of its own."""
    command = [
        *(sys.executable, "-c", PROGRAM, str(commit), "predict", str(pictures)),
        *("--weights", str(network), "--out", str(out), "--batch-size", str(BATCH), "--json"),
    ]
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)


def ended(process: Any) -> tuple[dict[str, Any], int]:
    """The output of a command, and its peak memory in bytes."""
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command failed: {process.returncode}")
    return json.loads(text), usage.ru_maxrss * 1024


def killed(network: Path, pictures: Path, out: Path, batches: int) -> int:
    """Kill a run at a quarter, a half and three quarters, and let it end; gives the kills."""
    account, kills = out.with_name(f"{out.name}.run.json"), 0
    for n in range(1, KILLS + 1):
        process = start(network, pictures, out, commit=COMMIT_SECONDS)
        while process.poll() is None:
            text = account.read_text("utf-8") if account.exists() else ""
            if text and json.loads(text)["done"]["batches"] >= n * batches // (KILLS + 1):
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
            time.sleep(0.002)
        process.stdout.close()
    ended(start(network, pictures, out))
    return kills


def bare(network: Path, count: int) -> float:
    """Pictures per second of the network alone, compiled as the command does."""
    import keras

    model = keras.saving.load_model(network, compile=False)
    batches = [
        np.random.default_rng(n).integers(0, 256, (BATCH, *model.input_shape[1:])).astype("float32")
        for n in range(4)
    ]
    begin = time.perf_counter()
    for n in range(-(-count // BATCH)):
        model.predict_on_batch(batches[n % len(batches)])
    return count / (time.perf_counter() - begin)


def files_of(table: Path) -> list[str]:
    with open(table, encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20000, help="number of pictures")
    parser.add_argument("--network", default="SEResNet50", help="a builder")
    arguments = parser.parse_args()
    import keras

    import keras_se

    print(described(conditions()), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), arguments.count
        pictures, few, network = folder / "pictures", folder / "few", folder / "network.keras"
        make(pictures, count)
        make(few, max(1, count // 10))
        keras.utils.set_random_seed(0)
        getattr(keras_se, arguments.network)(weights=None).save(network)

        _, small = ended(start(network, few, folder / "few.csv"))
        report, large = ended(start(network, pictures, folder / "whole.csv"))
        whole = (folder / "whole.csv").read_bytes()
        expected = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*.jpg"))
        same = {"every file once": files_of(folder / "whole.csv") == expected}
        kills = killed(network, pictures, folder / "killed.csv", -(-count // BATCH))
        same[f"equal after {kills} kills"] = (folder / "killed.csv").read_bytes() == whole
        both = [start(network, pictures, folder / "s.csv", "--shard", f"{n}/2") for n in (1, 2)]
        shards = [ended(process)[0]["path"] for process in both]
        subprocess.run(
            [sys.executable, "-c", PROGRAM, "0", "join", folder / "s.csv", *shards],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        same["equal as two shards at once"] = (folder / "s.csv").read_bytes() == whole
        for what, holds in same.items():
            print(f"{what}: {'yes' if holds else 'NO'}", flush=True)
        print(f"with errors: {report['with_errors']:,} of {report['pictures']:,}")
        print(
            f"peak memory: {small / 2**20:,.0f} MiB for {max(1, count // 10):,} pictures, "
            f"{large / 2**20:,.0f} MiB for {count:,}: {large / small:.2f} times"
        )
        alone, speed = bare(network, count), report["pictures_per_second"]
        print(
            f"speed: {speed:,.1f} pictures/s, the network alone {alone:,.1f}: {speed / alone:.2f}"
        )
    sys.exit(not (all(same.values()) and kills == KILLS))


if __name__ == "__main__":
    main()
