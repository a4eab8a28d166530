"""Small data sets, prepared by TensorFlow Datasets' own code."""

import io
from typing import ClassVar

import fashion_mnist_files
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def encoded(height, width, index, kind):
    """A smooth picture that is different for each index."""
    y, x = np.mgrid[:height, :width]
    values = [255 * y / height, 255 * x / width, 127 + 100 * np.sin(index + (x + y) / 9)]
    file = io.BytesIO()
    Image.fromarray(np.stack(values, -1).astype("uint8")).save(file, kind)
    return file.getvalue()


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Tall pictures and wide ones, JPEG and PNG; all three splits."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar[list] = [
        tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("few", "many")
    ]
    counts: ClassVar[dict] = {"train": 30, "validation": 8, "test": 10}
    shape = (None, None, 3)
    keys = ("image", "label")
    names = ("tall", "wide")
    hidden = ()

    def _info(self):
        features = {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(shape=self.shape),
            "label": tfds.features.ClassLabel(names=self.names),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=self.keys
        )

    def _split_generators(self, manager):
        return {part: self._generate_examples(part, count) for part, count in self.counts.items()}

    def _generate_examples(self, part, count):
        for index in range(count):
            label = index % 2
            size = (30, 43 + index % 7) if label else (41 + index % 5, 30)
            kind = "JPEG" if index % 5 else "PNG"
            yield (
                index,
                {
                    "file_name": f"{part} {index}",
                    "image": io.BytesIO(encoded(*size, index + len(part), kind)),
                    "label": -1 if part in self.hidden else label,
                },
            )


class TinyHidden(TinyPictures):
    """The labels of the test pictures are kept from the public, as ImageNet's."""

    BUILDER_CONFIGS: ClassVar[list] = []
    hidden = ("test",)


class TinyScenes(TinyPictures):
    """Pictures of which TFDS does not say what they show."""

    BUILDER_CONFIGS: ClassVar[list] = []
    keys = None


class TinyGrey(TinyPictures):
    """Grey pictures of one size, 8 x 8, without a test split."""

    BUILDER_CONFIGS: ClassVar[list] = []
    counts: ClassVar[dict] = {"train": 25}
    shape = (8, 8, 1)

    def _generate_examples(self, part, count):
        random = np.random.default_rng(3)
        for index in range(count):
            picture = random.integers(0, 256, self.shape).astype("uint8")
            yield index, {"file_name": "", "image": picture, "label": index % 2}


class TinyClothes(TinyPictures):
    """Some of Fashion-MNIST's classes in another order, as TFDS writes their names."""

    BUILDER_CONFIGS: ClassVar[list] = []
    counts: ClassVar[dict] = {"test": 6}
    shape = (28, 28, 1)
    names = ("Ankle boot", "T-shirt/top", "Bag")

    def _generate_examples(self, part, count):
        pictures = fashion_mnist_files.one_of_each_class()
        for index in range(count):
            label = index % 3
            picture = pictures[(9, 0, 8)[label], :, :, None]
            yield index, {"file_name": "", "image": picture, "label": label}


class TinyNumbers(TinyGrey):
    """Classes that have no names, which TFDS numbers."""

    names = ("0", "1")


def prepare(builder, folder, shards=1, file_format=None, **options):
    """Prepare a data set in `folder`, with so many files of records a split."""
    config = tfds.download.DownloadConfig(num_shards=shards)
    builder = builder(data_dir=folder, file_format=file_format, **options)
    builder.download_and_prepare(download_config=config)
    return builder
