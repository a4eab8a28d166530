"""What reading picture files costs, measured in a process of its own.

python tests/support/picture_costs.py load_image [NAME...]      # a line of JSON for each attack
python tests/support/picture_costs.py graph [NAME...]
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

from attack_files import ATTACKS
from picture_files import RGB_ENTRY, png

import keras_se


def memory() -> int:
    """The most bytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def by_load_image(data: bytes) -> str:
    try:
        keras_se.load_image(data, RGB_ENTRY)
    except ValueError as error:
        return str(error)
    return ""


def in_a_graph() -> Callable[[bytes], str]:
    from graph_decoding import decoder, transform_of

    run = decoder(transform_of(RGB_ENTRY))
    return lambda data: run([data])[2][0].decode()


def measure(read: Callable[[bytes], str], names: list[str]) -> None:
    read(png())
    for name in names or ATTACKS:
        data = ATTACKS[name][0]()
        # Building the file took memory, too: the peak is forgotten.
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before, start = memory(), time.process_time()
        error = read(data)
        row = {"seconds": time.process_time() - start, "bytes": memory() - before, "error": error}
        print(json.dumps({"name": name, "size": len(data), **row}), flush=True)


if __name__ == "__main__":
    door, *chosen = sys.argv[1:]
    # Whatever goes wrong, it ends.
    resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
    measure(by_load_image if door == "load_image" else in_a_graph(), chosen)
