"""A small Fashion-MNIST in the files of the large one, for the examples."""

import gzip

import numpy as np
from PIL import Image
from places import DATA

COUNTS = {"train": 60, "t10k": 20}


def one_of_each_class():
    """The first test picture of each class, uint8 `(10, 28, 28)`."""
    strip = np.asarray(Image.open(DATA / "fashion_mnist.png"))
    return np.stack(np.split(strip, 10, axis=1))


def write(folder):
    """The four files: the first test picture of each class, again and again; gives the folder."""
    pictures = one_of_each_class()
    folder.mkdir()
    for part, count in COUNTS.items():
        labels = np.arange(count, dtype="uint8") % 10
        for name, values in (("images-idx3", pictures[labels]), ("labels-idx1", labels)):
            # Two zeros, 8 for unsigned bytes, the rank, and the sizes.
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            path = folder / f"{part}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(header + values.tobytes()))
    return folder
