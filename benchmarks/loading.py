"""The first use of a published SENet-154, and the later ones beside Keras' `load_weights`.

python benchmarks/loading.py        # needs the publishers' packages: tox -e loading

The files are genuine ones of the publishers' packages, with random weights.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Set and publisher: `tests/parity/publishers.py` writes the file.
SETS = {
    "senet154.timm_gluon_imagenet": "timm",
    "senet154.qubvel_imagenet": "qubvel",
    "senet154.osmr_imagenet": "osmr_h5",
}
ROOT = Path(__file__).resolve().parents[1]

WRITE = """
import sys, zipfile
from pathlib import Path
publisher, file = sys.argv[1], Path(sys.argv[2])
sys.path.insert(0, {parity!r})
from publishers import PUBLISHERS
from keras_se.weights.hashes import file_hash
file.parent.mkdir(parents=True, exist_ok=True)
written = PUBLISHERS[publisher]("senet154", 1000).save(file.parent)
print(file_hash(written))
if file.suffix == ".zip":
    zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED).write(written, file.stem)
    written.unlink()
else:
    written.rename(file)
"""

USE = """
import os, resource, sys, time
from dataclasses import replace
import keras, keras_se
from keras_se.weights.entries import get_weights

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

keras_se.SEResNet20(weights=None)
entry = replace(get_weights(sys.argv[1]), sha=sys.argv[2])
before, start = peak(), time.perf_counter()
"""

CONVERT = """
keras_se.SENet154(weights=entry)
seconds, size = time.perf_counter() - start, 4 * entry.params_total / 2**20
print(
    f"{entry.name:<32}{seconds:6.1f} s  {size:5.0f} MiB  peak {peak():6.0f} MiB, {before:4.0f} "
    f"before: {(peak() - before) / size:.2f} times the file",
    flush=True,
)
"""

BESIDE = """
from keras_se.benchmarking.timing import conditions, described, measure
keras.utils.disable_interactive_logging()
file = os.path.join(sys.argv[3], "keras.weights.h5")
keras_se.SENet154(weights=entry).save_weights(file)

def fresh(weights):
    keras.backend.clear_session()
    return keras_se.SENet154(weights=weights)

print(described(conditions()))
measure(
    {
        "SENet154(weights=None), load_weights": lambda: fresh(None).load_weights(file),
        "SENet154(weights=set), from the cache": lambda: fresh(entry),
        "SENet154(weights=None)": lambda: fresh(None),
    },
    rounds=9,
    warm_up=1,
)
"""


def python(code: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


def main() -> None:
    from keras_se.weights.entries import get_weights

    with tempfile.TemporaryDirectory() as folder:
        places = {"KERAS_SE_HOME": f"{folder}/home", "KERAS_SE_MIRROR": f"{folder}/mirror"}
        for name, publisher in SETS.items():
            file = Path(folder, "mirror", get_weights(name).file)
            write = WRITE.format(parity=str(ROOT / "tests" / "parity"))
            sha = python(write, publisher, str(file), TF_USE_LEGACY_KERAS="1").split()[-1]
            print(python(USE + CONVERT, name, sha, **places), flush=True)
        print(python(USE + BESIDE, name, sha, folder, **places))


if __name__ == "__main__":
    main()
