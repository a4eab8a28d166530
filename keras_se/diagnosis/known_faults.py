"""Faults of the packages that this one builds on, and of settings: what breaks, what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFault:
    """A fault of some versions of a package.

    Attributes:
        package: The package.
        versions: The versions known to have it, as a version specifier.
        what: What breaks.
        remedy: What to do.
        without: A package without which it occurs; "" if it always does.
    """

    package: str
    versions: str
    what: str
    remedy: str
    without: str = ""


KNOWN_FAULTS = (
    KnownFault(
        "keras",
        "==3.15.*",
        "`fit` and `evaluate` fail under MultiWorkerMirroredStrategy (keras issue 20585)",
        "train with `keras-se train --strategy multiworker`, which repairs them",
    ),
    KnownFault(
        "keras",
        "==3.15.*",
        "under MirroredStrategy, a last batch smaller than the number of devices crashes or gives "
        "NaN weights, and BatchNorm statistics differ between devices",
        "train with `keras-se train --strategy mirrored`, or use drop_remainder=True and "
        "synchronized=True",
    ),
    KnownFault(
        "keras",
        "==3.15.*",
        "`BackupAndRestore` writes in place, loses the seeds of random layers and, after a resume, "
        "the epoch",
        "train with `keras-se train`, whose --resume is exact",
    ),
    KnownFault(
        "keras",
        "==3.15.*",
        "with the channels first on TensorFlow, a convolution with as many channels as the last "
        "axis is long adds its biases along that axis: the gradients are wrong, and the outputs "
        "except those of `predict` and of exported networks for images",
        "use the channels last",
    ),
    KnownFault(
        "tensorflow",
        "==2.21.*",
        "training on one image per step crashes with some 1x1 convolutions with a stride and few "
        "channels, such as 8 to 16",
        "train on more images per step",
    ),
    KnownFault(
        "torch",
        "==2.13.*",
        "Keras' Torch backend cannot export a SavedModel",
        "export on the TensorFlow backend",
    ),
    KnownFault(
        "jax",
        "==0.10.*",
        "Keras' JAX backend cannot export OpenVINO or LiteRT files",
        "export on the TensorFlow backend",
    ),
    KnownFault(
        "tensorflow-datasets",
        "==4.9.10",
        "`download_and_prepare` needs importlib-resources, which it does not require",
        "pip install 'keras-se[tfds]'",
        without="importlib-resources",
    ),
)
# Values of environment variables: what breaks, what to do.
KNOWN_SETTINGS = {
    ("TF_ENABLE_ONEDNN_OPTS", "0"): (
        "grouped convolutions take a slower path on CPUs, and channels_first fails there",
        "unset it, or set it to 1",
    ),
}
